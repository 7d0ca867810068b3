//! The lock of a queue: a spin lock in one word, taken and released without a system call.
//!
//! | word | meaning | next |
//! |---|---|---|
//! | 0 | free | an owner, by compare-and-swap |
//! | owner | held by one thread of a participant | 0, by that thread or by its signal handler; |
//! | | | another owner, by compare-and-swap, if the thread or its process has exited |
//! | an owner that cannot exist | illegal: a peer overwrote the word | another owner |
//!
//! **Signal handlers.** Signals are not blocked while the lock is held, so a handler can find the
//! lock held by its own thread. The handler then takes over:
//!
//! 1. It completes the decided stores (`sync::redo`) and does its own operation.
//! 2. It tells the interrupted call how many changes there were at that moment.
//! 3. It stores 0.
//!
//! The interrupted call checks the word in the same restartable sequence as its stores
//! (`sys::rseq`). It finds the lock lost and stores nothing more.
//!
//! **Waiting.** A release wakes no thread. The lock is held for less time than a thread needs to
//! fall asleep, unless the holder is preempted or stopped. A waiter looks again, then yields the
//! processor, then sleeps for short times.

use crate::sync::primitive::{AtomicU64, Ordering};
use crate::sync::robust_mutex::LockOwner;

/// The thread that holds the lock, as one word that is not 0.
///
/// Bits 0..32 are the [`LockOwner`] of its process, bits 32..64 its thread id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ThreadOwner(pub u64);

impl ThreadOwner {
    /// The thread `tid` of a participant.
    pub fn new(owner: LockOwner, tid: u32) -> ThreadOwner {
        ThreadOwner(u64::from(owner.bits()) | u64::from(tid) << 32)
    }

    /// The participant.
    pub fn owner(self) -> LockOwner {
        LockOwner::from_bits(self.0 as u32)
    }

    /// The thread id, in the PID namespace of its process.
    pub fn tid(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Takes the lock if it is free. Returns `true` if it was.
#[inline(always)]
pub fn try_acquire(word: &AtomicU64, me: ThreadOwner) -> bool {
    // Acquire pairs with `release`: the new holder sees the stores of the last one.
    word.compare_exchange(0, me.0, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

/// Returns the thread that holds the lock.
pub fn holder(word: &AtomicU64) -> Option<ThreadOwner> {
    let holder = word.load(Ordering::Acquire);
    (holder != 0).then_some(ThreadOwner(holder))
}

/// Takes the lock over from `exited`, a holder that no longer exists. Returns `true` on success.
pub fn take_over(word: &AtomicU64, exited: ThreadOwner, me: ThreadOwner) -> bool {
    // The exchange names the exited holder, so only one of several successors wins. That holder
    // released nothing: the successor sees its stores through the Acquire on `Redo::decided`.
    word.compare_exchange(exited.0, me.0, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

/// Releases the lock if `me` holds it. A word that names another holder stays as it is.
pub fn release(word: &AtomicU64, me: ThreadOwner) {
    // Release publishes all stores under the lock to the next `try_acquire`. The exchange fails if
    // a peer declared this thread dead and took over; the lock is then the peer's.
    let _ = word.compare_exchange(me.0, 0, Ordering::Release, Ordering::Relaxed);
}
