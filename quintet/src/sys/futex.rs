//! Sleeping and waking on a word of shared memory.

use rustix::thread::futex;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps while `*word == value`, at the longest for `timeout`; returns also when interrupted.
pub fn wait(word: &AtomicU32, value: u32, timeout: Duration) {
    let timeout = rustix::time::Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) as _ };
    let _ = futex::wait(word, futex::Flags::empty(), value, Some(&timeout));
}

/// Wakes one sleeper.
pub fn wake_one(word: &AtomicU32) {
    let _ = futex::wake(word, futex::Flags::empty(), 1);
}

/// Wakes all sleepers.
pub fn wake_all(word: &AtomicU32) {
    let _ = futex::wake(word, futex::Flags::empty(), i32::MAX as u32);
}
