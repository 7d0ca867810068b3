//! The robust lock under every interleaving.

use crate::explore_deaths;
use crate::sync::primitive::{AtomicU32, Ordering, mortal};
use crate::sync::robust_mutex::*;
use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::thread;

/// Sleeping is a yield; the dead are known by a flag.
struct Model {
    first_is_dead: AtomicBool,
}

impl MutexEnv for Model {
    fn alive(&self, owner: LockOwner) -> bool {
        owner.slot() != Some(0) || !self.first_is_dead.load(Ordering::SeqCst)
    }
    fn sleep(&self, _: &AtomicU32, _: u32) {
        thread::yield_now();
    }
    fn wake(&self, _: &AtomicU32) {}
}

fn acquire(word: &AtomicU32, me: LockOwner, world: &Model) -> Acquired {
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
                let me = LockOwner::new(slot, 1);
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
        assert!(try_acquire(&shared.0, LockOwner::new(0, 1)));
        shared.1.first_is_dead.store(true, Ordering::SeqCst);
        let run = |slot: u32| {
            let shared = shared.clone();
            move || {
                let me = LockOwner::new(slot, 1);
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

/// Who takes the lock, and gives it back, dies before any step, while another one wants it: never two hold it, what it guards is repaired exactly if
/// he died inside, and in the end it is free.
#[test]
fn a_holder_dies_at_each_step() {
    explore_deaths(2, |steps| {
        let shared = Arc::new((AtomicU32::new(0), Model { first_is_dead: AtomicBool::new(false) }, Guarded::default()));
        let other = {
            let shared = shared.clone();
            thread::spawn(move || visit(1, &shared.0, &shared.1, &shared.2))
        };
        let (word, world, guarded) = &*shared;
        let done = mortal(steps, || visit(0, word, world, guarded));
        if done.is_none() {
            world.first_is_dead.store(true, Ordering::SeqCst);
        }
        assert_ne!(done, Some(Acquired::FromDead), "nobody else dies");
        let repairs =
            [other.join().unwrap(), visit(2, word, world, guarded)].into_iter().filter(|how| *how == Acquired::FromDead).count();
        assert!(repairs <= usize::from(done.is_none()), "{repairs}");
        assert_eq!(guarded.half.load(Ordering::Relaxed) % 2, 0, "what it guards is whole");
        assert_eq!(word.load(Ordering::SeqCst), 0);
        done.is_none()
    });
}

fn visit(slot: u32, word: &AtomicU32, world: &Model, guarded: &Guarded) -> Acquired {
    let me = LockOwner::new(slot, 1);
    let how = acquire(word, me, world);
    guarded.visit(how == Acquired::FromDead);
    release(word, me, world);
    how
}

/// What a lock guards: odd while its holder is at it.
#[derive(Default)]
struct Guarded {
    half: AtomicU32,
}

impl Guarded {
    fn visit(&self, repair: bool) {
        let found = self.half.load(Ordering::Relaxed);
        // Whoever has it from the living finds it whole; from the dead, as it may be, and makes it whole.
        assert!(repair || found.is_multiple_of(2), "two are inside, or a death was missed");
        let whole = found.next_multiple_of(2);
        self.half.store(whole + 1, Ordering::Relaxed);
        self.half.store(whole + 2, Ordering::Relaxed);
    }
}
