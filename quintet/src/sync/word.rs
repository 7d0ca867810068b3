//! The word of a semaphore, and changing several of them at once without a lock.
//!
//! A semaphore is one 64-bit word. An operation on one semaphore for which nobody waits is one compare-and-swap of it,
//! with `SEM_UNDO`, too: the word has room for what one process must take back from it.
//!
//! | word | meaning | next |
//! |---|---|---|
//! | plain | value, last pid, a small adjustment of one undo record | plain, by any compare-and-swap; slow, by the lock's holder; marked |
//! | slow | the same, but only the holder of the set's lock may change it: somebody waits for it, or it is being changed | |
//! | | | slow or plain, by the lock's holder |
//! | marked | an operation on several semaphores is under way; its descriptor has the plain word before and after | the one before or the |
//! | | | one after, as the descriptor's state says, by anybody |
//!
//! Several words change at once by a descriptor: its owner writes down each word before and after, puts marks in the words'
//! places, and decides. Whoever meets a mark first sees to it that there is a decision, and puts the word in the mark's place that the decision
//! calls for. So nobody ever waits for the owner, who may be stopped, dead, or interrupted by the handler that looks.
//!
//! | state of a descriptor | meaning | next |
//! |---|---|---|
//! | undecided | its owner is putting marks | done, by its owner when all are there; failed, by its owner, or by anybody who meets a mark |
//! | done | the words after are the truth | undecided with the next number, by its owner once no mark is left |
//! | failed | the words before are the truth | undecided with the next number, by its owner once no mark is left |
//!
//! A mark carries the number of its use of the descriptor, so that no late compare-and-swap can mistake it for another one.

use crate::sync::primitive::{AtomicU32, AtomicU64, Ordering, fence};

/// How many semaphores one descriptor can change.
pub const DESCRIBED: usize = 4;

const VALUE: u64 = 0x7fff;
const SLOW: u64 = 1 << 15;
const RECORD_SHIFT: u32 = 16;
const RECORD: u64 = 0x3fff;
const ADJUSTMENT_SHIFT: u32 = 30;
const ADJUSTMENT: u64 = 0x1ff;
const PID_SHIFT: u32 = 39;
const PID: u64 = 0x3f_ffff;
const MARKER: u64 = 1 << 63;

/// The greatest number of an undo record.
pub const MOST_RECORDS: u32 = RECORD as u32;

/// A semaphore's word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Word(pub u64);

impl Word {
    #[inline]
    pub fn value(self) -> u16 {
        (self.0 & VALUE) as u16
    }

    #[inline]
    pub fn pid(self) -> u32 {
        (self.0 >> PID_SHIFT & PID) as u32
    }

    #[inline]
    pub fn is_slow(self) -> bool {
        self.0 & (SLOW | MARKER) == SLOW
    }

    #[inline]
    pub fn is_marker(self) -> bool {
        self.0 & MARKER != 0
    }

    /// Neither slow nor a mark.
    #[inline]
    pub fn is_plain(self) -> bool {
        self.0 & (SLOW | MARKER) == 0
    }

    /// The undo record that the adjustment here belongs to, 0 for none; and the adjustment, to be added to what the record says itself.
    #[inline]
    pub fn undo(self) -> (u32, i32) {
        let record = (self.0 >> RECORD_SHIFT & RECORD) as u32;
        let adjustment = (self.0 >> ADJUSTMENT_SHIFT & ADJUSTMENT) as i32;
        (record, adjustment << 23 >> 23)
    }

    #[inline]
    pub fn with_value(self, value: u16) -> Word {
        Word(self.0 & !VALUE | u64::from(value) & VALUE)
    }

    #[inline]
    pub fn with_pid(self, pid: u32) -> Word {
        Word(self.0 & !(PID << PID_SHIFT) | (u64::from(pid) & PID) << PID_SHIFT)
    }

    pub fn with_slow(self, slow: bool) -> Word {
        Word(if slow { self.0 | SLOW } else { self.0 & !SLOW })
    }

    /// With no adjustment.
    #[inline]
    pub fn without_undo(self) -> Word {
        Word(self.0 & !(RECORD << RECORD_SHIFT | ADJUSTMENT << ADJUSTMENT_SHIFT))
    }

    /// With the adjustment of `record`, if there is room for it: no other record's is there, and it is small.
    #[inline]
    pub fn with_undo(self, record: u32, adjustment: i32) -> Option<Word> {
        let (of, already) = self.undo();
        let fits = (of == record || already == 0) && (-256..256).contains(&adjustment);
        let bits = u64::from(record) << RECORD_SHIFT | (adjustment as u64 & ADJUSTMENT) << ADJUSTMENT_SHIFT;
        fits.then(|| Word(self.without_undo().0 | if adjustment == 0 { 0 } else { bits }))
    }

    fn mark(descriptor: usize, number: u64) -> Word {
        Word(MARKER | number << 6 & !MARKER | descriptor as u64)
    }

    /// Which descriptor put the mark, and the number of that use of it.
    fn marked_by(self) -> (usize, u64) {
        ((self.0 & 0x3f) as usize, (self.0 & !MARKER) >> 6)
    }
}

/// One word before and after.
#[repr(C)]
#[derive(Default)]
struct Entry {
    num: AtomicU32,
    pad: AtomicU32,
    old: AtomicU64,
    new: AtomicU64,
}

/// What an operation on several semaphores is about to do. In shared memory.
#[repr(C)]
#[derive(Default)]
pub struct Descriptor {
    /// The number of this use, and in the two lowest bits the state.
    state: AtomicU64,
    /// Whose it is: 0 nobody's, else what its owner is called.
    pub owner: AtomicU64,
    entries: [Entry; DESCRIBED],
    pad: [AtomicU64; 2],
}

const UNDECIDED: u64 = 0;
const DONE: u64 = 1;
const FAILED: u64 = 2;
const NUMBERS: u64 = u64::MAX >> 8;

/// A change of one semaphore's word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Planned {
    pub num: u32,
    pub old: Word,
    pub new: Word,
}

/// The words of a set and its descriptors.
pub trait SetWords {
    fn word(&self, num: u32) -> Option<&AtomicU64>;
    fn descriptor(&self, nth: usize) -> Option<&Descriptor>;
}

/// The word of `num` as it is, if it is no mark; else what is in the mark's place once the operation that put it has been
/// brought to its end. `None`: there is no such semaphore, or the mark is a peer's scribble.
#[inline]
pub fn settle(set: &impl SetWords, num: u32) -> Option<Word> {
    let at = set.word(num)?;
    let word = Word(at.load(Ordering::Acquire));
    if word.is_marker() { end(set, num, at) } else { Some(word) }
}

/// Makes the word slow: from now on nobody but the caller, who holds the set's lock, changes it.
pub fn hold(set: &impl SetWords, num: u32) -> Option<Word> {
    let at = set.word(num)?;
    loop {
        let word = settle(set, num)?;
        let slow = word.with_slow(true);
        if word.is_slow() || at.compare_exchange(word.0, slow.0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            return Some(slow);
        }
    }
}

/// Lets everybody change a word again that [`hold`] has made slow. The caller holds the lock, and nobody waits for the word.
pub fn let_go(set: &impl SetWords, num: u32) {
    if let Some(at) = set.word(num) {
        let word = Word(at.load(Ordering::Acquire));
        if word.is_slow() {
            at.store(word.with_slow(false).0, Ordering::Release);
        }
    }
}

#[cold]
fn end(set: &impl SetWords, num: u32, at: &AtomicU64) -> Option<Word> {
    // Each round ends one operation; so many at a time there are not, unless a peer scribbles.
    for _ in 0..10_000 {
        let word = Word(at.load(Ordering::Acquire));
        if !word.is_marker() {
            return Some(word);
        }
        let (nth, number) = word.marked_by();
        let Some(truth) = set.descriptor(nth).and_then(|descriptor| descriptor.decide(num, number)) else {
            if is_scribble(at, word) {
                return None;
            }
            continue;
        };
        let _ = at.compare_exchange(word.0, truth.0, Ordering::AcqRel, Ordering::Relaxed);
    }
    None
}

/// The word of `num` without changing anything: for those who may only read.
pub fn peek(set: &impl SetWords, num: u32) -> Option<Word> {
    let at = set.word(num)?;
    for _ in 0..10_000 {
        let word = Word(at.load(Ordering::Acquire));
        if !word.is_marker() {
            return Some(word);
        }
        let (nth, number) = word.marked_by();
        if let Some(truth) = set.descriptor(nth).and_then(|descriptor| descriptor.read(num, number)) {
            return Some(truth);
        }
        if is_scribble(at, word) {
            return None;
        }
    }
    None
}

/// What is the matter with a mark whose descriptor does not tell the truth about it: that use of the descriptor is over, and the mark
/// is gone; or no owner has put it there.
fn is_scribble(at: &AtomicU64, mark: Word) -> bool {
    // Whoever has seen anything of the descriptor's next use sees the marks of this one gone.
    fence(Ordering::Acquire);
    at.load(Ordering::Acquire) == mark.0
}

impl Descriptor {
    fn number(&self) -> u64 {
        self.state.load(Ordering::Acquire) >> 2
    }

    /// Sees to it that use `number` is decided: the word that belongs in the place of its mark on `num`.
    fn decide(&self, num: u32, number: u64) -> Option<Word> {
        if self.state.load(Ordering::Acquire) == number << 2 | UNDECIDED {
            let failed = number << 2 | FAILED;
            let _ = self.state.compare_exchange(number << 2 | UNDECIDED, failed, Ordering::AcqRel, Ordering::Acquire);
        }
        self.read(num, number)
    }

    /// The truth about `num` in use `number`: while undecided, the word before.
    fn read(&self, num: u32, number: u64) -> Option<Word> {
        let state = self.state.load(Ordering::Acquire);
        let entry = self.entries.iter().find(|entry| entry.num.load(Ordering::Relaxed) == num)?;
        let (old, new) = (entry.old.load(Ordering::Relaxed), entry.new.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let same = state >> 2 == number && self.number() == number;
        // A mark within a mark is nothing that an owner writes.
        let truth = Word(if state & 3 == DONE { new } else { old });
        (same && truth.is_plain()).then_some(truth)
    }

    /// Changes all of `planned` (at the most [`DESCRIBED`], no semaphore twice), if every word is still what it was, and nobody
    /// interferes. The descriptor is the caller's, and it is the `nth` of the set.
    pub fn change(&self, set: &impl SetWords, nth: usize, planned: &[Planned]) -> bool {
        if planned.len() > self.entries.len() {
            return false;
        }
        let number = (self.number() + 1) & NUMBERS;
        // Release: who sees this number sees no mark of the last one. The fence: who sees an entry of this use sees this number.
        self.state.store(number << 2 | UNDECIDED, Ordering::Release);
        fence(Ordering::Release);
        for (i, entry) in self.entries.iter().enumerate() {
            let Planned { num, old, new } = planned.get(i).copied().unwrap_or(Planned { num: u32::MAX, ..Planned::default() });
            entry.num.store(num, Ordering::Relaxed);
            entry.old.store(old.0, Ordering::Relaxed);
            entry.new.store(new.0, Ordering::Relaxed);
        }
        let mark = Word::mark(nth, number);
        let put = |change: &Planned| {
            set.word(change.num)
                .is_some_and(|at| at.compare_exchange(change.old.0, mark.0, Ordering::AcqRel, Ordering::Relaxed).is_ok())
        };
        let all = planned.iter().all(put);
        let verdict = number << 2 | if all { DONE } else { FAILED };
        let decided = self.state.compare_exchange(number << 2 | UNDECIDED, verdict, Ordering::AcqRel, Ordering::Acquire);
        let done = all && decided.is_ok();
        for change in planned {
            let truth = if done { change.new } else { change.old };
            if let Some(at) = set.word(change.num) {
                let _ = at.compare_exchange(mark.0, truth.0, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
        done
    }

    /// Takes away what marks a dead owner has left.
    pub fn clear(&self, set: &impl SetWords) {
        for entry in &self.entries {
            let _ = settle(set, entry.num.load(Ordering::Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_word() {
        for (value, pid, record, adjustment) in [(0, 0, 0, 0), (32767, 4194303, 16383, -256), (1, 7, 3, 255), (5, 1, 1, -1)] {
            let word = Word::default().with_value(value).with_pid(pid).with_undo(record, adjustment).unwrap();
            assert_eq!((word.value(), word.pid(), word.undo()), (value, pid, (record, adjustment)));
            assert!(word.is_plain());
            let slow = word.with_slow(true);
            assert!(slow.is_slow() && !slow.is_plain() && !slow.is_marker());
            assert_eq!(slow.with_slow(false), word);
            assert_eq!(word.without_undo().undo(), (0, 0));
        }
        let taken = Word::default().with_undo(4, -1).unwrap();
        assert_eq!(taken.with_undo(5, 1), None);
        assert_eq!(taken.with_undo(4, 256), None);
        assert_eq!(taken.with_undo(4, 0), Some(Word::default()));
    }

    #[test]
    fn a_mark_says_whose_it_is() {
        for (nth, number) in [(0, 0), (7, 1), (63, NUMBERS)] {
            let mark = Word::mark(nth, number);
            assert!(mark.is_marker() && !mark.is_slow() && !mark.is_plain());
            assert_eq!(mark.marked_by(), (nth, number));
        }
    }
}
