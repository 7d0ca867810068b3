//! exec. The new program keeps the library, whatever the program makes of its environment
//! ([`environment`]). If the new program cannot be intercepted, a warning says so, because the
//! loader is silent.
//!
//! The adjustments that `SEM_UNDO` has recorded survive as well. To the kernel the process is the
//! same. To Quintet the old memory image ends, which looks like the end of the process. The record
//! is therefore handed over in an environment variable. (posix_spawn(3), system(3) and popen(3)
//! execute in a child, which has no record to hand over.)
//!
//! # Safety
//!
//! The functions have the C library's types and forward their arguments, except for the
//! environment. Additions to the environment live until the exec has failed.
#![allow(unsafe_code)]

use crate::base::errno::{errno, missing, set_errno};
use crate::base::next::Next;
use crate::base::preload_api;
use crate::base::raw;
use crate::base::strings::Reader;
use crate::log;
use crate::process::environment::{self, Inherited, Strings};
use libc::{c_char, c_int};
use quintet_program::Effect;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use syscalls::Sysno;

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

/// Resolves the next library's functions, and adopts the undo record that the previous program has
/// handed over.
pub fn at_load() {
    EXECVE.resolve();
    EXECVPE.resolve();
    FEXECVE.resolve();
    EXECVEAT.resolve();
    // SAFETY: NUL-terminated strings. No other thread exists yet, and no reference to the value
    // remains.
    unsafe {
        let value = libc::getenv(preload_api::UNDO_VARIABLE.as_ptr());
        if !value.is_null() {
            preload_api::adopt_undo(CStr::from_ptr(value));
            libc::unsetenv(preload_api::UNDO_VARIABLE.as_ptr());
        }
    }
}

/// How a program is named.
#[derive(Clone, Copy)]
pub enum Program {
    /// A path.
    Path(*const c_char),
    /// A path, or a name to look up in `PATH`.
    Name(*const c_char),
    /// A path relative to a directory, or the descriptor itself if the path is empty.
    At(c_int, *const c_char),
}

impl Program {
    /// Returns the path of the program's file, if it can be determined.
    fn find(self) -> Option<PathBuf> {
        // Not on the stack, which may be small.
        let mut text = vec![0; libc::PATH_MAX as usize];
        let (directory, name) = match self {
            Program::Path(path) | Program::Name(path) => (libc::AT_FDCWD, path),
            Program::At(directory, path) => (directory, path),
        };
        let name = if name.is_null() { &[] } else { Reader::new().copy(name, &mut text)? };
        let path = Path::new(OsStr::from_bytes(name));
        match self {
            Program::Name(_) if !name.contains(&b'/') => quintet_program::in_path(path.as_os_str()),
            _ if directory == libc::AT_FDCWD || name.starts_with(b"/") => Some(path.to_owned()),
            // Joined with an empty path the name would end in a slash, and would have to be a
            // directory.
            _ if name.is_empty() => Some(format!("/proc/self/fd/{directory}").into()),
            _ => Some(Path::new(&format!("/proc/self/fd/{directory}")).join(path)),
        }
    }

    /// Determines what the program may inherit. Warns if the program cannot be intercepted.
    #[inline(never)]
    pub fn examine(self, environment: Strings) -> Inherited {
        catch_unwind(|| {
            let refused = self.find().and_then(|path| Some((quintet_program::check(&path).err()?, path)));
            let Some((refusal, path)) = refused else { return Inherited::Everything };
            if refusal.effect != Effect::Fails && environment::is_kept(environment) {
                let path = quintet_program::in_terminal(&path);
                log::warn(format_args!("cannot intercept {path}: {}; it uses the kernel's System V IPC", refusal.reason));
            }
            if refusal.effect == Effect::Hindered { Inherited::NoLibrary } else { Inherited::Everything }
        })
        .unwrap_or(Inherited::Everything)
    }
}

/// Runs an exec with the additions to its environment. Returns only if the exec fails.
fn exec(program: Program, environment: Strings, real: impl Fn(Strings) -> c_int) -> c_int {
    let before = errno();
    let inherited = program.examine(environment);
    let undo = catch_unwind(preload_api::before_exec).unwrap_or(None);
    let mut error = 0;
    let ret = environment::with_inherited(environment, inherited, undo.as_ref().map(|undo| undo.variable()), |environment| {
        // In a vfork child this `errno` is also the parent's, which continues once the exec has
        // succeeded.
        set_errno(before);
        let ret = real(environment);
        error = errno();
        ret
    });
    if let Some(undo) = undo {
        let _ = catch_unwind(AssertUnwindSafe(|| undo.cancel()));
    }
    set_errno(error);
    ret
}

/// `syscall(SYS_execve, ...)`
///
/// # Safety
///
/// As the system call.
pub unsafe fn by_number(path: *const c_char, argv: Strings, envp: Strings) -> c_int {
    let arguments = |envp| [path as usize, argv as usize, envp as usize, 0, 0, 0];
    // SAFETY: the caller's contract is the same.
    exec(Program::Path(path), envp, |envp: Strings| unsafe { raw::system_call(Sysno::execve, arguments(envp)) } as c_int)
}

/// `syscall(SYS_execveat, ...)`
///
/// # Safety
///
/// As the system call.
pub unsafe fn at_by_number(dirfd: c_int, path: *const c_char, argv: Strings, envp: Strings, flags: c_int) -> c_int {
    let arguments = |envp| [dirfd as usize, path as usize, argv as usize, envp as usize, flags as usize, 0];
    // SAFETY: the caller's contract is the same.
    exec(Program::At(dirfd, path), envp, |envp: Strings| unsafe { raw::system_call(Sysno::execveat, arguments(envp)) } as c_int)
}

/// execve(2)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execve(path: *const c_char, argv: Strings, envp: Strings) -> c_int {
    let Some(real) = EXECVE.get() else { return missing(-1) };
    // SAFETY: the caller's contract is the same.
    exec(Program::Path(path), envp, |envp| unsafe { real(path, argv, envp) })
}

/// exec(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execv(path: *const c_char, argv: Strings) -> c_int {
    // SAFETY: the caller's contract is the same. It forbids changes of `environ` meanwhile.
    unsafe { execve(path, argv, environ) }
}

/// exec(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execvpe(file: *const c_char, argv: Strings, envp: Strings) -> c_int {
    let Some(real) = EXECVPE.get() else { return missing(-1) };
    // SAFETY: the caller's contract is the same.
    exec(Program::Name(file), envp, |envp| unsafe { real(file, argv, envp) })
}

/// exec(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execvp(file: *const c_char, argv: Strings) -> c_int {
    // SAFETY: the caller's contract is the same. It forbids changes of `environ` meanwhile.
    unsafe { execvpe(file, argv, environ) }
}

/// fexecve(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fexecve(fd: c_int, argv: Strings, envp: Strings) -> c_int {
    let Some(real) = FEXECVE.get() else { return missing(-1) };
    // SAFETY: the caller's contract is the same.
    exec(Program::At(fd, std::ptr::null()), envp, |envp| unsafe { real(fd, argv, envp) })
}

/// execveat(2)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execveat(dirfd: c_int, path: *const c_char, argv: Strings, envp: Strings, flags: c_int) -> c_int {
    let Some(real) = EXECVEAT.get() else { return missing(-1) };
    // SAFETY: the caller's contract is the same.
    exec(Program::At(dirfd, path), envp, |envp| unsafe { real(dirfd, path, argv, envp, flags) })
}
