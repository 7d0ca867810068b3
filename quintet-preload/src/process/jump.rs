//! Jumps. In the kernel, a signal ends a `semop` that waits before the handler runs; here the handler runs inside the
//! call. If it does not return but jumps, to where a program waits no longer, the call would go on waiting in the set's file:
//! it would be counted, be served, and take what nobody gets. So a jump first gives up what its thread waits for.
//!
//! Only `longjmp` under its names is seen; not `setcontext`, nor a C++ exception.
//!
//! # Safety
//!
//! The functions have the C library's types and pass their arguments on to it. They may be called by a signal handler, and do
//! nothing that it must not: the real ones are looked up when the drop-in is loaded.
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

/// Looks all of them up.
pub fn at_load() {
    for next in [&LONGJMP, &UNDERSCORE_LONGJMP, &SIGLONGJMP, &LONGJMP_CHK] {
        next.resolve();
    }
}

/// # Safety
///
/// That of longjmp(3).
unsafe fn jump(next: &Next<Jump>, environment: *mut c_void, value: c_int) -> ! {
    trace::jumping();
    let _ = catch_unwind(preload_api::jumping);
    match next.get() {
        // SAFETY: the caller's contract is the same. Between here and there are only frames without destructors.
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

/// `longjmp` that leaves the signal mask alone.
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

/// What glibc makes of any of them in a program compiled with `_FORTIFY_SOURCE`.
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __longjmp_chk(environment: *mut c_void, value: c_int) -> ! {
    // SAFETY: the caller's contract is the same.
    unsafe { jump(&LONGJMP_CHK, environment, value) }
}
