//! The redo log of a semaphore set: what the lock's holder decides on happens completely or not at
//! all, and no reader sees half of it.
//!
//! The holder of the set's lock does four things:
//!
//! 1. It makes each word that it will change slow (`sync::word`), so that only it can change them.
//! 2. It writes each change down, with the word before and after.
//! 3. It decides: one store to `decided` makes the journal valid.
//! 4. It makes the changes, answers a blocked call if there is one, and empties the journal.
//!
//! A process that takes the lock over from a dead holder applies a valid journal again.
//!
//! | journal | meaning | next |
//! |---|---|---|
//! | `Empty` | the entries mean nothing | `Changes`, `Reset` or `ResetAll`, by the lock's holder |
//! | `Changes`, `Reset`, `ResetAll` | the words after are the truth | `Empty`, once applied; |
//! | | | `Rollback`, if the call to be answered has died or given up |
//! | `Rollback` | the words before are the truth | `Empty`, once applied |
//!
//! Invariants:
//!
//! - All words that a journal names stay slow until the journal is empty.
//! - The counter `applying` is odd while some of these words have changed and some have not.

use crate::sync::primitive::{AtomicI16, AtomicU32, AtomicU64, Ordering, fence, program_order};
use crate::sync::waiter::{self, State};
use crate::sync::word::{self, SetWords, Word};

/// What a journal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Kind {
    /// Nothing.
    Empty = 0,
    /// The changes.
    Changes = 1,
    /// The changes; all undo adjustments of their semaphores are cleared (`SETVAL`).
    Reset = 2,
    /// All values; all undo adjustments of the set are cleared (`SETALL`).
    ResetAll = 3,
    /// The changes are taken back.
    Rollback = 4,
}

impl Kind {
    /// The kind that a word stands for. An illegal word is `Empty`.
    fn unpack(word: u32) -> Kind {
        [Kind::Changes, Kind::Reset, Kind::ResetAll, Kind::Rollback]
            .into_iter()
            .find(|kind| *kind as u32 == word)
            .unwrap_or(Kind::Empty)
    }
}

/// A change of one semaphore: of its word, and of its cell in an undo record.
#[repr(C)]
#[derive(Default)]
pub struct Change {
    /// The semaphore.
    pub num: AtomicU32,
    /// The undo record, 0 for none.
    pub record: AtomicU32,
    /// The word before.
    pub old: AtomicU64,
    /// The word after.
    pub new: AtomicU64,
    /// The undo record's cell before (lower half) and after (upper half).
    pub cells: AtomicU32,
    pad: AtomicU32,
}

/// The words that control a journal.
#[derive(Clone, Copy)]
pub struct Journal<'a> {
    /// [`Kind`] in the lower half, the number of changes in the upper half.
    pub decided: &'a AtomicU64,
    /// Odd while several words are being changed.
    pub applying: &'a AtomicU32,
    /// The number of the blocked call that the journal answers, 0 for none.
    pub answered: &'a AtomicU32,
}

/// The set that a journal changes.
pub trait JournalledSet: SetWords {
    /// Returns an entry of the journal.
    fn change(&self, nth: usize) -> Option<&Change>;
    /// Returns the cell of a semaphore in an undo record.
    fn cell(&self, record: u32, num: u32) -> Option<&AtomicI16>;
    /// Clears the undo adjustments of a semaphore, or of all semaphores for `None`.
    fn forget_undo(&self, num: Option<u32>);
    /// Returns the word that a semaphore gets from `ResetAll`, or `None` if there is no such
    /// semaphore.
    fn reset_word(&self, num: u32) -> Option<Word>;
    /// Returns the state of a blocked call.
    fn waiter(&self, number: u32) -> Option<&AtomicU32>;
    /// Wakes the thread of a blocked call. Returns `false` if none slept.
    fn wake(&self, number: u32) -> bool;
    /// Returns `true` if the thread of a blocked call is alive.
    fn is_alive(&self, number: u32) -> bool;
}

impl Journal<'_> {
    /// Decides on the first `changes` entries and on answering the call `answered` (0 for none),
    /// and applies them.
    ///
    /// Returns `false` if the call's thread was dead or had given up; nothing was changed then.
    pub fn commit(&self, set: &impl JournalledSet, kind: Kind, changes: usize, answered: u32) -> bool {
        // Before: the journal is empty, so a crash here leaves entries that no process reads.
        self.answered.store(answered, Ordering::Relaxed);
        self.decide(kind, changes);
        self.apply(set)
    }

    /// Makes the journal valid or empty, by one store.
    fn decide(&self, kind: Kind, changes: usize) {
        // The store releases the entries and `answered` to the successor, which loads `decided` in
        // `apply`. The successor cannot rely on the lock, which a dead holder never released.
        self.decided.store((changes as u64) << 32 | kind as u64, Ordering::SeqCst);
        // No later store may be left behind by a crash that did not leave this one.
        program_order();
    }

    /// Applies the journal if it is valid, even if a dead holder has applied part of it.
    ///
    /// Returns `false` if the changes were rolled back.
    pub fn apply(&self, set: &impl JournalledSet) -> bool {
        let decided = self.decided.load(Ordering::SeqCst);
        let (kind, changes) = (Kind::unpack(decided as u32), (decided >> 32) as usize);
        if kind == Kind::Empty {
            // The counter is even here, unless a peer overwrote it. Readers must not retry forever.
            self.end_applying();
            return true;
        }
        // From here on `stable_word` refuses to mix old and new words. `| 1` keeps the counter odd
        // if the dead holder made it odd. A reader that sees a word stored below (Release) also
        // sees the odd counter.
        self.applying.store(self.applying.load(Ordering::Relaxed) | 1, Ordering::SeqCst);
        // All values are absolute and all words are slow, so a successor that repeats these stores
        // after a crash ends with the same words.
        for change in (0..changes).map_while(|nth| set.change(nth)) {
            self.apply_change(set, change, kind);
        }
        if kind == Kind::ResetAll {
            let all = (0..).map_while(|num| Some((set.word(num)?, set.reset_word(num)?)));
            all.for_each(|(at, word)| at.store(word.with_slow(true).0, Ordering::Release));
            set.forget_undo(None);
        }
        // The blocked call is answered after its changes are made: its thread can return at once,
        // without the lock. The answer reaches a call that still waits, and no other.
        let call = self.answered.load(Ordering::Relaxed);
        let state = set.waiter(call);
        if let Some(state) = state
            && kind != Kind::Rollback
        {
            waiter::answer(state, 0);
        }
        self.end_applying();
        // Did the call get its answer?
        // - `Preparing`: it gave up before the answer came.
        // - A thread slept: it is alive and will return.
        // - No thread slept, and it is alive: it has not gone to sleep yet, or has taken the
        //   answer.
        // - It is dead, and the answer is still there: the call never returned.
        let unanswered = |state| {
            State::of(state) == State::Preparing
                || !set.wake(call) && !set.is_alive(call) && last_state(state) == State::Answered(0)
        };
        if kind != Kind::Rollback && state.is_some_and(unanswered) {
            // The words are still slow and the entries still hold the words before. A crash after
            // this store makes the successor roll back.
            self.decide(Kind::Rollback, changes);
            return self.apply(set);
        }
        // A crash before this store makes the successor apply the journal again. Until then the
        // words stay slow, so no process can have built on them.
        self.decide(Kind::Empty, 0);
        kind != Kind::Rollback
    }

    /// Makes one change.
    fn apply_change(&self, set: &impl JournalledSet, change: &Change, kind: Kind) {
        let (num, record) = (change.num.load(Ordering::Relaxed), change.record.load(Ordering::Relaxed));
        let cells = change.cells.load(Ordering::Relaxed);
        let (word, cell) = match kind {
            Kind::Rollback => (change.old.load(Ordering::Relaxed), cells as i16),
            _ => (change.new.load(Ordering::Relaxed), (cells >> 16) as i16),
        };
        if let Some(at) = set.word(num) {
            // A plain store: the word is slow, so no other process changes it. Release pairs with
            // the Acquire in `peek`.
            at.store(without_marker(word).with_slow(true).0, Ordering::Release);
        }
        if record != 0
            && let Some(place) = set.cell(record, num)
        {
            // No reader relies on a cell for the order of other words, so Relaxed is enough.
            place.store(cell, Ordering::Relaxed);
        }
        if kind == Kind::Reset {
            set.forget_undo(Some(num));
        }
    }

    /// Makes the counter even.
    fn end_applying(&self) {
        let applying = self.applying.load(Ordering::Relaxed);
        // Adds 1 to an odd counter, so that a reader that began before sees a different value. The
        // store releases the words: a reader that sees it even sees all of them changed.
        self.applying.store(applying.wrapping_add(applying & 1), Ordering::SeqCst);
    }

    /// Returns the word of a semaphore, or `None` if several words are being changed.
    pub fn stable_word(&self, set: &impl SetWords, num: u32) -> Option<Word> {
        let before = self.applying.load(Ordering::Acquire);
        let word = word::peek(set, num)?;
        // The load of the word comes before the second load of the counter.
        fence(Ordering::Acquire);
        let still = before & 1 == 0 && self.applying.load(Ordering::Relaxed) == before;
        // A journal names slow words only, so a plain word is never half of a change.
        (word.is_plain() || still).then_some(word)
    }
}

/// Reads the state that a dead thread has left.
fn last_state(state: &AtomicU32) -> State {
    // The kernel reported the death, not a word of shared memory. The fence keeps the load below
    // after the probe.
    fence(Ordering::Acquire);
    State::of(state)
}

/// The word of a journal entry. A peer can write an MCAS marker there; it becomes an empty word.
fn without_marker(bits: u64) -> Word {
    let word = Word(bits);
    if word.is_marker() { Word::default() } else { word }
}
