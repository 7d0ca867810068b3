//! Change of the root directory: afterwards the namespace's directory can no longer be found by its
//! path.
//!
//! # Safety
//!
//! The function has the C library's type and forwards its argument.
#![allow(unsafe_code)]

use crate::base::errno::{errno, missing, set_errno};
use crate::base::next::Next;
use crate::base::preload_api;
use crate::base::raw;
use libc::{c_char, c_int};
use std::panic::catch_unwind;
use syscalls::Sysno;

// SAFETY: the C library's prototype.
static CHROOT: Next<unsafe extern "C" fn(*const c_char) -> c_int> = unsafe { Next::new(c"chroot") };

/// Resolves the next library's function.
pub fn at_load() {
    CHROOT.resolve();
}

/// Changes the root with `change`, and reports the attempt and its failure to the engine.
fn report_change(change: impl FnOnce() -> c_int) -> c_int {
    let error = errno();
    let pinned = catch_unwind(preload_api::before_chroot).unwrap_or(false);
    set_errno(error);
    let ret = change();
    if pinned && ret != 0 {
        let error = errno();
        let _ = catch_unwind(preload_api::chroot_failed);
        set_errno(error);
    }
    ret
}

/// `syscall(SYS_chroot, ...)`
///
/// # Safety
///
/// As the system call.
pub unsafe fn by_number(path: *const c_char) -> c_int {
    // SAFETY: the caller's contract is the same.
    report_change(|| unsafe { raw::system_call(Sysno::chroot, [path as usize, 0, 0, 0, 0, 0]) } as c_int)
}

/// chroot(2)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chroot(path: *const c_char) -> c_int {
    let Some(real) = CHROOT.get() else { return missing(-1) };
    // SAFETY: the caller's contract is the same.
    report_change(|| unsafe { real(path) })
}
