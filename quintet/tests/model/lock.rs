//! The robust lock under every interleaving.

use crate::sync::lock::*;
use crate::sync::primitive::{AtomicU32, Ordering};
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
