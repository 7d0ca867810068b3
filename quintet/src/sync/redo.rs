//! Several stores that are done whole, though whoever does them dies in the middle of it.
//!
//! The holder of a lock writes down what goes where, says that it holds, does the stores, says that they are done, and frees
//! the lock. Whoever takes the lock over from him does them again.
//!
//! `changes` counts what was done. A journal says how many stores it holds, and which change they are:
//!
//! | decided | meaning | next |
//! |---|---|---|
//! | change n, and n changes were done | the stores are the truth, whether they have been done or not | n + 1 changes, once all are done: by |
//! | | | the holder, by a handler that has taken the lock over, by a dead holder's successor; |
//! | | | the same once more, by the holder that was interrupted |
//! | change n, and n + 1 were done | says nothing; the holder may not have freed the lock | the same once more, by the holder that |
//! | | | was interrupted; the next change, by the lock's holder |
//! | any other change, or one of no stores | what is written down says nothing | the next change, by the lock's holder |
//!
//! What is done once more is the same stores of the same change: all values are absolute, and nobody else has had the lock in between.
//!
//! There are several journals, so that processes that take turns do not pull the same memory to and fro; but as only the lock's holder decides
//! anything, at most one of them says something.

use crate::sync::primitive::{AtomicU64, Ordering, fence, in_order};

/// Where the words are that places name.
pub trait JournalWords {
    /// The word of a place; `None` if there is no such word.
    fn word(&self, place: u64) -> Option<&AtomicU64>;
}

/// A journal.
#[derive(Clone, Copy)]
pub struct Redo<'a> {
    pub decided: &'a AtomicU64,
    pub changes: &'a AtomicU64,
    /// Place and value, one after the other.
    pub entries: &'a [AtomicU64],
}

/// Of what a journal says, the number of stores has so many bits.
const COUNT_BITS: u32 = 8;

/// What a journal says that holds so many stores, when so many changes were done before.
#[inline(always)]
pub fn decision(stores: usize, changes: u64) -> u64 {
    stores as u64 | changes << COUNT_BITS
}

impl Redo<'_> {
    /// Decides on the stores, and does them. The caller holds the lock, no signal comes in, and the journal has room for all.
    pub fn commit(&self, words: &impl JournalWords, stores: impl Iterator<Item = (u64, u64)>) {
        let mut count = 0;
        for ((place, value), entry) in stores.zip(self.entries.chunks_exact(2)) {
            entry[0].store(place, Ordering::Relaxed);
            entry[1].store(value, Ordering::Relaxed);
            count += 1;
        }
        in_order();
        self.decided.store(decision(count, self.changes.load(Ordering::Relaxed)), Ordering::Release);
        in_order();
        self.carry_out(words);
    }

    /// How many stores are decided on, and not done yet.
    fn pending(&self) -> Option<usize> {
        let decided = self.decided.load(Ordering::Acquire);
        let count = decided as usize & ((1 << COUNT_BITS) - 1);
        (count != 0 && decided == decision(count, self.changes.load(Ordering::Acquire))).then_some(count)
    }

    /// Does what was decided on, again if a dead holder had begun to. Whoever sees a store (the answer to a call, say) sees those before it.
    pub fn carry_out(&self, words: &impl JournalWords) {
        if let Some(count) = self.pending() {
            for entry in self.entries.chunks_exact(2).take(count) {
                let (place, value) = (entry[0].load(Ordering::Relaxed), entry[1].load(Ordering::Relaxed));
                if let Some(word) = words.word(place) {
                    // In their order, for who waits for the last one without the lock.
                    word.store(value, Ordering::Release);
                }
            }
            in_order();
            self.changes.store(self.changes.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
            in_order();
        }
    }
}

/// Looks at several words at one instant, without the lock; if they do not keep still for long enough, at what there is.
pub fn look<'a, T>(journals: impl Iterator<Item = Redo<'a>> + Clone, changes: &AtomicU64, mut look: impl FnMut() -> T) -> T {
    const TRIES: u32 = 1000;
    for _ in 0..TRIES {
        if let Some(seen) = look_once(journals.clone(), changes, &mut look) {
            return seen;
        }
        std::hint::spin_loop();
    }
    look()
}

/// The same. `None`: they did not keep still meanwhile.
pub fn look_once<'a, T>(
    journals: impl Iterator<Item = Redo<'a>> + Clone,
    changes: &AtomicU64,
    look: impl FnOnce() -> T,
) -> Option<T> {
    let still = || journals.clone().all(|journal| journal.pending().is_none());
    let before = changes.load(Ordering::Acquire);
    if !still() {
        return None;
    }
    let seen = look();
    fence(Ordering::Acquire);
    (still() && changes.load(Ordering::Relaxed) == before).then_some(seen)
}
