//! exec puts another program in this one's place. The drop-in stays in, whatever the program makes of its environment ([`environment`]); and what
//! cannot be carried is said, because the loader says nothing.
//!
//! What `SEM_UNDO` has to take back is kept, too: to the kernel it is the same process. To us it is another memory image, and the
//! old one's end looks like a death; so what is to be taken back is handed over, by a variable in the environment.
//! (posix_spawn(3), system(3) and popen(3) exec in a child, which has nothing to hand over.)
//!
//! # Safety
//!
//! The functions have the C library's types and pass their arguments on to it, but for the environment. What is added to that lives until the exec
//! has failed.
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

/// Looks all of them up, and takes what the program before this one has left.
pub fn at_load() {
    EXECVE.resolve();
    EXECVPE.resolve();
    FEXECVE.resolve();
    EXECVEAT.resolve();
    // SAFETY: NUL-terminated strings. No other thread is there yet, and nobody keeps the value.
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
    /// By a path.
    Path(*const c_char),
    /// By a path, or a name that is looked for in `PATH`.
    Name(*const c_char),
    /// By a path from a directory; without one by the descriptor itself.
    At(c_int, *const c_char),
}

impl Program {
    /// Where it is, if that can be told.
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
            // Joined with nothing it would end in a slash, and have to be a directory.
            _ if name.is_empty() => Some(format!("/proc/self/fd/{directory}").into()),
            _ => Some(Path::new(&format!("/proc/self/fd/{directory}")).join(path)),
        }
    }

    /// Looks whether it will be carried, and says so if not.
    #[inline(never)]
    pub fn examine(self, environment: Strings) -> Inherited {
        catch_unwind(|| {
            let refused = self.find().and_then(|path| Some((quintet_program::check(&path).err()?, path)));
            let Some((refusal, path)) = refused else { return Inherited::Everything };
            if refusal.effect != Effect::Fails && environment::is_kept(environment) {
                let path = quintet_program::in_terminal(&path);
                log::warn(format_args!("{path} is not carried, its System V IPC is the kernel's: {}", refusal.reason));
            }
            if refusal.effect == Effect::Hindered { Inherited::NoLibrary } else { Inherited::Everything }
        })
        .unwrap_or(Inherited::Everything)
    }
}

/// Runs an exec, with what is to be inherited and handed over added to the environment. Only an exec that fails comes back.
fn exec(program: Program, environment: Strings, real: impl Fn(Strings) -> c_int) -> c_int {
    let before = errno();
    let inherited = program.examine(environment);
    let undo = catch_unwind(preload_api::before_exec).unwrap_or(None);
    let mut error = 0;
    let ret = environment::with_heritage(environment, inherited, undo.as_ref().map(|undo| undo.variable()), |environment| {
        // In a child made by vfork this is its parent's, too, which goes on when the exec has succeeded.
        set_errno(before);
        let ret = real(environment);
        error = errno();
        ret
    });
    if let Some(undo) = undo {
        let _ = catch_unwind(AssertUnwindSafe(|| undo.take_back()));
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
