//! Threads that are cancelled.
//!
//! In the kernel's System V IPC, `msgsnd` and `msgrcv` are places where a cancelled thread ends. Here they ask the C library when they begin,
//! and when the engine says that something has happened ([`preload_api::cancelled`]): it has taken the call out of the queue by then.
//!
//! A thread may also let itself be ended anywhere (`PTHREAD_CANCEL_ASYNCHRONOUS`), which the engine must not be. In a program
//! that has ever asked for that, every call is made as if it had not, and the thread ends when it is put back.
//!
//! # Safety
//!
//! The C library ends a thread by unwinding its stack, with no regard for what functions say of themselves. So no function from which that may
//! be begun has anything to be dropped or caught at that point: an exported function goes on to one that is not inlined, whose frame is not there yet, or not any
//! more. The functions have the C library's types and pass their arguments on to it.
#![allow(unsafe_code)]

use crate::base::call::{attempt, run_outlined};
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

/// The same in all C libraries.
const DEFERRED: c_int = 0;
const ASYNCHRONOUS: c_int = 1;

/// Whether any thread has ever let itself be ended anywhere.
static ANYWHERE: AtomicBool = AtomicBool::new(false);

/// Looks all of them up.
pub fn at_load() {
    let found = [CANCEL.resolve(), SET_TYPE.resolve(), TEST.resolve()];
    if found.iter().all(|function: &*mut c_void| !function.is_null()) {
        preload_api::cancels_will_be_told();
    }
}

/// Runs an exported call: its value, or `failed` with `errno` set.
#[inline(always)]
pub fn c_call<T: Copy>(failed: T, call: impl Fn() -> Result<T, Errno>) -> T {
    export(|_| run_outlined(failed, &call))
}

/// What an exported function does: `call`, which is not inlined. It is told how long it has been at it.
#[inline(always)]
pub fn export<T>(call: impl Fn(Duration) -> T) -> T {
    if ANYWHERE.load(Relaxed) { held_off(call) } else { call(Duration::ZERO) }
}

#[cold]
#[inline(never)]
fn held_off<T>(call: impl Fn(Duration) -> T) -> T {
    let mut begin = None;
    loop {
        let before = set_type(DEFERRED);
        let (error, outer) = about_to_call(before == ASYNCHRONOUS);
        let value = call(begin.as_ref().map_or(Duration::ZERO, Instant::elapsed));
        let again = has_called(error, outer);
        // The thread may end here.
        set_type(before);
        if !again {
            return value;
        }
        begin = begin.or_else(|| Some(Instant::now()));
    }
}

/// `errno`, and what was set before.
#[inline(never)]
fn about_to_call(anywhere: bool) -> (c_int, bool) {
    let outer = preload_api::is_cancellable_anywhere();
    if anywhere {
        preload_api::asking_for_cancel();
        preload_api::set_cancellable_anywhere(true);
    }
    (errno(), outer)
}

/// Whether the call is to be made anew, if the thread does not end.
#[inline(never)]
fn has_called(error: c_int, outer: bool) -> bool {
    preload_api::set_cancellable_anywhere(outer);
    let again = errno() == CANCELLED.raw();
    if again {
        set_errno(error);
    }
    again
}

/// `pthread_setcanceltype`: the type before.
#[inline(always)]
fn set_type(kind: c_int) -> c_int {
    let mut before = DEFERRED;
    if let Some(real) = SET_TYPE.get() {
        // SAFETY: a local.
        unsafe { real(kind, &raw mut before) };
    }
    before
}

/// The thread ends here, if it is cancelled.
#[inline(always)]
fn point() {
    if preload_api::cancels() != 0 {
        ask();
    }
}

#[cold]
#[inline(never)]
fn ask() {
    preload_api::asking_for_cancel();
    if let Some(real) = TEST.get() {
        // SAFETY: takes nothing; see the module.
        unsafe { real() };
    }
}

/// Runs a call at which a cancelled thread ends.
#[inline(always)]
pub fn carry_and_end<T>(failed: T, mut call: impl FnMut() -> Result<T, Errno>) -> T {
    loop {
        point();
        match attempt(&mut call) {
            Ok(value) => return value,
            Err(CANCELLED) => {}
            Err(e) => {
                if e == Errno::INTR {
                    // Perhaps by the C library's own signal.
                    point();
                }
                set_errno(e.raw());
                return failed;
            }
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
    preload_api::about_to_cancel();
    // SAFETY: the caller's contract is the same.
    let ret = unsafe { real(thread) };
    tell(thread);
    ret
}

/// Not inlined, as what it calls may have something to be dropped.
#[inline(never)]
fn tell(thread: pthread_t) {
    let error = errno();
    let _ = std::panic::catch_unwind(|| preload_api::cancelled(thread as usize));
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
        ANYWHERE.store(true, Relaxed);
    }
    match SET_TYPE.get() {
        // SAFETY: the caller's contract is the same.
        Some(real) => unsafe { real(kind, before) },
        None => libc::ENOSYS,
    }
}
