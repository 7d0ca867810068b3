//! Ctrl-C, after which what has been run so far is still told.
//!
//! # Safety
//!
//! A handler is installed, which does nothing but set a flag.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static WATCHED: AtomicBool = AtomicBool::new(false);
static TOLD: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_signal: libc::c_int) {
    TOLD.store(true, Relaxed);
}

/// From now on SIGINT and SIGTERM only make [`told`] true. Agents that are made afterwards do not get what the terminal sends.
pub fn watch() {
    WATCHED.store(true, Relaxed);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: see the head of the file.
        unsafe { libc::signal(signal, note as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    }
}

/// Whether the agents are to be in process groups of their own.
pub(crate) fn is_watched() -> bool {
    WATCHED.load(Relaxed)
}

/// Whether somebody has told this program to end.
pub fn told() -> bool {
    TOLD.load(Relaxed)
}
