//! Events of the namespace that the log reports.
//!
//! # Safety
//!
//! `pthread_atfork` gets a function that lives as long as the library and does not unwind.
#![allow(unsafe_code)]

use crate::base::preload_api::{self, Listener};
use crate::log::messages::{Level, error, info, line, wants};
use crate::log::trace;
use libc::c_int;
use quintet::Kind;
use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::*};

struct Log;

/// `true` once this process has used a namespace.
static OPENED: AtomicBool = AtomicBool::new(false);

/// Reads the level and registers the listener.
pub fn at_load() {
    if wants(Level::Info) {
        report_forks();
    }
    preload_api::listen(&Log);
}

impl Listener for Log {
    fn opened(&self, path: &Path, kind: Kind) {
        OPENED.store(true, Relaxed);
        info(format_args!("uses the {} namespace {}", if kind == Kind::Private { "private" } else { "shared" }, path.display()));
    }

    fn about_to_sleep(&self) {
        trace::sleeps();
    }

    fn failed(&self, why: &quintet::Error) {
        error(format_args!("{why}"));
    }

    fn unusable(&self, why: &quintet::Error) {
        error(format_args!("no System V IPC for this program: {why}"));
    }
}

/// Makes each child of `fork` report its parent. A child that is made in another way appears with
/// its process id only.
fn report_forks() {
    extern "C" fn in_child() {
        if !OPENED.load(Relaxed) {
            return;
        }
        line(Level::Info, |line| {
            let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
            let _ = write!(line, "is a child of {parent}");
        });
    }
    unsafe extern "C" {
        fn pthread_atfork(
            prepare: Option<extern "C" fn()>,
            parent: Option<extern "C" fn()>,
            child: Option<extern "C" fn()>,
        ) -> c_int;
    }
    // SAFETY: the C library keeps the pointer to a function that does not unwind.
    unsafe { pthread_atfork(None, None, Some(in_child)) };
}
