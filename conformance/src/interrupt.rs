//! Ctrl-C handling: a run ends early and still prints its counts.
//!
//! # Safety
//!
//! The signal handler only sets a flag.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static WATCHED: AtomicBool = AtomicBool::new(false);
static REQUESTED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(_signal: libc::c_int) {
    REQUESTED.store(true, Relaxed);
}

/// Makes SIGINT and SIGTERM set a flag; see [`requested`]. Agents started later do not receive
/// signals from the terminal.
pub fn install() {
    WATCHED.store(true, Relaxed);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: see the head of the file.
        unsafe { libc::signal(signal, on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    }
}

/// Returns `true` if agents need process groups of their own.
pub(crate) fn is_watched() -> bool {
    WATCHED.load(Relaxed)
}

/// Returns `true` after SIGINT or SIGTERM.
pub fn requested() -> bool {
    REQUESTED.load(Relaxed)
}
