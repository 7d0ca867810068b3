//! Sleeping and waking on a word of shared memory.

use rustix::thread::futex;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Why a sleep is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Woken {
    /// Woken, or the word had another value.
    Looked,
    TimedOut,
    /// A signal handler ran.
    Interrupted,
}

/// Sleeps while `*word == value`, at the longest for `timeout`; returns also when interrupted. (A sleep without a timeout would go on
/// by itself after a handler with `SA_RESTART`.)
pub fn wait(word: &AtomicU32, value: u32, timeout: Duration) -> Woken {
    let timeout = rustix::time::Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) as _ };
    match futex::wait(word, futex::Flags::empty(), value, Some(&timeout)) {
        Err(rustix::io::Errno::TIMEDOUT) => Woken::TimedOut,
        Err(rustix::io::Errno::INTR) => Woken::Interrupted,
        _ => Woken::Looked,
    }
}

/// Wakes one sleeper: how many there were, 0 or 1.
pub fn wake_one(word: &AtomicU32) -> usize {
    futex::wake(word, futex::Flags::empty(), 1).unwrap_or(0)
}

/// Wakes all sleepers.
pub fn wake_all(word: &AtomicU32) {
    let _ = futex::wake(word, futex::Flags::empty(), i32::MAX as u32);
}
