//! A redo log: several stores that happen completely or not at all, even if the process that makes
//! them dies halfway.
//!
//! The holder of the queue lock does four things:
//!
//! 1. It writes each store down as a pair of place and value.
//! 2. It decides: one store to `decided` makes the journal valid.
//! 3. It makes the stores.
//! 4. It increments `changes`, which makes the journal invalid again, and releases the lock.
//!
//! A process that takes the lock over from a holder that exited makes the stores again. All values
//! are absolute, so repeating them is harmless.
//!
//! `changes` counts the completed changes of the queue. `decided` names the change to which the
//! journal belongs, and the number of its stores:
//!
//! | decided | meaning | next |
//! |---|---|---|
//! | change n; `changes` is n | valid: the stores are the truth, made or not | `changes` is n + 1 |
//! | change n; `changes` is n + 1 | completed; the lock may still be held | the next change |
//! | another change, or no stores | invalid: the entries mean nothing | the next change |
//!
//! One of three makes the stores of a valid journal: the holder, a signal handler that took the
//! lock over from its own thread, or the successor of a dead holder. A holder that was interrupted
//! can make the stores of its change a second time. No other thread has held the lock since, so
//! they are the same stores.
//!
//! A queue has several journals, so that processes that take turns do not exchange cache lines.
//! Only the lock's holder decides, so at most one journal is valid.

use crate::sync::primitive::{AtomicU64, Ordering, fence, program_order};

/// Maps the places that a journal names to words.
pub trait JournalWords {
    /// Returns the word of a place, or `None` if the queue has no such word.
    fn word(&self, place: u64) -> Option<&AtomicU64>;
}

/// A journal.
#[derive(Clone, Copy)]
pub struct Redo<'a> {
    /// The change that the journal describes: see [`decision`].
    pub decided: &'a AtomicU64,
    /// The number of completed changes; all journals of a queue share it.
    pub changes: &'a AtomicU64,
    /// Place and value of each store, one after the other.
    pub entries: &'a [AtomicU64],
}

/// The number of low bits in `decided` that count the stores.
const COUNT_BITS: u32 = 8;

/// Returns the value of `decided` for a journal of `stores` stores, made after `changes` changes.
#[inline(always)]
pub fn decision(stores: usize, changes: u64) -> u64 {
    stores as u64 | changes << COUNT_BITS
}

impl Redo<'_> {
    /// Decides on the stores and makes them.
    ///
    /// The caller holds the lock with signals blocked, and the journal has room for all stores.
    pub fn commit(&self, words: &impl JournalWords, stores: impl Iterator<Item = (u64, u64)>) {
        // Before: this journal is invalid, because the last change is completed. A crash here
        // leaves entries that no process reads.
        let mut count = 0;
        for ((place, value), entry) in stores.zip(self.entries.chunks_exact(2)) {
            entry[0].store(place, Ordering::Relaxed);
            entry[1].store(value, Ordering::Relaxed);
            count += 1;
        }
        program_order();
        // This one store commits the change. Release publishes the entries to the Acquire in
        // `pending`; a successor cannot rely on the lock, which a dead holder never released.
        self.decided.store(decision(count, self.changes.load(Ordering::Relaxed)), Ordering::Release);
        program_order();
        // A crash from here on leaves a valid journal, and the successor makes the stores.
        self.apply(words);
    }

    /// Returns the number of stores that are decided on and not completed yet.
    fn pending(&self) -> Option<usize> {
        let decided = self.decided.load(Ordering::Acquire);
        let count = decided as usize & ((1 << COUNT_BITS) - 1);
        (count != 0 && decided == decision(count, self.changes.load(Ordering::Acquire))).then_some(count)
    }

    /// Makes the stores of the journal if it is valid, even if a dead holder has made some of them.
    ///
    /// The stores appear in their order: a process that sees one sees all earlier ones.
    pub fn apply(&self, words: &impl JournalWords) {
        if let Some(count) = self.pending() {
            for entry in self.entries.chunks_exact(2).take(count) {
                let (place, value) = (entry[0].load(Ordering::Relaxed), entry[1].load(Ordering::Relaxed));
                if let Some(word) = words.word(place) {
                    // Release: a blocked call reads the last word, its answer, without the lock. It
                    // relies on the earlier words. `try_snapshot` relies on `decided` likewise.
                    word.store(value, Ordering::Release);
                }
            }
            program_order();
            // All stores are made. Release shows them to a reader that sees the new count. A crash
            // before this store makes the successor repeat the stores; a crash after it leaves
            // only the lock to be taken over.
            self.changes.store(self.changes.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
            program_order();
        }
    }
}

/// Reads several words as of one instant, without the lock.
///
/// If the queue changes during each of 1000 attempts, returns what one more `read` finds.
pub fn snapshot<'a, T>(journals: impl Iterator<Item = Redo<'a>> + Clone, changes: &AtomicU64, mut read: impl FnMut() -> T) -> T {
    const TRIES: u32 = 1000;
    for _ in 0..TRIES {
        if let Some(seen) = try_snapshot(journals.clone(), changes, &mut read) {
            return seen;
        }
        std::hint::spin_loop();
    }
    read()
}

/// Reads several words as of one instant, without the lock. Returns `None` if a change was under
/// way.
pub fn try_snapshot<'a, T>(
    journals: impl Iterator<Item = Redo<'a>> + Clone,
    changes: &AtomicU64,
    read: impl FnOnce() -> T,
) -> Option<T> {
    let quiet = || journals.clone().all(|journal| journal.pending().is_none());
    // Acquire: the words are at least as new as this count.
    let before = changes.load(Ordering::Acquire);
    if !quiet() {
        return None;
    }
    let seen = read();
    // If `read` saw a store of a later change, that store was a Release after `decided`. The fence
    // then makes `decided` visible below: the journal is pending, or `changes` has grown.
    fence(Ordering::Acquire);
    (quiet() && changes.load(Ordering::Relaxed) == before).then_some(seen)
}
