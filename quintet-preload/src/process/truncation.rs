//! The guard against files that are shortened under a program, which the user asks for by `QUINTET_TRUNCATION=survive`: a handler for SIGBUS.
//!
//! What the program itself does about SIGBUS is remembered, and shown to it, as if there were no guard; whatever is not ours is passed on to that. Only
//! `sigaction` and `signal` are seen, not their older siblings: a handler that those install takes the guard's place.
//!
//! # Safety
//!
//! The functions have the C library's types and contracts, and pass their arguments on to it.
#![allow(unsafe_code)]

use crate::base::errno::{missing, set_errno};
use crate::base::next::next_functions;
use crate::base::preload_api;
use crate::log;
use crate::process::environment;
use libc::{c_int, sighandler_t};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

next_functions! {
    sigaction: unsafe extern "C" fn(c_int, *const libc::sigaction, *mut libc::sigaction) -> c_int;
    signal: unsafe extern "C" fn(c_int, sighandler_t) -> sighandler_t;
}

/// Installs the guard, if it is asked for.
pub fn begin() {
    match environment::variable(c"QUINTET_TRUNCATION").map(|value| value.to_bytes()) {
        None | Some(b"") => {}
        Some(b"survive") => {
            if let Err(e) = preload_api::guard_against_truncation(lost) {
                log::warn(format_args!("a shortened file will end this program: no handler for SIGBUS: {e}"));
            }
        }
        Some(other) => {
            log::warn(format_args!("QUINTET_TRUNCATION is '{}': it can be 'survive', or be left out", log::Bytes(other)));
        }
    }
}

/// In a signal handler.
fn lost(page: usize) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Relaxed) {
        log::warn(format_args!(
            "somebody has shortened a file of the namespace under this program; what was at {page:#x} is zeroes from now on"
        ));
    }
}

/// sigaction(2)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigaction(signum: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int {
    if signum == libc::SIGBUS {
        // SAFETY: the caller's, as the C library reads it, too.
        if let Some(was) = preload_api::bus_action(unsafe { new.as_ref() }) {
            if !old.is_null() {
                // SAFETY: the caller's.
                unsafe { old.write(was) };
            }
            return 0;
        }
    }
    let Some(real) = next::sigaction.get() else { return missing(-1) };
    // SAFETY: the caller's contract is the same.
    unsafe { real(signum, new, old) }
}

/// signal(2)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn signal(signum: c_int, handler: sighandler_t) -> sighandler_t {
    if signum == libc::SIGBUS && handler != libc::SIG_ERR {
        // SAFETY: zeroes are an empty sigaction.
        let mut new: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        new.sa_sigaction = handler;
        new.sa_flags = libc::SA_RESTART;
        if let Some(was) = preload_api::bus_action(Some(&new)) {
            return was.sa_sigaction;
        }
    }
    let Some(real) = next::signal.get() else {
        set_errno(libc::ENOSYS);
        return libc::SIG_ERR;
    };
    // SAFETY: the caller's contract is the same.
    unsafe { real(signum, handler) }
}
