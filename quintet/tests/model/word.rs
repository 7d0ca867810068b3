//! The words of semaphores in every interleaving, with a death of a descriptor's owner before any
//! step.

use crate::sync::primitive::{AtomicU64, Ordering, mortal};
use crate::sync::word::*;
use crate::{explore, explore_deaths};
use loom::sync::Arc;
use loom::thread;

/// The number of preemptions, unless a test has its own.
const BOUND: usize = 4;

#[derive(Default)]
struct Set {
    words: [AtomicU64; 2],
    descriptors: [Descriptor; 2],
}

impl SetWords for Set {
    fn word(&self, num: u32) -> Option<&AtomicU64> {
        self.words.get(num as usize)
    }
    fn descriptor(&self, nth: usize) -> Option<&Descriptor> {
        self.descriptors.get(nth)
    }
}

impl Set {
    fn new(values: [u16; 2]) -> Arc<Set> {
        Arc::new(Set { words: values.map(|value| AtomicU64::new(value.into())), ..Set::default() })
    }

    fn value(&self, num: u32) -> i32 {
        settle(self, num).expect("a marker stays").value().into()
    }

    fn peeked(&self, num: u32) -> i32 {
        peek(self, num).expect("a marker is taken for a forgery").value().into()
    }

    /// Adds to one word as `semop` does. Returns `false` if the word is slow.
    fn add_to_one(&self, num: u32, by: i32) -> bool {
        loop {
            let old = settle(self, num).expect("a marker stays");
            let new = old.with_value((i32::from(old.value()) + by) as u16);
            if old.is_slow() {
                return false;
            }
            if self.words[num as usize].compare_exchange(old.0, new.0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
    }

    /// Attempts once to add to several words.
    fn add(&self, nth: usize, what: &[(u32, i32)]) -> bool {
        let plan = |&(num, by): &(u32, i32)| {
            let old = settle(self, num).expect("a marker stays");
            let value = i32::from(old.value()) + by;
            old.is_plain().then(|| Planned { num, old, new: old.with_value(value as u16) })
        };
        let planned: Option<Vec<Planned>> = what.iter().map(plan).collect();
        planned.is_some_and(|planned| self.descriptors[nth].change(self, nth, &planned))
    }
}

fn two_changes(first: [(u32, i32); 2], second: [(u32, i32); 2]) {
    let set = Set::new([5, 5]);
    let other = {
        let set = set.clone();
        thread::spawn(move || set.add(1, &second))
    };
    let mine = set.add(0, &first);
    let theirs = other.join().unwrap();
    let mut due = [5, 5];
    for (num, by) in [(mine, first), (theirs, second)].into_iter().filter(|(done, _)| *done).flat_map(|(_, what)| what) {
        due[num as usize] += by;
    }
    assert_eq!([set.value(0), set.value(1)], due);
}

#[test]
fn two_changes_in_same_order() {
    explore(3, || two_changes([(0, 1), (1, 1)], [(0, 2), (1, -2)]));
}

#[test]
fn two_changes_in_opposite_order() {
    explore(3, || two_changes([(0, 1), (1, 1)], [(1, 2), (0, -2)]));
}

/// Adds to both words while `one` adds 2 to the first word. Neither addition is lost.
fn change_against(one: impl Fn(&Set) + Send + Sync + 'static) {
    let set = Set::new([5, 5]);
    let other = {
        let set = set.clone();
        thread::spawn(move || one(&set))
    };
    let by = i32::from(set.add(0, &[(0, 1), (1, 1)]));
    other.join().unwrap();
    assert_eq!([set.value(0), set.value(1)], [5 + by + 2, 5 + by]);
}

#[test]
fn change_races_one_word() {
    explore(BOUND, || {
        change_against(|set| {
            assert!(set.add_to_one(0, 2));
        })
    });
}

#[test]
fn change_races_lock_holder() {
    explore(BOUND, || {
        change_against(|set| {
            let held = hold(set, 0).expect("a marker stays");
            set.words[0].store(held.with_value(held.value() + 2).0, Ordering::Release);
            release(set, 0);
        })
    });
}

/// A descriptor is used twice. A process that is late with the first use never takes its marker for
/// a forgery.
#[test]
fn late_helper() {
    explore(2, || {
        let set = Set::new([5, 5]);
        let other = {
            let set = set.clone();
            thread::spawn(move || set.value(0))
        };
        let done = [set.add(0, &[(0, 1), (1, 1)]), set.add(0, &[(0, 1), (1, 1)])];
        let seen = other.join().unwrap();
        let due = 5 + done.into_iter().filter(|done| *done).count() as i32;
        assert_eq!([set.value(0), set.value(1)], [due, due]);
        assert!((5..=due).contains(&seen), "{seen:?}");
    });
}

/// A reader sees the words before or the words after, and never goes back.
#[test]
fn reader_sees_no_partial_change() {
    explore(BOUND, || {
        let set = Set::new([5, 5]);
        let other = {
            let set = set.clone();
            thread::spawn(move || [set.peeked(0), set.peeked(1), set.peeked(0)])
        };
        let due = 5 + i32::from(set.add(0, &[(0, 1), (1, 1)]));
        let seen = other.join().unwrap();
        assert_eq!([set.value(0), set.value(1), due], [due; 3]);
        assert!(seen.is_sorted() && seen.into_iter().all(|seen| (5..=due).contains(&seen)), "{seen:?}");
    });
}

/// A late reader does not take the next use of a descriptor for the last one.
#[test]
fn late_reader() {
    explore(2, || {
        let set = Set::new([5, 5]);
        let other = {
            let set = set.clone();
            thread::spawn(move || [set.peeked(0), set.peeked(0)])
        };
        assert!(set.add(0, &[(0, 1), (1, 1)]) && set.add(0, &[(1, 2), (0, 2)]));
        let seen = other.join().unwrap();
        assert!(seen.is_sorted() && seen.iter().all(|seen| [5, 6, 8].contains(seen)), "{seen:?}");
    });
}

/// The owner dies while another process meets its markers. Both words change or neither does, and
/// no marker stays.
#[test]
fn owner_dies() {
    explore_deaths(BOUND, |steps| {
        let set = Set::new([5, 5]);
        let other = {
            let set = set.clone();
            thread::spawn(move || [set.value(0), set.value(1)])
        };
        let done = mortal(steps, || set.add(0, &[(0, 1), (1, 1)]));
        let met = [set.value(0), set.value(1)];
        assert!(met == [5, 5] && done != Some(true) || met == [6, 6] && done != Some(false), "{met:?} {done:?}");
        let seen = other.join().unwrap();
        assert!(seen.is_sorted() && (5..=met[0]).contains(&seen[0]) && seen[1] <= met[1], "{seen:?} of {met:?}");
        done.is_none()
    });
}

/// The owner dies while another change meets its markers in the opposite order.
#[test]
fn owner_dies_against_another_change() {
    explore_deaths(2, |steps| {
        let set = Set::new([5, 5]);
        let other = {
            let set = set.clone();
            thread::spawn(move || set.add(1, &[(1, 2), (0, 2)]))
        };
        let done = mortal(steps, || set.add(0, &[(0, 1), (1, 1)]));
        let theirs = i32::from(other.join().unwrap()) * 2;
        let mine = set.value(0) - 5 - theirs;
        assert!(done.map_or(mine == 0 || mine == 1, |done| mine == i32::from(done)), "{mine} {done:?}");
        assert_eq!(set.value(1), 5 + theirs + mine);
        done.is_none()
    });
}

/// The descriptor of a dead owner is reused while another process still reads its last use.
#[test]
fn descriptor_of_dead_owner_is_reused() {
    explore_deaths(2, |steps| {
        let set = Set::new([5, 5]);
        let other = {
            let set = set.clone();
            thread::spawn(move || set.value(0))
        };
        let done = mortal(steps, || set.add(0, &[(0, 1), (1, 1)]));
        set.descriptors[0].clear(&*set);
        let before = [set.value(0), set.value(1)];
        assert!(before == [5, 5] || before == [6, 6], "{before:?}");
        let by = i32::from(set.add(0, &[(1, 2), (0, 2)])) * 2;
        let seen = other.join().unwrap();
        assert_eq!([set.value(0), set.value(1)], before.map(|value| value + by));
        assert!((5..=before[0] + by).contains(&seen), "{seen}");
        done.is_none()
    });
}
