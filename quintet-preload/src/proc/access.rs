//! `access` and related functions. The namespace decides whether the caller may write, by the
//! effective ids, even where `access` asks for the real ones.
//!
//! # Safety
//!
//! See the module above.
#![allow(unsafe_code)]

use crate::base::cancel::deferred_call;
use crate::base::errno::{errno, missing, set_errno};
use crate::base::next::Next;
use crate::base::preload_api;
use crate::proc::errors::{may_be_missed, no_file};
use crate::proc::{descriptor, path};
use libc::{AT_FDCWD, c_char, c_int};
use quintet::Errno;
use rustix::fs::{self, Mode, OFlags};
use std::os::fd::AsFd;

type Path = *const c_char;

/// Corrects the result of a call that checks access to a path. `before` is `errno` before the call.
///
/// # Safety
///
/// The call used this path, and has set `errno` if `ret` is -1.
#[inline(always)]
pub unsafe fn after(directory: c_int, path: Path, mode: c_int, before: c_int, ret: c_int) -> c_int {
    if ret < 0 && !may_be_missed(errno()) {
        return ret;
    }
    // SAFETY: a call that finds a file, or none, has read its path.
    match unsafe { path::candidate(path) } {
        None => ret,
        Some(path) => check_file(directory, path, mode, before, ret),
    }
}

#[cold]
#[inline(never)]
fn check_file(directory: c_int, path: &[u8], mode: c_int, before: c_int, ret: c_int) -> c_int {
    let result = deferred_call(Some(-1), || {
        let at = descriptor::borrow(directory).unwrap_or(fs::CWD);
        let found = fs::openat(at, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok();
        let Some(file) = path::file(directory, path, found.as_ref().map(AsFd::as_fd)) else { return Ok(None) };
        let may_write = preload_api::proc_may_write(file).map_err(no_file)?;
        let refused = mode & libc::X_OK != 0 || mode & libc::W_OK != 0 && !may_write;
        if refused { Err(Errno::ACCES) } else { Ok(Some(0)) }
    });
    if result == Some(0) {
        set_errno(before);
    }
    result.unwrap_or(ret)
}

// SAFETY: the C library's prototype.
static ACCESS: Next<unsafe extern "C" fn(Path, c_int) -> c_int> = unsafe { Next::new(c"access") };
// SAFETY: as above.
static EACCESS: Next<unsafe extern "C" fn(Path, c_int) -> c_int> = unsafe { Next::new(c"eaccess") };
// SAFETY: as above.
static EUIDACCESS: Next<unsafe extern "C" fn(Path, c_int) -> c_int> = unsafe { Next::new(c"euidaccess") };
// SAFETY: as above.
static FACCESSAT: Next<unsafe extern "C" fn(c_int, Path, c_int, c_int) -> c_int> = unsafe { Next::new(c"faccessat") };

/// Resolves the next library's functions.
pub fn at_load() {
    ACCESS.resolve();
    EACCESS.resolve();
    EUIDACCESS.resolve();
    FACCESSAT.resolve();
}

/// access(2)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn access(path: Path, mode: c_int) -> c_int {
    let Some(real) = ACCESS.get() else { return missing(-1) };
    let before = errno();
    // SAFETY: the caller's contract is the same; the call used this path.
    unsafe { after(AT_FDCWD, path, mode, before, real(path, mode)) }
}

/// euidaccess(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eaccess(path: Path, mode: c_int) -> c_int {
    let Some(real) = EACCESS.get() else { return missing(-1) };
    let before = errno();
    // SAFETY: the caller's contract is the same; the call used this path.
    unsafe { after(AT_FDCWD, path, mode, before, real(path, mode)) }
}

/// euidaccess(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn euidaccess(path: Path, mode: c_int) -> c_int {
    let Some(real) = EUIDACCESS.get() else { return missing(-1) };
    let before = errno();
    // SAFETY: the caller's contract is the same; the call used this path.
    unsafe { after(AT_FDCWD, path, mode, before, real(path, mode)) }
}

/// access(2)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn faccessat(directory: c_int, path: Path, mode: c_int, flags: c_int) -> c_int {
    let Some(real) = FACCESSAT.get() else { return missing(-1) };
    let before = errno();
    // SAFETY: the caller's contract is the same; the call used this path.
    unsafe { after(directory, path, mode, before, real(directory, path, mode, flags)) }
}
