//! Programs that the C library starts in a child: posix_spawn(3), system(3), popen(3). Their exec
//! cannot be intercepted, so the additions to the environment are made before.
//!
//! # Safety
//!
//! The functions have the C library's types and forward their arguments, except for the
//! environment. system(3) and popen(3) take none. They get shell commands that set it.
#![allow(unsafe_code)]

use crate::base::errno::{errno, set_errno};
use crate::base::next::{self, Next};
use crate::process::environment::{self, Strings};
use crate::process::exec::Program;
use libc::{c_char, c_int, c_void};
use std::ffi::CStr;
use std::panic::catch_unwind;

type Spawn = unsafe extern "C" fn(*mut c_int, *const c_char, *const c_void, *const c_void, Strings, Strings) -> c_int;

macro_rules! spawns {
    ($($name:ident, $next:ident, $named:path;)*) => {
        $(
            // SAFETY: the C library's prototype.
            static $next: Next<Spawn> = unsafe { Next::new(next::name(concat!(stringify!($name), "\0"))) };

            #[doc = concat!(stringify!($name), "(3)")]
            ///
            /// # Safety
            ///
            /// As the C function.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name(
                child: *mut c_int,
                program: *const c_char,
                actions: *const c_void,
                attributes: *const c_void,
                argv: Strings,
                envp: Strings,
            ) -> c_int {
                let Some(real) = $next.get() else { return libc::ENOSYS };
                let before = errno();
                let inherited = $named(program).examine(envp);
                environment::with_inherited(envp, inherited, None, |envp| {
                    set_errno(before);
                    // SAFETY: the caller's contract is the same.
                    unsafe { real(child, program, actions, attributes, argv, envp) }
                })
            }
        )*

        fn resolve_spawns() {
            $($next.resolve();)*
        }
    };
}

spawns! {
    posix_spawn, POSIX_SPAWN, Program::Path;
    posix_spawnp, POSIX_SPAWNP, Program::Name;
}

// SAFETY: the C library's prototype. A cancellation may unwind the call.
static SYSTEM: Next<unsafe extern "C-unwind" fn(*const c_char) -> c_int> = unsafe { Next::new(c"system") };
// SAFETY: the C library's prototype.
static POPEN: Next<unsafe extern "C-unwind" fn(*const c_char, *const c_char) -> *mut c_void> = unsafe { Next::new(c"popen") };

unsafe extern "C" {
    static environ: Strings;
}

/// Resolves the next library's functions.
pub fn at_load() {
    resolve_spawns();
    SYSTEM.resolve();
    POPEN.resolve();
}

/// A shell command, preceded by commands that restore what `environ` has lost. It has no
/// destructor: a thread that is cancelled in the call leaks it.
#[derive(Clone, Copy)]
struct Command {
    text: *mut u8,
    len: usize,
}

impl Command {
    /// Returns `None` if nothing is lost or the command cannot be built.
    fn completed(command: *const c_char) -> Option<Command> {
        if command.is_null() {
            return None;
        }
        let build = || {
            // SAFETY: the C contracts: `environ` does not change meanwhile, and the command is a
            // string.
            let (mut text, command) = unsafe { (environment::exports(environ)?, CStr::from_ptr(command)) };
            text.extend_from_slice(command.to_bytes_with_nul());
            let text = Box::leak(text.into_boxed_slice());
            Some(Command { text: text.as_mut_ptr(), len: text.len() })
        };
        catch_unwind(build).unwrap_or(None)
    }

    fn free(self) {
        // SAFETY: the box that was leaked above, freed once.
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(self.text, self.len)) });
    }
}

/// system(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn system(command: *const c_char) -> c_int {
    let Some(real) = SYSTEM.get() else { return -1 };
    let before = errno();
    let completed = Command::completed(command);
    set_errno(before);
    // SAFETY: the caller's contract is the same.
    let status = unsafe { real(completed.map_or(command, |completed| completed.text.cast_const().cast())) };
    if let Some(completed) = completed {
        completed.free();
    }
    status
}

/// popen(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn popen(command: *const c_char, mode: *const c_char) -> *mut c_void {
    let Some(real) = POPEN.get() else { return std::ptr::null_mut() };
    let before = errno();
    let completed = Command::completed(command);
    set_errno(before);
    // SAFETY: the caller's contract is the same.
    let stream = unsafe { real(completed.map_or(command, |completed| completed.text.cast_const().cast()), mode) };
    if let Some(completed) = completed {
        completed.free();
    }
    stream
}
