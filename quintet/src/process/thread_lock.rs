//! A lock among the threads of this process.

use crate::sys::futex;
use crate::sys::signal::Blocked;
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::time::Duration;

/// A lock among the threads of this process, held with signals blocked: a handler never waits for its own thread.
pub struct ThreadLock(AtomicU32);

/// The lock is held while this lives.
pub struct ThreadLockGuard<'a> {
    turn: &'a ThreadLock,
    _signals: Blocked,
}

impl ThreadLock {
    pub const fn new() -> ThreadLock {
        ThreadLock(AtomicU32::new(0))
    }

    pub fn lock(&self) -> ThreadLockGuard<'_> {
        let signals = Blocked::all();
        while self.0.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
            let _ = futex::wait(&self.0, 1, Duration::from_millis(1));
        }
        ThreadLockGuard { turn: self, _signals: signals }
    }

    /// In a child: whoever held it is in the parent.
    pub fn forget(&self) {
        self.0.store(0, Relaxed);
    }
}

impl Drop for ThreadLockGuard<'_> {
    fn drop(&mut self) {
        self.turn.0.store(0, Release);
        futex::wake_one(&self.turn.0);
    }
}
