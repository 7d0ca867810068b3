//! The lock of a queue: one word, taken and freed without a system call, which a signal handler may take over from its own thread.
//!
//! | word | meaning | next |
//! |---|---|---|
//! | 0 | free | held, by compare-and-swap |
//! | holder | held by a thread of a participant | 0 by that thread; |
//! | | | the same word, held by that thread's signal handler, which has come in between: it does what was decided, tells the |
//! | | | interrupted call how many changes there were then, and makes it 0; the interrupted call, which looks at the word first, stores nothing more; |
//! | | | held by another one, by compare-and-swap, that found the holder's process or thread dead |
//! | a holder that cannot be | illegal: a peer scribbled | held by another one: nobody lives who could be meant |
//!
//! Nobody is told when it becomes free: it is held for less time than it takes to fall asleep, unless its holder was put aside or is
//! stopped. Who waits looks again, lets others run, and then sleeps a little at a time.

use crate::sync::primitive::{AtomicU64, Ordering};
use crate::sync::robust_mutex::LockOwner;

/// Who holds the lock, in one word, not 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ThreadOwner(pub u64);

impl ThreadOwner {
    /// The thread `tid` of a participant.
    pub fn new(owner: LockOwner, tid: u32) -> ThreadOwner {
        ThreadOwner(u64::from(owner.bits()) | u64::from(tid) << 32)
    }

    /// The process.
    pub fn owner(self) -> LockOwner {
        LockOwner::from_bits(self.0 as u32)
    }

    /// The thread, as its process sees it.
    pub fn tid(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Takes the lock, if it is free.
#[inline(always)]
pub fn try_acquire(word: &AtomicU64, me: ThreadOwner) -> bool {
    word.compare_exchange(0, me.0, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

/// Who holds it.
pub fn holder(word: &AtomicU64) -> Option<ThreadOwner> {
    let holder = word.load(Ordering::Acquire);
    (holder != 0).then_some(ThreadOwner(holder))
}

/// Takes the lock over from one who is dead.
pub fn take_over(word: &AtomicU64, dead: ThreadOwner, me: ThreadOwner) -> bool {
    word.compare_exchange(dead.0, me.0, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

/// Frees the lock, if it is `me`'s.
pub fn free(word: &AtomicU64, me: ThreadOwner) {
    let _ = word.compare_exchange(me.0, 0, Ordering::Release, Ordering::Relaxed);
}
