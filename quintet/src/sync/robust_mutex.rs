//! The robust mutex: a futex word that names its owner, so that a waiter can ask if the owner
//! lives.
//!
//! The algorithm is the three-state mutex of Drepper, "Futexes are tricky" (`mutex2`), with the
//! owner in place of the state 1. It is not libc's robust mutex: glibc and musl processes share
//! this one, and it holds no pointer that a peer could forge.
//!
//! | word | meaning | next |
//! |---|---|---|
//! | 0 | free | owner or owner + `SLEEPERS`, by compare-and-swap |
//! | owner | held; no thread sleeps | 0, by its owner; `SLEEPERS` set by a waiter |
//! | owner + `SLEEPERS` | held; threads may sleep | 0, by its owner, which wakes one thread; |
//! | | | another owner + `SLEEPERS`, by a waiter that found the owner dead |
//! | `SLEEPERS` alone, or no possible owner | illegal: a peer overwrote the word | another owner |
//!
//! An owner is a participant (slot and incarnation), not a thread: the mutex passes on when a
//! process dies. Signals are blocked while it is held, so a handler never finds its own thread
//! inside.
//!
//! Invariant: a waiter sleeps only after it has seen `SLEEPERS` set. Its sleep is bounded, so a
//! wakeup that is lost with a dead process only costs time.

use crate::sync::primitive::{AtomicU32, Ordering};

/// Set while a thread may sleep on the word.
const SLEEPERS: u32 = 1 << 31;

/// The participant that holds the mutex: its slot plus 1 in bits 0..15, the low 16 bits of the
/// slot's incarnation in bits 15..31.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LockOwner(u32);

impl LockOwner {
    /// The owner in `slot` (0..=32766), in its `incarnation`.
    pub fn new(slot: u32, incarnation: u16) -> LockOwner {
        LockOwner((slot + 1) | u32::from(incarnation) << 15)
    }

    /// The owner as a word, without `SLEEPERS`.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// The owner that a word names; the word may have any value.
    pub fn from_bits(word: u32) -> LockOwner {
        LockOwner(word & !SLEEPERS)
    }

    /// The slot, or `None` if the word names none.
    pub fn slot(self) -> Option<u32> {
        (self.0 & 0x7fff).checked_sub(1)
    }

    /// The low 16 bits of the slot's incarnation.
    pub fn incarnation(self) -> u16 {
        (self.0 >> 15) as u16
    }
}

/// What a waiter needs of the system. The model checker has its own.
pub trait MutexEnv {
    /// Returns `true` if `owner` is alive. Called only after a healthy owner should have released.
    fn alive(&self, owner: LockOwner) -> bool;
    /// Sleeps while the word has this value, for a limited time.
    fn sleep(&self, word: &AtomicU32, value: u32);
    /// Wakes one sleeping thread.
    fn wake(&self, word: &AtomicU32);
}

/// How the mutex was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acquired {
    /// It was free.
    Clean,
    /// Its owner died. The caller must repair what the mutex guards before it uses it.
    OwnerDied,
}

/// Takes the mutex if it is free. Returns `true` if it was.
pub fn try_acquire(word: &AtomicU32, me: LockOwner) -> bool {
    // Acquire pairs with the Release in `release`.
    word.compare_exchange(0, me.0, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

/// Does one round of waiting: takes the mutex if it is free or its owner is dead, otherwise sleeps.
///
/// While the caller is `patient`, it does not ask if the owner lives. Returns `None` if the caller
/// must try again.
pub fn contend(word: &AtomicU32, me: LockOwner, env: &impl MutexEnv, patient: bool) -> Option<Acquired> {
    let now = word.load(Ordering::Relaxed);
    if now == 0 {
        // This thread may have slept while other threads sleep, too, and the release that woke it
        // cleared `SLEEPERS`. It must set the flag again, or those threads are never woken.
        return word.compare_exchange(0, me.0 | SLEEPERS, Ordering::Acquire, Ordering::Relaxed).ok().map(|_| Acquired::Clean);
    }
    let owner = LockOwner(now & !SLEEPERS);
    if !patient && !env.alive(owner) {
        // Of several waiters that found the owner dead, only one sees its exchange succeed. If this
        // process dies next, its word names it, and the next waiter takes over from it.
        //
        // The dead owner released nothing, so Acquire has no Release of its own to pair with. The
        // repair relies on the probe: `alive` returned `false` after the owner's last store.
        return word
            .compare_exchange(now, me.0 | SLEEPERS, Ordering::Acquire, Ordering::Relaxed)
            .ok()
            .map(|_| Acquired::OwnerDied);
    }
    // The flag must be set before the sleep, or the owner releases without a wakeup. It orders no
    // data: Relaxed is enough, because the kernel compares the word again before it sleeps.
    if now & SLEEPERS == 0 && word.compare_exchange(now, now | SLEEPERS, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        return None;
    }
    env.sleep(word, now | SLEEPERS);
    None
}

/// Releases the mutex if `me` holds it, and wakes one thread if any may sleep. A word that names
/// another owner stays as it is.
pub fn release(word: &AtomicU32, me: LockOwner, env: &impl MutexEnv) {
    // Release publishes the critical section to the next owner.
    if word.compare_exchange(me.0, 0, Ordering::Release, Ordering::Relaxed).is_ok() {
        return;
    }
    // A waiter has set `SLEEPERS`, and only the owner clears it, so the word stays as it is until
    // this exchange. It fails only if a peer declared this process dead and took over.
    if word.compare_exchange(me.0 | SLEEPERS, 0, Ordering::Release, Ordering::Relaxed).is_ok() {
        // A crash before the wakeup leaves the mutex free and its waiters asleep. Their sleep is
        // bounded; then `contend` finds 0.
        env.wake(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_survives_packing() {
        for (slot, incarnation) in [(0, 0), (16255, 65535), (5, 7)] {
            let owner = LockOwner::new(slot, incarnation);
            assert_eq!((owner.slot(), owner.incarnation()), (Some(slot), incarnation));
            assert_eq!(owner.0 & SLEEPERS, 0);
        }
        assert_eq!(LockOwner(0).slot(), None);
    }
}
