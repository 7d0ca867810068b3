//! The guard against truncated files: a handler for `SIGBUS`, which the user enables with
//! `QUINTET_TRUNCATION=survive`.
//!
//! The library records the program's own action for `SIGBUS` and shows it to the program as if
//! there were no guard. A `SIGBUS` outside the namespace's files is passed on to that action. Only
//! `sigaction` and `signal` are intercepted; a handler that their older siblings install replaces
//! the guard.
//!
//! # Safety
//!
//! The functions have the C library's types and contracts, and forward their arguments.
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

/// Installs the guard if the user has enabled it.
pub fn begin() {
    match environment::variable(c"QUINTET_TRUNCATION").map(|value| value.to_bytes()) {
        None | Some(b"") => {}
        Some(b"survive") => {
            if let Err(e) = preload_api::guard_against_truncation(lost) {
                log::warn(format_args!("cannot install the SIGBUS handler: {e}; a truncated file will end this program"));
            }
        }
        Some(other) => {
            log::warn(format_args!("there is no QUINTET_TRUNCATION={}; use survive, or unset it", log::Bytes(other)));
        }
    }
}

/// Reports the first lost page. Runs in a signal handler.
fn lost(page: usize) {
    static REPORTED: AtomicBool = AtomicBool::new(false);
    if !REPORTED.swap(true, Relaxed) {
        log::warn(format_args!("a file of the namespace was truncated while in use; the page at {page:#x} now reads as zeroes"));
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
        // SAFETY: the caller's contract; the C library reads the structure, too.
        if let Some(was) = preload_api::bus_action(unsafe { new.as_ref() }) {
            if !old.is_null() {
                // SAFETY: the caller upholds the contract.
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
        // SAFETY: zeroes are an empty `sigaction`.
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
