//! The robust mutex in every interleaving.

use crate::explore_deaths;
use crate::sync::primitive::{AtomicU32, Ordering, mortal};
use crate::sync::robust_mutex::*;
use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::thread;

/// A thread yields instead of sleeping, and a flag shows if the first participant is dead.
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

fn acquire(word: &AtomicU32, me: LockOwner, env: &Model) -> Acquired {
    if try_acquire(word, me) {
        return Acquired::Clean;
    }
    loop {
        if let Some(how) = contend(word, me, env, false) {
            return how;
        }
        thread::yield_now();
    }
}

#[test]
fn owners_exclude_each_other() {
    loom::model(|| {
        let shared =
            Arc::new((AtomicU32::new(0), loom::cell::UnsafeCell::new(0u32), Model { first_is_dead: AtomicBool::new(false) }));
        let run = |slot: u32| {
            let shared = shared.clone();
            move || {
                let (word, counter, env) = &*shared;
                let me = LockOwner::new(slot, 1);
                assert_eq!(acquire(word, me, env), Acquired::Clean);
                // loom fails the model if two threads do this at the same time.
                #[allow(unsafe_code)]
                // SAFETY: the thread holds the mutex, so no other thread accesses the counter.
                counter.with_mut(|c| unsafe { *c += 1 });
                release(word, me, env);
            }
        };
        let other = thread::spawn(run(1));
        run(2)();
        other.join().unwrap();
        assert_eq!(shared.0.load(Ordering::SeqCst), 0);
    });
}

/// The first participant dies while it holds the mutex. Exactly one of the two waiters repairs.
#[test]
fn one_waiter_takes_over_from_dead_owner() {
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
        assert_eq!([mine, theirs].iter().filter(|h| **h == Acquired::OwnerDied).count(), 1);
        assert_eq!(shared.0.load(Ordering::SeqCst), 0);
    });
}

/// A process takes and releases the mutex and dies before any step, while another one wants it. The
/// two never hold it together, it is repaired only if its owner died inside, and it is free at the
/// end.
#[test]
fn owner_dies_at_each_step() {
    explore_deaths(2, |steps| {
        let shared = Arc::new((AtomicU32::new(0), Model { first_is_dead: AtomicBool::new(false) }, Guarded::default()));
        let other = {
            let shared = shared.clone();
            thread::spawn(move || visit(1, &shared.0, &shared.1, &shared.2))
        };
        let (word, env, guarded) = &*shared;
        let done = mortal(steps, || visit(0, word, env, guarded));
        if done.is_none() {
            env.first_is_dead.store(true, Ordering::SeqCst);
        }
        assert_ne!(done, Some(Acquired::OwnerDied), "no other process dies");
        let repairs =
            [other.join().unwrap(), visit(2, word, env, guarded)].into_iter().filter(|how| *how == Acquired::OwnerDied).count();
        assert!(repairs <= usize::from(done.is_none()), "{repairs}");
        assert_eq!(guarded.half.load(Ordering::Relaxed) % 2, 0, "what the mutex guards is complete");
        assert_eq!(word.load(Ordering::SeqCst), 0);
        done.is_none()
    });
}

fn visit(slot: u32, word: &AtomicU32, env: &Model, guarded: &Guarded) -> Acquired {
    let me = LockOwner::new(slot, 1);
    let how = acquire(word, me, env);
    guarded.visit(how == Acquired::OwnerDied);
    release(word, me, env);
    how
}

/// What the mutex guards: odd while its owner changes it.
#[derive(Default)]
struct Guarded {
    half: AtomicU32,
}

impl Guarded {
    fn visit(&self, repair: bool) {
        let found = self.half.load(Ordering::Relaxed);
        // An owner that got the mutex from a live process finds an even value. After a death it
        // repairs.
        assert!(repair || found.is_multiple_of(2), "two processes are inside, or a death was missed");
        let whole = found.next_multiple_of(2);
        self.half.store(whole + 1, Ordering::Relaxed);
        self.half.store(whole + 2, Ordering::Relaxed);
    }
}
