//! A lock among the threads of this process.

use crate::sys::futex;
use crate::sys::signal::Blocked;
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::time::Duration;

/// A lock among the threads of this process.
///
/// It is held with signals blocked, so that a handler never waits for its own thread.
pub struct ThreadLock(AtomicU32);

/// Holds the lock while it lives.
pub struct ThreadLockGuard<'a> {
    lock: &'a ThreadLock,
    _signals: Blocked,
}

impl ThreadLock {
    pub const fn new() -> ThreadLock {
        ThreadLock(AtomicU32::new(0))
    }

    /// Acquires the lock.
    pub fn lock(&self) -> ThreadLockGuard<'_> {
        let signals = Blocked::all();
        while self.0.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
            let _ = futex::wait(&self.0, 1, Duration::from_millis(1));
        }
        ThreadLockGuard { lock: self, _signals: signals }
    }

    /// Frees the lock in a child, whose parent has the thread that held it.
    pub fn forget(&self) {
        self.0.store(0, Relaxed);
    }
}

impl Drop for ThreadLockGuard<'_> {
    fn drop(&mut self) {
        self.lock.0.store(0, Release);
        futex::wake_one(&self.lock.0);
    }
}
