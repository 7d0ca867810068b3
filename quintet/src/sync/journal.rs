//! What the holder of a lock has decided on: done whole, though he dies in the middle of it, and read by nobody while it is half done.
//!
//! Each change is written down, with the word before and after; then, by one store, the journal holds; then it is carried out.
//! Whoever takes the lock over from a dead holder carries it out again.
//!
//! | the journal | meaning | next |
//! |---|---|---|
//! | nothing | the changes written there say nothing | any of the others, by the lock's holder |
//! | changes; reset; all reset | the words after are the truth, and a call that waits is answered | nothing, once carried out; back |
//! | back | the words before are the truth: the call has died, or was given up, before it was answered | nothing, once carried out |
//!
//! All of its words are slow until the journal says nothing, so only the lock's holder changes them. The counter is odd while words differ
//! from what they were and are not yet all what they will be.

use crate::sync::primitive::{AtomicI16, AtomicU32, AtomicU64, Ordering, fence, in_order};
use crate::sync::waiter::{self, State};
use crate::sync::word::{self, SetWords, Word};

/// What a journal says is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Kind {
    Nothing = 0,
    /// The changes.
    Changes = 1,
    /// The changes, and nobody has anything to take back from their semaphores any more.
    Reset = 2,
    /// All values, and nobody has anything to take back any more.
    ResetAll = 3,
    /// The changes are taken back.
    Back = 4,
}

impl Kind {
    fn unpack(word: u32) -> Kind {
        [Kind::Changes, Kind::Reset, Kind::ResetAll, Kind::Back]
            .into_iter()
            .find(|kind| *kind as u32 == word)
            .unwrap_or(Kind::Nothing)
    }
}

/// A change of one semaphore: of its word, and of what an undo record says of it.
#[repr(C)]
#[derive(Default)]
pub struct Change {
    pub num: AtomicU32,
    /// The undo record, 0 for none.
    pub record: AtomicU32,
    pub old: AtomicU64,
    pub new: AtomicU64,
    /// The undo record's cell before (lower half) and after.
    pub cells: AtomicU32,
    pad: AtomicU32,
}

/// The words that say what holds.
#[derive(Clone, Copy)]
pub struct Journal<'a> {
    /// [`Kind`] in the lower half, the number of changes in the upper.
    pub decided: &'a AtomicU64,
    /// Odd while several words are being changed.
    pub applying: &'a AtomicU32,
    /// Whose call is answered, 0 for none.
    pub answered: &'a AtomicU32,
}

/// What a journal is about.
pub trait Book: SetWords {
    fn change(&self, nth: usize) -> Option<&Change>;
    /// What an undo record says of a semaphore.
    fn cell(&self, record: u32, num: u32) -> Option<&AtomicI16>;
    /// Nobody has anything to take back from a semaphore (`None`: from any) any more.
    fn forget_undo(&self, num: Option<u32>);
    /// The word that a semaphore gets when all are reset. `None`: there is no such semaphore.
    fn reset(&self, num: u32) -> Option<Word>;
    /// The state of a call that waits.
    fn waiter(&self, number: u32) -> Option<&AtomicU32>;
    /// Wakes its caller. `false`: nobody was asleep.
    fn wake(&self, number: u32) -> bool;
    /// Whether its caller is alive.
    fn lives(&self, number: u32) -> bool;
}

impl Journal<'_> {
    /// Decides on the first `changes` that are written down, and on performing the call `answered` (0: none) by them; and carries it
    /// out. `false`: the call's caller was dead, or had given it up, so nothing was done.
    pub fn commit(&self, book: &impl Book, kind: Kind, changes: usize, answered: u32) -> bool {
        self.answered.store(answered, Ordering::Relaxed);
        self.decide(kind, changes);
        self.carry_out(book)
    }

    /// What is stored before is there if the process dies, and what is stored after is not there before.
    fn decide(&self, kind: Kind, changes: usize) {
        self.decided.store((changes as u64) << 32 | kind as u64, Ordering::SeqCst);
        in_order();
    }

    /// Does what the journal says, again if a dead holder had begun to.
    pub fn carry_out(&self, book: &impl Book) -> bool {
        let decided = self.decided.load(Ordering::SeqCst);
        let (kind, changes) = (Kind::unpack(decided as u32), (decided >> 32) as usize);
        if kind == Kind::Nothing {
            self.end_applying();
            return true;
        }
        self.applying.store(self.applying.load(Ordering::Relaxed) | 1, Ordering::SeqCst);
        for change in (0..changes).map_while(|nth| book.change(nth)) {
            self.apply(book, change, kind);
        }
        if kind == Kind::ResetAll {
            let all = (0..).map_while(|num| Some((book.word(num)?, book.reset(num)?)));
            all.for_each(|(at, word)| at.store(word.with_slow(true).0, Ordering::Release));
            book.forget_undo(None);
        }
        let call = self.answered.load(Ordering::Relaxed);
        let state = book.waiter(call);
        if let Some(state) = state
            && kind != Kind::Back
        {
            waiter::answer(state, 0);
        }
        self.end_applying();
        // Who was asleep is alive. Who was not may be on the way to sleep, or gone on with the answer; or dead, and has not got it. Who gave up got none.
        let got_none = |state| {
            State::of(state) == State::Filling || !book.wake(call) && !book.lives(call) && last_state(state) == State::Answered(0)
        };
        if kind != Kind::Back && state.is_some_and(got_none) {
            self.decide(Kind::Back, changes);
            return self.carry_out(book);
        }
        self.decide(Kind::Nothing, 0);
        kind != Kind::Back
    }

    fn apply(&self, book: &impl Book, change: &Change, kind: Kind) {
        let (num, record) = (change.num.load(Ordering::Relaxed), change.record.load(Ordering::Relaxed));
        let cells = change.cells.load(Ordering::Relaxed);
        let (word, cell) = match kind {
            Kind::Back => (change.old.load(Ordering::Relaxed), cells as i16),
            _ => (change.new.load(Ordering::Relaxed), (cells >> 16) as i16),
        };
        if let Some(at) = book.word(num) {
            at.store(clean(word).with_slow(true).0, Ordering::Release);
        }
        if record != 0
            && let Some(place) = book.cell(record, num)
        {
            place.store(cell, Ordering::Relaxed);
        }
        if kind == Kind::Reset {
            book.forget_undo(Some(num));
        }
    }

    fn end_applying(&self) {
        let applying = self.applying.load(Ordering::Relaxed);
        self.applying.store(applying.wrapping_add(applying & 1), Ordering::SeqCst);
    }

    /// The word of a semaphore, unless several are being changed just now.
    pub fn whole(&self, set: &impl SetWords, num: u32) -> Option<Word> {
        let before = self.applying.load(Ordering::Acquire);
        let word = word::peek(set, num)?;
        fence(Ordering::Acquire);
        let still = before & 1 == 0 && self.applying.load(Ordering::Relaxed) == before;
        (word.is_plain() || still).then_some(word)
    }
}

/// The state that a dead caller has left. That it is dead the kernel said, not a word of ours: what is read next is read after that.
fn last_state(state: &AtomicU32) -> State {
    fence(Ordering::Acquire);
    State::of(state)
}

/// A word from the journal, which a peer may have written: never a mark.
fn clean(bits: u64) -> Word {
    let word = Word(bits);
    if word.is_marker() { Word::default() } else { word }
}
