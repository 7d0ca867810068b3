//! The frame of an exported call: a panic becomes `EIO`, success leaves `errno` alone, and failure
//! sets it.

use crate::base::errno::{errno, set_errno};
use libc::c_int;
use quintet::Errno;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

/// Runs `body` and restores `errno` afterwards. A panic becomes `EIO`.
#[inline(always)]
pub fn attempt<T>(body: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    let before = errno();
    restore(before, catch_unwind(AssertUnwindSafe(body)))
}

/// Restores `errno` after a call, and turns a panic of the call into `EIO`.
#[inline(always)]
pub fn restore<T>(before: c_int, outcome: thread::Result<Result<T, Errno>>) -> Result<T, Errno> {
    set_errno(before);
    outcome.unwrap_or(Err(Errno::IO))
}

/// Returns the value of a call as C does: on failure `failed`, with `errno` set.
#[inline(always)]
pub fn c_value<T>(failed: T, outcome: Result<T, Errno>) -> T {
    outcome.unwrap_or_else(|e| {
        set_errno(e.raw());
        failed
    })
}

/// Runs `body` and returns its value as C does.
#[inline(always)]
pub fn run<T>(failed: T, body: impl FnOnce() -> Result<T, Errno>) -> T {
    c_value(failed, attempt(body))
}

/// As [`run`], for an exported function. Its own frame must have nothing to catch: see
/// [`crate::base::cancel`].
#[inline(never)]
pub fn run_outlined<T>(failed: T, body: impl FnOnce() -> Result<T, Errno>) -> T {
    run(failed, body)
}
