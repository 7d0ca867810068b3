//! The journal of a set and its blocked calls, in every interleaving, with a death before any step.

use crate::sync::journal::*;
use crate::sync::primitive::{AtomicI16, AtomicU32, AtomicU64, Ordering, mortal};
use crate::sync::robust_mutex::{self, Acquired, LockOwner};
use crate::sync::waiter::{self, State};
use crate::sync::word::*;
use crate::{explore, explore_deaths};
use loom::sync::atomic::AtomicBool;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use std::sync::PoisonError;

/// Two semaphores, an undo record, and a blocked call that wants one unit of the first semaphore.
#[derive(Default)]
struct Set {
    words: [AtomicU64; 2],
    lock: AtomicU32,
    decided: AtomicU64,
    applying: AtomicU32,
    answered: AtomicU32,
    changes: [Change; 2],
    cell: AtomicI16,
    waiter: AtomicU32,
    dead: [AtomicBool; 3],
    /// The lock's futex.
    futex: Mutex<()>,
    wakeup: Condvar,
}

/// The participant that changes the set.
const CHANGER: u32 = 0;
/// The participant that takes the lock over.
const SUCCESSOR: u32 = 1;
/// The participant with the blocked call.
const CALLER: u32 = 2;

impl SetWords for Set {
    fn word(&self, num: u32) -> Option<&AtomicU64> {
        self.words.get(num as usize)
    }
    fn descriptor(&self, _: usize) -> Option<&Descriptor> {
        None
    }
}

impl JournalledSet for Set {
    fn change(&self, nth: usize) -> Option<&Change> {
        self.changes.get(nth)
    }
    fn cell(&self, record: u32, _: u32) -> Option<&AtomicI16> {
        (record == 1).then_some(&self.cell)
    }
    fn forget_undo(&self, _: Option<u32>) {
        self.cell.store(0, Ordering::Relaxed);
    }
    fn reset_word(&self, num: u32) -> Option<Word> {
        (num < 2).then(|| Word::default().with_value(9))
    }
    fn waiter(&self, number: u32) -> Option<&AtomicU32> {
        (number == 1).then_some(&self.waiter)
    }
    /// The thread has never fallen asleep yet, or is dead.
    fn wake(&self, _: u32) -> bool {
        false
    }
    fn is_alive(&self, _: u32) -> bool {
        !self.is_dead(CALLER)
    }
}

impl robust_mutex::MutexEnv for Set {
    fn alive(&self, owner: LockOwner) -> bool {
        owner.slot().is_some_and(|slot| !self.is_dead(slot))
    }
    fn sleep(&self, word: &AtomicU32, value: u32) {
        let guard = self.futex.lock().unwrap_or_else(PoisonError::into_inner);
        if [CHANGER, SUCCESSOR, CALLER].into_iter().any(|participant| self.is_dead(participant)) {
            // The sleep is bounded.
            drop(guard);
            thread::yield_now();
        } else if word.seen_by_kernel() == value {
            drop(self.wakeup.wait(guard));
        }
    }
    fn wake(&self, _: &AtomicU32) {
        drop(self.futex.lock());
        self.wakeup.notify_one();
    }
}

impl Set {
    fn new(values: [u16; 2]) -> Arc<Set> {
        Arc::new(Set { words: values.map(|value| AtomicU64::new(value.into())), ..Set::default() })
    }

    fn journal(&self) -> Journal<'_> {
        Journal { decided: &self.decided, applying: &self.applying, answered: &self.answered }
    }

    fn is_dead(&self, participant: u32) -> bool {
        self.dead[participant as usize].load(Ordering::Acquire)
    }

    /// Runs `f` as `participant`, which dies before step `steps`.
    fn dying<T>(&self, participant: u32, steps: u32, f: impl FnOnce() -> T) -> Option<T> {
        let done = mortal(steps, f);
        if done.is_none() {
            self.dead[participant as usize].store(true, Ordering::Release);
            drop(self.futex.lock());
            self.wakeup.notify_all();
        }
        done
    }

    /// Runs `f` with the lock, after the journal of a dead holder was applied.
    fn locked<T>(&self, participant: u32, f: impl FnOnce() -> T) -> T {
        let me = LockOwner::new(participant, 1);
        if !robust_mutex::try_acquire(&self.lock, me) {
            loop {
                match robust_mutex::contend(&self.lock, me, self, false) {
                    Some(Acquired::Clean) => break,
                    Some(Acquired::OwnerDied) => {
                        self.journal().apply(self);
                        break;
                    }
                    None => {}
                }
            }
        }
        let done = f();
        robust_mutex::release(&self.lock, me, self);
        done
    }

    fn value(&self, num: u32) -> u16 {
        settle(self, num).expect("there are no marks").value()
    }

    /// Writes an entry of the journal.
    fn plan(&self, nth: usize, num: u32, by: i32, cells: (u8, u8)) {
        let (change, old) = (&self.changes[nth], hold(self, num).expect("there are no marks"));
        change.num.store(num, Ordering::Relaxed);
        change.record.store(u32::from(cells != (0, 0)), Ordering::Relaxed);
        change.old.store(old.0, Ordering::Relaxed);
        change.new.store(old.with_value((i32::from(old.value()) + by) as u16).0, Ordering::Relaxed);
        change.cells.store(u32::from(cells.0) | u32::from(cells.1) << 16, Ordering::Relaxed);
    }

    /// Takes a unit of each semaphore, and stores 7 in the undo record.
    fn take_both(&self) {
        self.plan(0, 0, -1, (0, 7));
        self.plan(1, 1, -1, (0, 0));
        self.journal().commit(self, Kind::Changes, 2, 0);
        // The next change is written down, but not decided on.
        self.plan(0, 1, -1, (7, 9));
        release(self, 0);
        release(self, 1);
    }

    /// Adds a unit to the first semaphore, and performs the blocked call.
    fn post(&self, participant: u32) {
        let mut word = settle(self, 0).expect("there are no marks");
        while word.is_plain() {
            let new = word.with_value(word.value() + 1);
            match self.words[0].compare_exchange(word.0, new.0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(now) => word = Word(now),
            }
        }
        self.locked(participant, || {
            self.plan(0, 0, 1, (0, 0));
            self.journal().commit(self, Kind::Changes, 1, 0);
            self.update();
        });
    }

    /// Performs the blocked call if there is a unit for it. The caller holds the lock.
    fn update(&self) {
        if State::of(&self.waiter) == State::Waiting && hold(self, 0).is_some_and(|word| word.value() > 0) {
            self.plan(0, 0, -1, (0, 0));
            if !self.journal().commit(self, Kind::Changes, 1, 1) {
                waiter::free(&self.waiter);
            }
        }
        if State::of(&self.waiter) != State::Waiting {
            release(self, 0);
        }
    }

    /// Takes a unit. Returns `false` if the call has to wait for it.
    fn take_or_wait(&self) -> bool {
        let word = settle(self, 0).expect("there are no marks");
        if word.is_plain() && word.value() > 0 {
            let new = word.with_value(word.value() - 1);
            if self.words[0].compare_exchange(word.0, new.0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
        self.locked(CALLER, || {
            let there = hold(self, 0).is_some_and(|word| word.value() > 0);
            if there {
                self.plan(0, 0, -1, (0, 0));
                self.journal().commit(self, Kind::Changes, 1, 0);
                release(self, 0);
            } else {
                waiter::prepare(&self.waiter);
                waiter::publish(&self.waiter);
            }
            there
        })
    }

    /// Takes the answer if there is one.
    fn answer(&self) -> Option<u16> {
        let State::Answered(errno) = State::of(&self.waiter) else { return None };
        waiter::free(&self.waiter);
        Some(errno)
    }

    /// Ends the blocked call. Returns `true` if it was performed.
    fn give_up(&self) -> bool {
        if let Some(errno) = self.answer() {
            return errno == 0;
        }
        self.locked(CALLER, || {
            if let Some(errno) = self.answer() {
                return errno == 0;
            }
            waiter::prepare(&self.waiter);
            release(self, 0);
            waiter::free(&self.waiter);
            false
        })
    }
}

/// Returns a set on which a call waits for a unit.
fn waiting() -> Arc<Set> {
    let set = Set::new([0, 0]);
    assert!(!set.take_or_wait());
    set
}

/// The lock's holder dies, its successor completes the journal, and a reader reads at any time. The
/// words and the cell change together or not at all.
#[test]
fn holder_dies_while_read() {
    explore_deaths(2, |steps| {
        let set = Set::new([5, 5]);
        let reader = {
            let set = set.clone();
            thread::spawn(move || [0, 1].map(|num| set.journal().stable_word(&*set, num).map(Word::value)))
        };
        let done = set.dying(CHANGER, steps, || set.locked(CHANGER, || set.take_both()));
        set.locked(SUCCESSOR, || [0, 1].into_iter().for_each(|num| release(&*set, num)));
        let values = [set.value(0), set.value(1)];
        assert!(values == [4, 4] || done.is_none() && values == [5, 5], "{values:?}");
        assert_eq!(set.cell.load(Ordering::Relaxed), if values == [4, 4] { 7 } else { 0 });
        assert_eq!(set.applying.load(Ordering::Relaxed) % 2, 0);
        let seen = reader.join().unwrap();
        assert!(![[Some(4), Some(5)]].contains(&seen), "{seen:?}");
        done.is_none()
    });
}

/// The successor of the lock's holder dies, too.
#[test]
fn holder_and_successor_die() {
    explore_deaths(1, |first| {
        let mut died = false;
        for second in 0..40 {
            let set = Set::new([5, 5]);
            let done = set.dying(CHANGER, first, || set.locked(CHANGER, || set.take_both()));
            let _ = set.dying(SUCCESSOR, second, || set.locked(SUCCESSOR, || ()));
            set.locked(CALLER, || [0, 1].into_iter().for_each(|num| release(&*set, num)));
            let values = [set.value(0), set.value(1)];
            assert!(values == [4, 4] || done.is_none() && values == [5, 5], "{values:?}");
            assert_eq!(set.cell.load(Ordering::Relaxed), if values == [4, 4] { 7 } else { 0 });
            died |= done.is_none();
        }
        died
    });
}

/// A call finds no unit and blocks while another process posts. The call gets the unit.
#[test]
fn no_wakeup_is_lost() {
    explore(4, || {
        let set = Set::new([0, 0]);
        let poster = {
            let set = set.clone();
            thread::spawn(move || set.post(CHANGER))
        };
        let taken = set.take_or_wait();
        poster.join().unwrap();
        assert_eq!((taken || set.answer() == Some(0), set.value(0)), (true, 0));
        assert!(set.words[0].load(Ordering::Relaxed) == 0, "the word is plain again");
    });
}

/// Two processes post and one takes: one unit is left.
#[test]
fn two_posts_and_one_call() {
    explore(2, || {
        let set = Set::new([0, 0]);
        let posters = [CHANGER, SUCCESSOR].map(|participant| {
            let set = set.clone();
            thread::spawn(move || set.post(participant))
        });
        let taken = set.take_or_wait();
        posters.into_iter().for_each(|poster| poster.join().unwrap());
        assert_eq!((taken || set.answer() == Some(0), set.value(0)), (true, 1));
        assert!(Word(set.words[0].load(Ordering::Relaxed)).is_plain());
    });
}

/// A call gives up (timeout, signal) and its process exits, while the call is performed. Either the
/// call has the unit, or the unit is still there.
#[test]
fn call_gives_up_while_performed() {
    explore(4, || {
        let set = waiting();
        let caller = {
            let set = set.clone();
            thread::spawn(move || {
                let performed = set.give_up();
                set.dead[CALLER as usize].store(true, Ordering::Release);
                performed
            })
        };
        set.post(CHANGER);
        let performed = caller.join().unwrap();
        assert_eq!(set.value(0), u16::from(!performed));
        assert_eq!(State::of(&set.waiter), State::Free);
    });
}

/// Does what the lock's next holder does with a call that was abandoned without the lock.
fn clear_given_up(set: &Set) {
    if State::of(&set.waiter) == State::Preparing {
        waiter::free(&set.waiter);
    }
    release(set, 0);
}

/// A call is abandoned without the lock while another process performs it. That process dies before
/// any step, and its successor continues. Either the call has the unit, or the unit is still there.
#[test]
fn call_is_abandoned_without_lock() {
    explore_deaths(2, |steps| {
        let set = waiting();
        let caller = {
            let set = set.clone();
            thread::spawn(move || !waiter::abandon(&set.waiter) && set.answer() == Some(0))
        };
        let posted = set.dying(CHANGER, steps, || set.post(CHANGER));
        if posted.is_none() {
            set.locked(SUCCESSOR, || set.update());
        }
        let performed = caller.join().unwrap();
        set.locked(SUCCESSOR, || clear_given_up(&set));
        let units = set.value(0) + u16::from(performed);
        assert!(units == 1 || posted.is_none() && units == 0, "{posted:?} {performed} {units}");
        assert!(Word(set.words[0].load(Ordering::Relaxed)).is_plain() || State::of(&set.waiter) == State::Waiting);
        posted.is_none()
    });
}

/// A call on a queue is withdrawn without the lock while the lock's holder answers it and then
/// another call. It is never both withdrawn and answered.
#[test]
fn queue_call_is_withdrawn_without_lock() {
    #[derive(Default)]
    struct Queue {
        answering: AtomicU64,
        pids: [AtomicU32; 2],
        answered: [AtomicU32; 2],
    }
    explore_deaths(4, |steps| {
        let queue = Arc::new(Queue::default());
        queue.pids.iter().for_each(|pid| pid.store(7, Ordering::Relaxed));
        let holder = {
            let queue = queue.clone();
            thread::spawn(move || {
                mortal(steps, || {
                    for (nth, pid) in queue.pids.iter().enumerate() {
                        if waiter::claim(&queue.answering, nth as u64 + 1, pid).is_some() {
                            queue.answered[nth].store(1, Ordering::Relaxed);
                        }
                    }
                })
            })
        };
        let withdrawn =
            waiter::withdraw(&queue.answering, 1, &queue.pids[0], 7) && queue.answered[0].load(Ordering::Relaxed) == 0;
        let lived = holder.join().unwrap().is_some();
        let answered = queue.answered[0].load(Ordering::Relaxed) == 1;
        assert!(!(withdrawn && answered));
        // A call that is neither withdrawn nor answered was seen without its process id.
        assert!(!lived || withdrawn || answered || queue.pids[0].load(Ordering::Relaxed) == 0);
        assert!(!lived || queue.answered[1].load(Ordering::Relaxed) == 1);
        !lived
    });
}

/// A caller dies before any step of giving up, while its call is performed, and a third process
/// clears the call. A call that returned has the unit, one that gave up has not, and no word stays
/// slow.
#[test]
fn caller_dies_while_performed() {
    explore_deaths(3, |steps| {
        let set = waiting();
        let caller = {
            let set = set.clone();
            thread::spawn(move || set.dying(CALLER, steps, || set.give_up()))
        };
        set.post(CHANGER);
        let performed = caller.join().unwrap();
        set.locked(SUCCESSOR, || {
            if performed.is_none() && State::of(&set.waiter) != State::Free {
                waiter::free(&set.waiter);
            }
            release(&*set, 0);
        });
        let left = set.value(0);
        assert!(performed.is_none_or(|performed| left == u16::from(!performed)), "{performed:?} {left}");
        assert!(left <= 1);
        assert!(Word(set.words[0].load(Ordering::Relaxed)).is_plain());
        performed.is_none()
    });
}

/// The call of a dead process consumes nothing, even if the process that performs it also dies.
#[test]
fn dead_caller_consumes_nothing() {
    explore_deaths(1, |steps| {
        let set = waiting();
        set.dead[CALLER as usize].store(true, Ordering::Release);
        let posted = set.dying(CHANGER, steps, || set.post(CHANGER));
        set.locked(SUCCESSOR, || {
            if posted.is_none() {
                set.update();
            }
        });
        let left = set.value(0);
        assert!(left == 1 || posted.is_none() && left == 0 && State::of(&set.waiter) == State::Waiting, "{posted:?} {left}");
        posted.is_none()
    });
}
