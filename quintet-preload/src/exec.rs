//! exec keeps what `SEM_UNDO` has to take back: to the kernel it is the same process. To us it is another memory image, and the
//! old one's end looks like a death; so what is to be taken back is handed over, by a variable in the environment.
//!
//! Not seen, and so taken for the process's end, is a system call by number. (posix_spawn(3), system(3) and popen(3) exec in a
//! child, which has nothing to hand over.)
//!
//! # Safety
//!
//! The functions have the C library's types and pass their arguments on to it, but for the environment: a copy of the list of
//! pointers, whose every entry was read as [`user`] reads, in a mapping of its own. Nothing here allocates otherwise, so that a
//! child made by vfork may call it.
#![allow(unsafe_code)]

use crate::next::Next;
use crate::{pages, user};
use libc::{c_char, c_int};
use quintet::drop_in;
use std::ffi::CStr;
use std::panic::catch_unwind;

type Strings = *const *const c_char;

// SAFETY: the C library's prototype.
static EXECVE: Next<unsafe extern "C" fn(*const c_char, Strings, Strings) -> c_int> = unsafe { Next::new(c"execve") };
// SAFETY: as above.
static EXECVPE: Next<unsafe extern "C" fn(*const c_char, Strings, Strings) -> c_int> = unsafe { Next::new(c"execvpe") };
// SAFETY: as above.
static FEXECVE: Next<unsafe extern "C" fn(c_int, Strings, Strings) -> c_int> = unsafe { Next::new(c"fexecve") };
// SAFETY: as above.
static EXECVEAT: Next<unsafe extern "C" fn(c_int, *const c_char, Strings, Strings, c_int) -> c_int> =
    unsafe { Next::new(c"execveat") };

unsafe extern "C" {
    static mut environ: Strings;
}

/// Looks all of them up, and takes what the program before this one has left.
pub fn at_load() {
    EXECVE.resolve();
    EXECVPE.resolve();
    FEXECVE.resolve();
    EXECVEAT.resolve();
    // SAFETY: NUL-terminated strings. No other thread is there yet, and nobody keeps the value.
    unsafe {
        let value = libc::getenv(drop_in::UNDO_VARIABLE.as_ptr());
        if !value.is_null() {
            drop_in::adopt_undo(CStr::from_ptr(value));
            libc::unsetenv(drop_in::UNDO_VARIABLE.as_ptr());
        }
    }
}

/// An environment with one more variable, the first.
struct Environment {
    list: *mut *const c_char,
    len: usize,
}

impl Environment {
    /// `None`: the old one cannot be read, which the kernel will find, too, or there is no memory.
    fn with(variable: &CStr, old: Strings) -> Option<Environment> {
        let count = if old.is_null() { 0 } else { count(old)? };
        let len = (count + 2) * size_of::<*const c_char>();
        let list = pages::map(len).cast::<*const c_char>();
        if list.is_null() {
            return None;
        }
        // SAFETY: the mapping has room for the variable, `count` more and, zeroed already, the null that ends the list.
        unsafe {
            list.write(variable.as_ptr());
            if count > 0 {
                std::ptr::copy_nonoverlapping(old, list.add(1), count);
            }
        }
        Some(Environment { list, len })
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        pages::unmap(self.list.cast(), self.len);
    }
}

/// How many pointers there are before a null one.
fn count(list: Strings) -> Option<usize> {
    let mut count = 0;
    while !user::read(list.wrapping_add(count)).ok()?.is_null() {
        count += 1;
    }
    Some(count)
}

/// Runs an exec with what is handed over added to the environment. Only an exec that fails comes back.
fn exec(environment: Strings, real: impl Fn(Strings) -> c_int) -> c_int {
    let Ok(Some(undo)) = catch_unwind(drop_in::before_exec) else { return real(environment) };
    let added = Environment::with(undo.variable(), environment);
    let ret = real(added.as_ref().map_or(environment, |added| added.list.cast_const()));
    // SAFETY: the location is valid for the thread's life.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let error = unsafe { *errno };
    drop(added);
    let _ = catch_unwind(std::panic::AssertUnwindSafe(|| undo.take_back()));
    // SAFETY: as above.
    unsafe { *errno = error };
    ret
}

fn missing() -> c_int {
    // SAFETY: the location is valid for the thread's life.
    unsafe { *libc::__errno_location() = libc::ENOSYS };
    -1
}

/// execve(2)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execve(path: *const c_char, argv: Strings, envp: Strings) -> c_int {
    let Some(real) = EXECVE.get() else { return missing() };
    // SAFETY: the caller's contract is the same.
    exec(envp, |envp| unsafe { real(path, argv, envp) })
}

/// exec(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execv(path: *const c_char, argv: Strings) -> c_int {
    // SAFETY: the caller's contract is the same, and lets nobody change `environ` meanwhile.
    unsafe { execve(path, argv, environ) }
}

/// exec(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execvpe(file: *const c_char, argv: Strings, envp: Strings) -> c_int {
    let Some(real) = EXECVPE.get() else { return missing() };
    // SAFETY: the caller's contract is the same.
    exec(envp, |envp| unsafe { real(file, argv, envp) })
}

/// exec(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execvp(file: *const c_char, argv: Strings) -> c_int {
    // SAFETY: the caller's contract is the same, and lets nobody change `environ` meanwhile.
    unsafe { execvpe(file, argv, environ) }
}

/// fexecve(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fexecve(fd: c_int, argv: Strings, envp: Strings) -> c_int {
    let Some(real) = FEXECVE.get() else { return missing() };
    // SAFETY: the caller's contract is the same.
    exec(envp, |envp| unsafe { real(fd, argv, envp) })
}

/// execveat(2)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execveat(dirfd: c_int, path: *const c_char, argv: Strings, envp: Strings, flags: c_int) -> c_int {
    let Some(real) = EXECVEAT.get() else { return missing() };
    // SAFETY: the caller's contract is the same.
    exec(envp, |envp| unsafe { real(dirfd, path, argv, envp, flags) })
}
