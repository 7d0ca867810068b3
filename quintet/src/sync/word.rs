//! The word of a semaphore, and changes of several words at once without a lock.
//!
//! A semaphore is one 64-bit word. An operation on one semaphore on which no call is blocked is one
//! compare-and-swap of the word. That includes `SEM_UNDO`: the word has room for the adjustment of
//! one process.
//!
//! | word | meaning | next |
//! |---|---|---|
//! | plain | value, last pid, and a small adjustment of one undo record | plain, by any process; |
//! | | | slow, by the holder of the set's lock; marker |
//! | slow | the same; a call is blocked on it, | slow or plain, by the lock's holder |
//! | | or a journal changes it | |
//! | marker | an operation on several words is under way | the word before or after, |
//! | | | by any process, as the descriptor decides |
//!
//! # Several words
//!
//! A change of several words is a multi-word compare-and-swap (MCAS). The algorithm is that of
//! Harris, Fraser and Pratt, "A Practical Multi-Word Compare-and-Swap Operation". Here, a process
//! that meets an undecided change makes it fail instead of helping it:
//!
//! 1. The owner of a descriptor writes down each word before and after.
//! 2. It puts a marker, which names the descriptor, in the place of each word.
//! 3. It decides: one compare-and-swap of the descriptor's state.
//! 4. It replaces each marker with the word after, or with the word before if the change failed.
//!
//! A process that meets a marker makes sure that there is a decision: it makes an undecided change
//! fail. Then it replaces the marker itself. No process waits for the owner, which can be stopped,
//! dead, or interrupted by the very handler that meets the marker.
//!
//! | state of a descriptor | meaning | next |
//! |---|---|---|
//! | undecided | its owner puts markers | done, by its owner when all are placed; |
//! | | | failed, by its owner or by a process that meets a marker |
//! | done | the words after are the truth | undecided with the next number, by its owner, |
//! | | | when no marker is left |
//! | failed | the words before are the truth | undecided with the next number, by its owner, |
//! | | | when no marker is left |
//!
//! A marker carries the number of this use of its descriptor. A late compare-and-swap therefore
//! never takes the marker of a later use for its own.

use crate::sync::primitive::{AtomicU32, AtomicU64, Ordering, fence};

/// The greatest number of semaphores that one descriptor can change.
pub const MAX_MCAS_WORDS: usize = 4;

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
pub const MAX_RECORDS: u32 = RECORD as u32;

/// A semaphore's word.
///
/// | bits | plain or slow | marker |
/// |---|---|---|
/// | 0..15 | value | descriptor (bits 0..6), number of its use (bits 6..63) |
/// | 15 | 1 if slow | |
/// | 16..30 | undo record, 0 for none | |
/// | 30..39 | adjustment, signed | |
/// | 39..61 | process id of the last operation | |
/// | 63 | 0 | 1 |
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Word(pub u64);

impl Word {
    /// The value, 0..=32767.
    #[inline]
    pub fn value(self) -> u16 {
        (self.0 & VALUE) as u16
    }

    /// The process id of the last operation.
    #[inline]
    pub fn pid(self) -> u32 {
        (self.0 >> PID_SHIFT & PID) as u32
    }

    /// Returns `true` if only the lock's holder may change the word.
    #[inline]
    pub fn is_slow(self) -> bool {
        self.0 & (SLOW | MARKER) == SLOW
    }

    /// Returns `true` if an operation on several semaphores has put a marker here.
    #[inline]
    pub fn is_marker(self) -> bool {
        self.0 & MARKER != 0
    }

    /// Returns `true` if the word is neither slow nor a marker.
    #[inline]
    pub fn is_plain(self) -> bool {
        self.0 & (SLOW | MARKER) == 0
    }

    /// The undo record of the adjustment in this word (0 for none), and the adjustment, which adds
    /// to the record's own.
    #[inline]
    pub fn undo(self) -> (u32, i32) {
        let record = (self.0 >> RECORD_SHIFT & RECORD) as u32;
        let adjustment = (self.0 >> ADJUSTMENT_SHIFT & ADJUSTMENT) as i32;
        (record, adjustment << 23 >> 23)
    }

    /// The word with another value.
    #[inline]
    pub fn with_value(self, value: u16) -> Word {
        Word(self.0 & !VALUE | u64::from(value) & VALUE)
    }

    /// The word with another process id, of which the low 22 bits are kept.
    #[inline]
    pub fn with_pid(self, pid: u32) -> Word {
        Word(self.0 & !(PID << PID_SHIFT) | (u64::from(pid) & PID) << PID_SHIFT)
    }

    /// The word, slow or plain.
    pub fn with_slow(self, slow: bool) -> Word {
        Word(if slow { self.0 | SLOW } else { self.0 & !SLOW })
    }

    /// The word without an adjustment.
    #[inline]
    pub fn without_undo(self) -> Word {
        Word(self.0 & !(RECORD << RECORD_SHIFT | ADJUSTMENT << ADJUSTMENT_SHIFT))
    }

    /// The word with the adjustment of `record`. Returns `None` if another record's adjustment is
    /// here, or if `adjustment` is not in -256..=255.
    #[inline]
    pub fn with_undo(self, record: u32, adjustment: i32) -> Option<Word> {
        let (of, already) = self.undo();
        let fits = (of == record || already == 0) && (-256..256).contains(&adjustment);
        let bits = u64::from(record) << RECORD_SHIFT | (adjustment as u64 & ADJUSTMENT) << ADJUSTMENT_SHIFT;
        fits.then(|| Word(self.without_undo().0 | if adjustment == 0 { 0 } else { bits }))
    }

    /// The marker of use `number` of a descriptor.
    fn marker(descriptor: usize, number: u64) -> Word {
        Word(MARKER | number << 6 & !MARKER | descriptor as u64)
    }

    /// The descriptor that a marker names, and the number of the use.
    fn marker_owner(self) -> (usize, u64) {
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

/// What an operation on several semaphores is about to change. Lies in shared memory.
#[repr(C)]
#[derive(Default)]
pub struct Descriptor {
    /// The state in bits 0..2, the number of this use above.
    state: AtomicU64,
    /// The participant that uses the descriptor, as a word; 0 if it is not in use.
    pub owner: AtomicU64,
    entries: [Entry; MAX_MCAS_WORDS],
    pad: [AtomicU64; 2],
}

const UNDECIDED: u64 = 0;
const DONE: u64 = 1;
const FAILED: u64 = 2;
/// The numbers of uses: as many bits as a marker has for one, and no more.
const NUMBERS: u64 = u64::MAX >> 8;

/// A change of one semaphore's word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Planned {
    /// The semaphore.
    pub num: u32,
    /// The word before.
    pub old: Word,
    /// The word after.
    pub new: Word,
}

/// The words of a set and its descriptors.
pub trait SetWords {
    /// Returns the word of a semaphore.
    fn word(&self, num: u32) -> Option<&AtomicU64>;
    /// Returns a descriptor.
    fn descriptor(&self, nth: usize) -> Option<&Descriptor>;
}

/// Returns the word of `num`, plain or slow. Completes the operation of a marker that is in its
/// place.
///
/// Returns `None` if there is no such semaphore, or if the marker is a peer's forgery.
#[inline]
pub fn settle(set: &impl SetWords, num: u32) -> Option<Word> {
    let at = set.word(num)?;
    // Acquire: a marker shows the entries of its descriptor.
    let word = Word(at.load(Ordering::Acquire));
    if word.is_marker() { help(set, num, at) } else { Some(word) }
}

/// Makes the word slow: from here on only the caller, which holds the set's lock, changes it.
pub fn hold(set: &impl SetWords, num: u32) -> Option<Word> {
    let at = set.word(num)?;
    loop {
        let word = settle(set, num)?;
        let slow = word.with_slow(true);
        // The exchange fails if an operation without the lock came first. A holder that dies leaves
        // the word slow; its successor makes it plain when no call is blocked on it.
        if word.is_slow() || at.compare_exchange(word.0, slow.0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            return Some(slow);
        }
    }
}

/// Makes a word plain that [`hold`] has made slow. The caller holds the lock, and no call is
/// blocked on the word.
pub fn release(set: &impl SetWords, num: u32) {
    if let Some(at) = set.word(num) {
        let word = Word(at.load(Ordering::Acquire));
        if word.is_slow() {
            // A plain store: no other process changes a slow word. Release shows the lock holder's
            // work to the next operation without the lock.
            at.store(word.with_slow(false).0, Ordering::Release);
        }
    }
}

/// Completes the operations that have put a marker in the place of `num`.
#[cold]
fn help(set: &impl SetWords, num: u32, at: &AtomicU64) -> Option<Word> {
    // Each round ends one operation. More rounds than this are needed only if a peer forges
    // markers.
    for _ in 0..10_000 {
        let word = Word(at.load(Ordering::Acquire));
        if !word.is_marker() {
            return Some(word);
        }
        let (nth, number) = word.marker_owner();
        let Some(truth) = set.descriptor(nth).and_then(|descriptor| descriptor.decide(num, number)) else {
            if is_forged(at, word) {
                return None;
            }
            continue;
        };
        // The change is decided, so its owner, this process and any other helper write the same
        // word. The exchange succeeds for one of them; the marker's number protects later uses.
        let _ = at.compare_exchange(word.0, truth.0, Ordering::AcqRel, Ordering::Relaxed);
    }
    None
}

/// Returns the word of `num` without a store, for processes with read permission only.
pub fn peek(set: &impl SetWords, num: u32) -> Option<Word> {
    let at = set.word(num)?;
    for _ in 0..10_000 {
        let word = Word(at.load(Ordering::Acquire));
        if !word.is_marker() {
            return Some(word);
        }
        let (nth, number) = word.marker_owner();
        if let Some(truth) = set.descriptor(nth).and_then(|descriptor| descriptor.truth(num, number)) {
            return Some(truth);
        }
        if is_forged(at, word) {
            return None;
        }
    }
    None
}

/// Returns `true` if a marker that its descriptor does not know is a forgery.
///
/// Otherwise that use of the descriptor is over, and the marker is gone.
fn is_forged(at: &AtomicU64, marker: Word) -> bool {
    // The caller saw something of a later use. Its owner began it, by a Release store of the state,
    // after all markers of this use were replaced. With the fence, the load below sees that.
    fence(Ordering::Acquire);
    at.load(Ordering::Acquire) == marker.0
}

impl Descriptor {
    fn number(&self) -> u64 {
        self.state.load(Ordering::Acquire) >> 2
    }

    /// Makes sure that use `number` is decided, and returns the word that replaces its marker on
    /// `num`.
    fn decide(&self, num: u32, number: u64) -> Option<Word> {
        if self.state.load(Ordering::Acquire) == number << 2 | UNDECIDED {
            let failed = number << 2 | FAILED;
            // Competes with the owner's decision: exactly one succeeds.
            let _ = self.state.compare_exchange(number << 2 | UNDECIDED, failed, Ordering::AcqRel, Ordering::Acquire);
        }
        self.truth(num, number)
    }

    /// Returns the word that `num` has in use `number`: the word before, while it is undecided.
    ///
    /// Returns `None` if that use is over or does not change `num`.
    fn truth(&self, num: u32, number: u64) -> Option<Word> {
        let state = self.state.load(Ordering::Acquire);
        let entry = self.entries.iter().find(|entry| entry.num.load(Ordering::Relaxed) == num)?;
        let (old, new) = (entry.old.load(Ordering::Relaxed), entry.new.load(Ordering::Relaxed));
        // Pairs with the Release fence in `change`: if an entry of a later use was read above, the
        // load below sees the later number.
        fence(Ordering::Acquire);
        let same = state >> 2 == number && self.number() == number;
        // Owners write plain words only. Another word is a peer's forgery.
        let truth = Word(if state & 3 == DONE { new } else { old });
        (same && truth.is_plain()).then_some(truth)
    }

    /// Changes all of `planned` if each word is still the one before. Returns `true` on success.
    ///
    /// `planned` has at most [`MAX_MCAS_WORDS`] changes, of different semaphores. The caller owns
    /// the descriptor, which is the `nth` of the set. The change can also fail because another
    /// process meets a marker.
    pub fn change(&self, set: &impl SetWords, nth: usize, planned: &[Planned]) -> bool {
        if planned.len() > self.entries.len() {
            return false;
        }
        // Before: the last use is decided and none of its markers is left.
        let number = (self.number() + 1) & NUMBERS;
        // Release: a process that sees this number sees no marker of the last use (`is_forged`).
        self.state.store(number << 2 | UNDECIDED, Ordering::Release);
        // A process that sees an entry stored below sees this number (`truth`).
        fence(Ordering::Release);
        for (i, entry) in self.entries.iter().enumerate() {
            let Planned { num, old, new } = planned.get(i).copied().unwrap_or(Planned { num: u32::MAX, ..Planned::default() });
            entry.num.store(num, Ordering::Relaxed);
            entry.old.store(old.0, Ordering::Relaxed);
            entry.new.store(new.0, Ordering::Relaxed);
        }
        // Release publishes the entries with the marker. A crash here leaves some markers and no
        // decision: the process that meets one makes the change fail and restores the word before.
        let marker = Word::marker(nth, number);
        let put = |change: &Planned| {
            set.word(change.num)
                .is_some_and(|at| at.compare_exchange(change.old.0, marker.0, Ordering::AcqRel, Ordering::Relaxed).is_ok())
        };
        let all = planned.iter().all(put);
        // This exchange is the change: all words have the value after, or none has. It fails if a
        // process met a marker first and decided otherwise.
        let verdict = number << 2 | if all { DONE } else { FAILED };
        let decided = self.state.compare_exchange(number << 2 | UNDECIDED, verdict, Ordering::AcqRel, Ordering::Acquire);
        let done = all && decided.is_ok();
        // A crash here leaves markers with a decision. `settle` replaces them when it meets them,
        // and `clear` replaces them before the descriptor is used again.
        for change in planned {
            let truth = if done { change.new } else { change.old };
            if let Some(at) = set.word(change.num) {
                // Fails where no marker was put, or where another process has replaced it.
                let _ = at.compare_exchange(marker.0, truth.0, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
        done
    }

    /// Replaces the markers that a dead owner left. The caller holds the set's lock; the descriptor
    /// is free afterwards.
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
    fn parts_survive_packing() {
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
    fn marker_names_its_descriptor() {
        for (nth, number) in [(0, 0), (7, 1), (63, NUMBERS)] {
            let marker = Word::marker(nth, number);
            assert!(marker.is_marker() && !marker.is_slow() && !marker.is_plain());
            assert_eq!(marker.marker_owner(), (nth, number));
        }
    }
}
