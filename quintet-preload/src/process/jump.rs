//! Jumps out of a call. In the kernel, a signal ends a waiting `semop` before the handler runs.
//! Here the handler runs inside the call. If it jumps outside instead of returning, the operation
//! would stay queued in the set's file. It would be counted and granted, and would consume units
//! that no caller receives. A jump therefore first withdraws the operation of its thread.
//!
//! Only `longjmp` and its aliases are intercepted; `setcontext` and C++ exceptions are not.
//!
//! # Safety
//!
//! The functions have the C library's types and forward their arguments. A signal handler may call
//! them, and they do nothing that a handler must not: the real functions are resolved when the
//! library is loaded.
#![allow(unsafe_code)]

use crate::base::next::Next;
use crate::base::preload_api;
use crate::log::trace;
use libc::{c_int, c_void};
use std::panic::catch_unwind;

type Jump = unsafe extern "C" fn(*mut c_void, c_int) -> !;

// SAFETY: all have the C library's prototype of longjmp.
static LONGJMP: Next<Jump> = unsafe { Next::new(c"longjmp") };
// SAFETY: as above.
static UNDERSCORE_LONGJMP: Next<Jump> = unsafe { Next::new(c"_longjmp") };
// SAFETY: as above.
static SIGLONGJMP: Next<Jump> = unsafe { Next::new(c"siglongjmp") };
// SAFETY: as above.
static LONGJMP_CHK: Next<Jump> = unsafe { Next::new(c"__longjmp_chk") };

/// Resolves the next library's functions.
pub fn at_load() {
    for next in [&LONGJMP, &UNDERSCORE_LONGJMP, &SIGLONGJMP, &LONGJMP_CHK] {
        next.resolve();
    }
}

/// # Safety
///
/// As longjmp(3).
unsafe fn jump(next: &Next<Jump>, environment: *mut c_void, value: c_int) -> ! {
    trace::leave_by_jump();
    let _ = catch_unwind(preload_api::before_jump);
    match next.get() {
        // SAFETY: the caller's contract is the same. The frames between here and the target have no
        // destructors.
        Some(real) => unsafe { real(environment, value) },
        None => std::process::abort(),
    }
}

/// longjmp(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn longjmp(environment: *mut c_void, value: c_int) -> ! {
    // SAFETY: the caller's contract is the same.
    unsafe { jump(&LONGJMP, environment, value) }
}

/// `longjmp` that does not restore the signal mask.
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _longjmp(environment: *mut c_void, value: c_int) -> ! {
    // SAFETY: the caller's contract is the same.
    unsafe { jump(&UNDERSCORE_LONGJMP, environment, value) }
}

/// siglongjmp(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siglongjmp(environment: *mut c_void, value: c_int) -> ! {
    // SAFETY: the caller's contract is the same.
    unsafe { jump(&SIGLONGJMP, environment, value) }
}

/// The variant that glibc uses for all of them in a program compiled with `_FORTIFY_SOURCE`.
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __longjmp_chk(environment: *mut c_void, value: c_int) -> ! {
    // SAFETY: the caller's contract is the same.
    unsafe { jump(&LONGJMP_CHK, environment, value) }
}
