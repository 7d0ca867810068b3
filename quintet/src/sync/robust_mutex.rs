//! The robust lock: a futex word that names its owner, so that whoever waits can ask whether the owner lives.
//!
//! A lock of our own and not libc's: a glibc and a musl process share it, and nothing in it is
//! a pointer that a peer could bend. The mutex is the three-state one of Drepper, "Futexes are tricky".
//!
//! | word | meaning | next |
//! |---|---|---|
//! | 0 | free | taken by compare-and-swap |
//! | owner | taken, nobody sleeps | freed by its owner; `SLEEPERS` set by a waiter |
//! | owner + `SLEEPERS` | taken, somebody may sleep | freed by its owner, which wakes one; |
//! | | | taken over by a waiter that found the owner dead |
//! | `SLEEPERS` alone, or an owner that no slot can have | illegal: a peer scribbled | taken over |
//!
//! An owner is a participant (slot and incarnation), not a thread: the lock goes by the death of a
//! process. Only code that blocks signals holds it, so a handler never finds its own thread inside.

use crate::sync::primitive::{AtomicU32, Ordering};

/// Set while somebody may be asleep on the word.
const SLEEPERS: u32 = 1 << 31;

/// Who holds the lock: the slot plus 1 in bits 0..15, the low 16 bits of its incarnation in bits 15..31.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LockOwner(u32);

impl LockOwner {
    /// The owner of `slot` (below 32767) in its `incarnation`.
    pub fn new(slot: u32, incarnation: u16) -> LockOwner {
        LockOwner((slot + 1) | u32::from(incarnation) << 15)
    }

    /// The word.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Whom a word of whatever content names.
    pub fn from_bits(word: u32) -> LockOwner {
        LockOwner(word & !SLEEPERS)
    }

    /// The slot, or `None` for a word that names none.
    pub fn slot(self) -> Option<u32> {
        (self.0 & 0x7fff).checked_sub(1)
    }

    /// The incarnation.
    pub fn incarnation(self) -> u16 {
        (self.0 >> 15) as u16
    }
}

/// What a waiter needs of the world; the model checker has its own.
pub trait MutexEnv {
    /// Whether the owner that the word names is alive. Asked only after the wait of a healthy critical section.
    fn alive(&self, owner: LockOwner) -> bool;
    /// Sleeps while the word has this value, not for ever.
    fn sleep(&self, word: &AtomicU32, value: u32);
    /// Wakes one sleeper.
    fn wake(&self, word: &AtomicU32);
}

/// How the lock was got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acquired {
    /// From nobody.
    Clean,
    /// From a dead owner: what it guards must be repaired before use.
    FromDead,
}

/// Takes the lock if it is free.
pub fn try_acquire(word: &AtomicU32, me: LockOwner) -> bool {
    word.compare_exchange(0, me.0, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

/// One round of waiting: sleeps unless the lock is free, or takes it (with `SLEEPERS`, as others may
/// sleep too). `None`: go round again.
pub fn contend(word: &AtomicU32, me: LockOwner, world: &impl MutexEnv, patient: bool) -> Option<Acquired> {
    let now = word.load(Ordering::Relaxed);
    if now == 0 {
        return word.compare_exchange(0, me.0 | SLEEPERS, Ordering::Acquire, Ordering::Relaxed).ok().map(|_| Acquired::Clean);
    }
    let owner = LockOwner(now & !SLEEPERS);
    if !patient && !world.alive(owner) {
        return word
            .compare_exchange(now, me.0 | SLEEPERS, Ordering::Acquire, Ordering::Relaxed)
            .ok()
            .map(|_| Acquired::FromDead);
    }
    if now & SLEEPERS == 0 && word.compare_exchange(now, now | SLEEPERS, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        return None;
    }
    world.sleep(word, now | SLEEPERS);
    None
}

/// Gives the lock back. It stays as it is if it is not `me`'s any more.
pub fn release(word: &AtomicU32, me: LockOwner, world: &impl MutexEnv) {
    if word.compare_exchange(me.0, 0, Ordering::Release, Ordering::Relaxed).is_ok() {
        return;
    }
    if word.compare_exchange(me.0 | SLEEPERS, 0, Ordering::Release, Ordering::Relaxed).is_ok() {
        world.wake(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_names_its_owner() {
        for (slot, incarnation) in [(0, 0), (16255, 65535), (5, 7)] {
            let owner = LockOwner::new(slot, incarnation);
            assert_eq!((owner.slot(), owner.incarnation()), (Some(slot), incarnation));
            assert_eq!(owner.0 & SLEEPERS, 0);
        }
        assert_eq!(LockOwner(0).slot(), None);
    }
}
