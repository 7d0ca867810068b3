//! Thread cancellation.
//!
//! `msgsnd` and `msgrcv` are cancellation points in the kernel's System V IPC. Here each asks the C
//! library when it begins, and again when the engine reports [`preload_api::CANCELLED`]. By then
//! the engine has taken the call out of its queue.
//!
//! A thread may also allow cancellation at any instruction (`PTHREAD_CANCEL_ASYNCHRONOUS`), which
//! the engine cannot survive. Once any thread of the process has asked for that, every call
//! switches its thread to deferred cancellation and back. The thread ends when the type is switched
//! back.
//!
//! # Safety
//!
//! The C library ends a thread by unwinding its stack, and ignores what Rust functions declare. A
//! frame from which a thread may be cancelled must therefore have nothing to drop or catch at that
//! point. An exported function has neither: it calls a function that is not inlined, so the frame
//! with the cleanup exists only while cancellation is deferred. The exported functions have the C
//! library's types and forward their arguments.
#![allow(unsafe_code)]

use crate::base::call::run_outlined;
use crate::base::errno::{errno, set_errno};
use crate::base::next::Next;
use crate::base::preload_api::{self, CANCELLED};
use libc::{c_int, c_void, pthread_t};
use quintet::Errno;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::time::{Duration, Instant};

// SAFETY: the C library's prototype.
static CANCEL: Next<unsafe extern "C-unwind" fn(pthread_t) -> c_int> = unsafe { Next::new(c"pthread_cancel") };
// SAFETY: as above.
static SET_TYPE: Next<unsafe extern "C-unwind" fn(c_int, *mut c_int) -> c_int> = unsafe { Next::new(c"pthread_setcanceltype") };
// SAFETY: as above.
static TEST: Next<unsafe extern "C-unwind" fn()> = unsafe { Next::new(c"pthread_testcancel") };

/// `PTHREAD_CANCEL_DEFERRED` and `PTHREAD_CANCEL_ASYNCHRONOUS`, the same in every C library.
const DEFERRED: c_int = 0;
const ASYNCHRONOUS: c_int = 1;

/// `true` once any thread has asked for asynchronous cancellation.
static ASYNCHRONOUS_USED: AtomicBool = AtomicBool::new(false);

/// Resolves the next library's functions.
pub fn at_load() {
    let found = [CANCEL.resolve(), SET_TYPE.resolve(), TEST.resolve()];
    if found.iter().all(|function: &*mut c_void| !function.is_null()) {
        preload_api::set_cancel_intercepted();
    }
}

/// Returns `true` if any thread has ever asked for asynchronous cancellation.
#[inline(always)]
pub fn is_asynchronous_used() -> bool {
    ASYNCHRONOUS_USED.load(Relaxed)
}

/// Runs `call` with deferred cancellation. `call` must not be inlined; it gets the time that
/// earlier attempts have taken.
#[inline(always)]
pub fn deferred<T>(call: impl Fn(Duration) -> T) -> T {
    if is_asynchronous_used() { deferred_slow(call) } else { call(Duration::ZERO) }
}

/// Runs `body` with deferred cancellation and returns its value as C does.
#[inline(always)]
pub fn deferred_call<T: Copy>(failed: T, body: impl Fn() -> Result<T, Errno>) -> T {
    deferred(|_| run_outlined(failed, &body))
}

#[cold]
#[inline(never)]
fn deferred_slow<T>(call: impl Fn(Duration) -> T) -> T {
    let mut begin = None;
    loop {
        let before = set_type(DEFERRED);
        let (error, outer) = enter(before == ASYNCHRONOUS);
        let value = call(begin.as_ref().map_or(Duration::ZERO, Instant::elapsed));
        let again = leave(error, outer);
        // The thread may end here.
        set_type(before);
        if !again {
            return value;
        }
        begin = begin.or_else(|| Some(Instant::now()));
    }
}

/// Notes in the engine if the thread can be cancelled in any call. Returns `errno` and the previous
/// setting.
#[inline(never)]
fn enter(asynchronous: bool) -> (c_int, bool) {
    let outer = preload_api::is_cancellable_in_any_call();
    if asynchronous {
        preload_api::note_cancel_asked();
        preload_api::set_cancellable_in_any_call(true);
    }
    (errno(), outer)
}

/// Restores the setting. Returns `true` if the call must be repeated, should the thread not end.
#[inline(never)]
fn leave(error: c_int, outer: bool) -> bool {
    preload_api::set_cancellable_in_any_call(outer);
    let again = errno() == CANCELLED.raw();
    if again {
        set_errno(error);
    }
    again
}

/// Calls `pthread_setcanceltype` and returns the previous type.
#[inline(always)]
fn set_type(kind: c_int) -> c_int {
    let mut before = DEFERRED;
    if let Some(real) = SET_TYPE.get() {
        // SAFETY: a local.
        unsafe { real(kind, &raw mut before) };
    }
    before
}

/// A cancellation point: a cancelled thread ends here.
#[inline(always)]
pub fn point() {
    if preload_api::cancel_count() != 0 {
        test();
    }
}

#[cold]
#[inline(never)]
fn test() {
    preload_api::note_cancel_asked();
    if let Some(real) = TEST.get() {
        // SAFETY: takes nothing; see the module.
        unsafe { real() };
    }
}

/// Returns the value of a cancellation point as C does. Returns `None` if the engine has given the
/// call up for a cancellation, and it must be repeated. After `EINTR` the thread may end here,
/// because the C library's cancellation signal may have caused it.
#[inline(always)]
pub fn c_value_at_point<T>(failed: T, outcome: Result<T, Errno>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(CANCELLED) => None,
        Err(e) => {
            if e == Errno::INTR {
                point();
            }
            set_errno(e.raw());
            Some(failed)
        }
    }
}

/// pthread_cancel(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn pthread_cancel(thread: pthread_t) -> c_int {
    let Some(real) = CANCEL.get() else { return libc::ENOSYS };
    preload_api::before_cancel();
    // SAFETY: the caller's contract is the same.
    let ret = unsafe { real(thread) };
    report(thread);
    ret
}

/// Reports a cancellation to the engine. Not inlined, because it may have values to drop.
#[inline(never)]
fn report(thread: pthread_t) {
    let error = errno();
    let _ = std::panic::catch_unwind(|| preload_api::after_cancel(thread as usize));
    set_errno(error);
}

/// pthread_setcanceltype(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn pthread_setcanceltype(kind: c_int, before: *mut c_int) -> c_int {
    if kind == ASYNCHRONOUS {
        ASYNCHRONOUS_USED.store(true, Relaxed);
    }
    match SET_TYPE.get() {
        // SAFETY: the caller's contract is the same.
        Some(real) => unsafe { real(kind, before) },
        None => libc::ENOSYS,
    }
}
