//! `errno` of the calling thread.
//!
//! # Safety
//!
//! The C library's location of `errno` is valid for the life of the thread.
#![allow(unsafe_code)]

use libc::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Returns `errno`.
#[inline(always)]
pub fn errno() -> c_int {
    // SAFETY: see the module.
    unsafe { *libc::__errno_location() }
}

/// Sets `errno`.
#[inline(always)]
pub fn set_errno(value: c_int) {
    // SAFETY: see the module.
    unsafe { *libc::__errno_location() = value }
}

/// Returns `failed` with `errno` set to `ENOSYS`, for a function that the next library does not
/// have.
pub fn missing<T>(failed: T) -> T {
    set_errno(libc::ENOSYS);
    failed
}

/// Runs `body`, contains its panic, and restores `errno` afterwards. Not inlined, so that a caller
/// in which a thread may be cancelled has nothing to catch.
#[inline(never)]
pub fn preserving_errno(body: impl FnOnce()) {
    let before = errno();
    let _ = catch_unwind(AssertUnwindSafe(body));
    set_errno(before);
}
