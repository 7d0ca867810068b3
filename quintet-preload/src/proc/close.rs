//! Functions that close a descriptor: pending writes of the descriptor are applied first.
//!
//! # Safety
//!
//! See the module above.
#![allow(unsafe_code)]

use crate::base::errno::{errno, missing, set_errno};
use crate::base::next::Next;
use crate::proc::writable;
use libc::c_int;
use std::panic::catch_unwind;

// SAFETY: the C library's prototype.
static CLOSE: Next<unsafe extern "C-unwind" fn(c_int) -> c_int> = unsafe { Next::new(c"close") };
// SAFETY: as above.
static DUP2: Next<unsafe extern "C" fn(c_int, c_int) -> c_int> = unsafe { Next::new(c"dup2") };
// SAFETY: as above.
static DUP3: Next<unsafe extern "C" fn(c_int, c_int, c_int) -> c_int> = unsafe { Next::new(c"dup3") };

/// Resolves the next library's functions.
pub fn at_load() {
    CLOSE.resolve();
    DUP2.resolve();
    DUP3.resolve();
}

/// Applies pending writes before a descriptor is closed. Returns `true` if it is one of an emulated
/// file.
#[cold]
#[inline(never)]
fn before_close(fd: c_int) -> bool {
    let before = errno();
    let emulated = catch_unwind(|| {
        let _ = writable::apply(fd);
        writable::file(fd).is_some()
    });
    set_errno(before);
    emulated.unwrap_or(false)
}

#[cold]
#[inline(never)]
fn after_close() {
    let before = errno();
    let _ = catch_unwind(writable::tidy);
    set_errno(before);
}

/// close(2)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn close(fd: c_int) -> c_int {
    let Some(real) = CLOSE.get() else { return missing(-1) };
    let emulated = writable::any() && before_close(fd);
    // SAFETY: the caller's contract is the same.
    let ret = unsafe { real(fd) };
    if emulated {
        after_close();
    }
    ret
}

/// dup(2)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup2(from: c_int, to: c_int) -> c_int {
    let Some(real) = DUP2.get() else { return missing(-1) };
    let emulated = writable::any() && from != to && before_close(to);
    // SAFETY: the caller's contract is the same.
    let ret = unsafe { real(from, to) };
    if emulated {
        after_close();
    }
    ret
}

/// dup(2)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int {
    let Some(real) = DUP3.get() else { return missing(-1) };
    let emulated = writable::any() && from != to && before_close(to);
    // SAFETY: the caller's contract is the same.
    let ret = unsafe { real(from, to, flags) };
    if emulated {
        after_close();
    }
    ret
}
