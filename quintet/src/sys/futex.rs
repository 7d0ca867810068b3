//! Sleeping and waking on a word of shared memory.

use rustix::thread::futex;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// The reason why a sleep ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WakeReason {
    /// The thread was woken, or the word had another value.
    WokenOrChanged,
    /// The timeout expired.
    TimedOut,
    /// A signal handler ran.
    Interrupted,
}

/// Sleeps while `*word == value`, for at most `timeout`.
///
/// There is always a timeout. Without one, the kernel would restart the sleep after a handler with
/// `SA_RESTART`, and the sleep would not end.
pub fn wait(word: &AtomicU32, value: u32, timeout: Duration) -> WakeReason {
    let timeout = rustix::time::Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) as _ };
    match futex::wait(word, futex::Flags::empty(), value, Some(&timeout)) {
        Err(rustix::io::Errno::TIMEDOUT) => WakeReason::TimedOut,
        Err(rustix::io::Errno::INTR) => WakeReason::Interrupted,
        _ => WakeReason::WokenOrChanged,
    }
}

/// Wakes one thread. Returns the number of woken threads, 0 or 1.
pub fn wake_one(word: &AtomicU32) -> usize {
    futex::wake(word, futex::Flags::empty(), 1).unwrap_or(0)
}

/// Wakes all threads.
pub fn wake_all(word: &AtomicU32) {
    let _ = futex::wake(word, futex::Flags::empty(), i32::MAX as u32);
}
