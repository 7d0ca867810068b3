//! A program that changes its root: the namespace's directory is found no more by its path.
//!
//! # Safety
//!
//! The function has the C library's type and passes its argument on.
#![allow(unsafe_code)]

use crate::next::Next;
use libc::{c_char, c_int};
use quintet::drop_in;
use std::panic::catch_unwind;

// SAFETY: the C library's prototype.
static CHROOT: Next<unsafe extern "C" fn(*const c_char) -> c_int> = unsafe { Next::new(c"chroot") };

/// Looks it up.
pub fn at_load() {
    CHROOT.resolve();
}

/// chroot(2)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chroot(path: *const c_char) -> c_int {
    let error = crate::errno();
    let told = catch_unwind(drop_in::before_chroot).unwrap_or(false);
    crate::set_errno(error);
    let ret = match CHROOT.get() {
        // SAFETY: the caller's contract is the same.
        Some(real) => unsafe { real(path) },
        None => {
            crate::set_errno(libc::ENOSYS);
            -1
        }
    };
    if told && ret != 0 {
        let error = crate::errno();
        let _ = catch_unwind(drop_in::chroot_failed);
        crate::set_errno(error);
    }
    ret
}
