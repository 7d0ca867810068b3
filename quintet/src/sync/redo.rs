//! Several stores that are done whole, though whoever does them dies in the middle of it.
//!
//! The holder of a lock writes down what goes where, says that it holds, does the stores, says that nothing is decided any more, and frees
//! the lock. Whoever takes the lock over from him does them again.
//!
//! | decided | meaning | next |
//! |---|---|---|
//! | 0 | what is written down says nothing | n, by the lock's holder |
//! | n | the first n stores are the truth, whether they have been done or not | 0, by the lock's holder, once all are done |
//!
//! There are several journals, so that processes that take turns do not pull the same memory to and fro; but as only the lock's holder decides
//! anything, at most one of them says something.
//!
//! `changes` is odd while words differ from what they were and are not yet all what they will be: for those who look without the lock.

use super::primitive::{AtomicU64, Ordering, fence, in_order};

/// Where the words are that places name.
pub trait Words {
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

impl Redo<'_> {
    /// Decides on the stores, and does them. The caller holds the lock, no signal comes in, and the journal has room for all.
    pub fn commit(&self, words: &impl Words, stores: impl Iterator<Item = (u64, u64)>) {
        let mut count = 0;
        for ((place, value), entry) in stores.zip(self.entries.chunks_exact(2)) {
            entry[0].store(place, Ordering::Relaxed);
            entry[1].store(value, Ordering::Relaxed);
            count += 1;
        }
        in_order();
        self.decided.store(count, Ordering::Release);
        in_order();
        self.carry_out(words);
    }

    /// Does what was decided on, again if a dead holder had begun to.
    pub fn carry_out(&self, words: &impl Words) {
        let decided = self.decided.load(Ordering::Acquire) as usize;
        if decided != 0 {
            let changes = self.changes.load(Ordering::Relaxed) | 1;
            self.changes.store(changes, Ordering::Relaxed);
            fence(Ordering::Release);
            for entry in self.entries.chunks_exact(2).take(decided) {
                let (place, value) = (entry[0].load(Ordering::Relaxed), entry[1].load(Ordering::Relaxed));
                if let Some(word) = words.word(place) {
                    word.store(value, Ordering::Relaxed);
                }
            }
            in_order();
            self.changes.store(changes + 1, Ordering::Release);
            self.decided.store(0, Ordering::Release);
            in_order();
        }
    }
}

/// Looks at several words at one instant, as long as they keep still for long enough; else at what there is.
pub fn look<T>(changes: &AtomicU64, mut look: impl FnMut() -> T) -> T {
    const TRIES: u32 = 1000;
    for _ in 0..TRIES {
        let before = changes.load(Ordering::Acquire);
        let seen = look();
        fence(Ordering::Acquire);
        if before & 1 == 0 && changes.load(Ordering::Relaxed) == before {
            return seen;
        }
        std::hint::spin_loop();
    }
    look()
}
