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

use super::primitive::{AtomicU32, Ordering};

/// Set while somebody may be asleep on the word.
const SLEEPERS: u32 = 1 << 31;

/// Who holds the lock: the slot plus 1 in bits 0..15, the low 16 bits of its incarnation in bits 15..31.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner(u32);

impl Owner {
    /// The owner of `slot` (below 32767) in its `incarnation`.
    pub fn new(slot: u32, incarnation: u16) -> Owner {
        Owner((slot + 1) | u32::from(incarnation) << 15)
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
pub trait World {
    /// Whether the owner that the word names is alive. Asked only after the wait of a healthy critical section.
    fn alive(&self, owner: Owner) -> bool;
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
pub fn try_acquire(word: &AtomicU32, me: Owner) -> bool {
    word.compare_exchange(0, me.0, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

/// One round of waiting: sleeps unless the lock is free, or takes it (with `SLEEPERS`, as others may
/// sleep too). `None`: go round again.
pub fn contend(word: &AtomicU32, me: Owner, world: &impl World, patient: bool) -> Option<Acquired> {
    let now = word.load(Ordering::Relaxed);
    if now == 0 {
        return word.compare_exchange(0, me.0 | SLEEPERS, Ordering::Acquire, Ordering::Relaxed).ok().map(|_| Acquired::Clean);
    }
    let owner = Owner(now & !SLEEPERS);
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
pub fn release(word: &AtomicU32, me: Owner, world: &impl World) {
    if word.compare_exchange(me.0, 0, Ordering::Release, Ordering::Relaxed).is_ok() {
        return;
    }
    if word.compare_exchange(me.0 | SLEEPERS, 0, Ordering::Release, Ordering::Relaxed).is_ok() {
        world.wake(word);
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicBool;
    use loom::thread;

    /// Sleeping is a yield; the dead are known by a flag.
    struct Model {
        first_is_dead: AtomicBool,
    }

    impl World for Model {
        fn alive(&self, owner: Owner) -> bool {
            owner.slot() != Some(0) || !self.first_is_dead.load(Ordering::SeqCst)
        }
        fn sleep(&self, _: &AtomicU32, _: u32) {
            thread::yield_now();
        }
        fn wake(&self, _: &AtomicU32) {}
    }

    fn acquire(word: &AtomicU32, me: Owner, world: &Model) -> Acquired {
        if try_acquire(word, me) {
            return Acquired::Clean;
        }
        loop {
            if let Some(how) = contend(word, me, world, false) {
                return how;
            }
            thread::yield_now();
        }
    }

    #[test]
    fn two_never_hold_it_together() {
        loom::model(|| {
            let shared =
                Arc::new((AtomicU32::new(0), loom::cell::UnsafeCell::new(0u32), Model { first_is_dead: AtomicBool::new(false) }));
            let run = |slot: u32| {
                let shared = shared.clone();
                move || {
                    let (word, counter, world) = &*shared;
                    let me = Owner::new(slot, 1);
                    assert_eq!(acquire(word, me, world), Acquired::Clean);
                    // loom itself fails the model if two do this at once.
                    #[allow(unsafe_code)]
                    // SAFETY: the lock is held.
                    counter.with_mut(|c| unsafe { *c += 1 });
                    release(word, me, world);
                }
            };
            let other = thread::spawn(run(1));
            run(2)();
            other.join().unwrap();
            assert_eq!(shared.0.load(Ordering::SeqCst), 0);
        });
    }

    /// The first participant dies holding the lock: exactly one of the two waiters repairs.
    #[test]
    fn the_dead_are_relieved_once() {
        loom::model(|| {
            let shared = Arc::new((AtomicU32::new(0), Model { first_is_dead: AtomicBool::new(false) }));
            assert!(try_acquire(&shared.0, Owner::new(0, 1)));
            shared.1.first_is_dead.store(true, Ordering::SeqCst);
            let run = |slot: u32| {
                let shared = shared.clone();
                move || {
                    let me = Owner::new(slot, 1);
                    let how = acquire(&shared.0, me, &shared.1);
                    release(&shared.0, me, &shared.1);
                    how
                }
            };
            let other = thread::spawn(run(1));
            let mine = run(2)();
            let theirs = other.join().unwrap();
            assert_eq!([mine, theirs].iter().filter(|h| **h == Acquired::FromDead).count(), 1);
            assert_eq!(shared.0.load(Ordering::SeqCst), 0);
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_word_names_its_owner() {
        for (slot, incarnation) in [(0, 0), (16255, 65535), (5, 7)] {
            let owner = Owner::new(slot, incarnation);
            assert_eq!((owner.slot(), owner.incarnation()), (Some(slot), incarnation));
            assert_eq!(owner.0 & SLEEPERS, 0);
        }
        assert_eq!(Owner(0).slot(), None);
    }
}
