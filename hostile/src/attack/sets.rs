//! Forgeries in the file of a semaphore set.

use super::{ABSENT_OWNER, Attacker, MARK, SET_JOURNAL, SET_PAGES, SET_WORDS, halves};
use crate::objects::SEMAPHORES;

impl Attacker {
    /// Forges a page of waiting calls.
    fn waiters_page(&mut self, nth: usize, page: usize) {
        let at = SET_PAGES + 4096 * page;
        self.put(nth, at, 1, false);
        let all = 4 * 31u64;
        for slot in 0..self.rng.choose(&[2, 4, 31usize]) {
            let who = if self.participants.is_empty() { (0, 1, 1) } else { self.rng.choose(&self.participants) };
            let at = at + 64 + 128 * slot;
            let state = self.rng.choose(&[2, 2, 2, 0, 1, 3 | 4 << 8, 3, u64::from(u32::MAX)]);
            self.put(nth, at, state, false);
            self.put(nth, at + 4, who.0.into(), false);
            self.put(nth, at + 8, who.1.into(), false);
            self.put(nth, at + 12, who.2.into(), false);
            self.put(nth, at + 16, who.2.into(), false);
            let nops = self.rng.choose(&[0, 1, 2, 8, 9, 500, 501, u64::from(u32::MAX)]);
            self.put(nth, at + 40, nops, false);
            let (blocking, next, ops_page) =
                (self.rng.below(10), self.rng.below(all), self.rng.choose(&[0, 0, 1, 2, page as u64 + 1, u64::from(u32::MAX)]));
            self.put(nth, at + 44, blocking, false);
            self.put(nth, at + 48, next, false);
            self.put(nth, at + 52, ops_page, false);
            for op in 0..8 {
                let (num, op_value) =
                    (self.rng.choose(&[0, 1, 5, 39, 40, 65535]), self.rng.choose(&[0, 1, 0xffff, 0x7fff, 0x8000]));
                let flags = self.rng.choose(&[0, 0x1000, 0o4000]);
                self.put(nth, at + 56 + 8 * op, num | op_value << 16 | flags << 32, true);
            }
        }
    }

    pub(super) fn forge_in_set(&mut self, nth: usize) {
        match self.rng.below(10) {
            // Waiting calls in a cyclic queue.
            0 | 1 => {
                let page = self.rng.below(4) as usize;
                self.waiters_page(nth, page);
                for at in (64..80).step_by(4) {
                    let number = self.rng.below(4 * 31 + 2);
                    self.put(nth, at, number, false);
                }
                let waiting = self.rng.choose(&[1, 4, u64::from(u32::MAX)]);
                self.put(nth, 44, waiting, false);
                self.put(nth, 60, waiting, false);
                let pages = self.rng.choose(&[4, 4, 12, 28, u64::from(u32::MAX)]);
                self.put(nth, 56, pages, false);
            }
            // A valid journal of an absent owner.
            2 | 3 => {
                for change in 0..self.rng.choose(&[2, SEMAPHORES as usize]) {
                    let at = SET_JOURNAL + 32 * change;
                    let (num, record) = (
                        self.rng.choose(&[0, 1, 39, 40, u64::from(u32::MAX)]),
                        self.rng.choose(&[0, 1, 2, 16383, u64::from(u32::MAX)]),
                    );
                    self.put(nth, at, num, false);
                    self.put(nth, at + 4, record, false);
                    for word in [8, 16, 24] {
                        let value = self.rng.word();
                        self.put(nth, at + word, value, true);
                    }
                }
                let (kind, count) = (self.rng.below(7), self.rng.choose(&[1, 2, 40, 41, 500, u64::from(u32::MAX)]));
                self.put(nth, 152, halves(kind, count), true);
                let answered = self.rng.choose(&[0, 1, 32, 5000, u64::from(u32::MAX)]);
                self.put(nth, 160, answered, false);
                self.put(nth, 40, 1, false);
                self.put(nth, 16, ABSENT_OWNER, false);
            }
            // Markers, and descriptors with arbitrary content.
            4 | 5 => {
                let (descriptor, number) = (self.rng.below(10), self.rng.below(4));
                let at = 512 + 128 * (descriptor as usize % 8);
                let state = self.rng.below(4);
                self.put(nth, at, number << 2 | state, true);
                let owner = self.rng.choose(&[0, 1, ABSENT_OWNER, u64::MAX]);
                let owner = if self.rng.once_in(2) { self.any_owner() } else { owner };
                self.put(nth, at + 8, owner, true);
                let mark = MARK | number << 6 | descriptor;
                for entry in 0..4 {
                    let num = self.rng.choose(&[0, 1, 39, 40, u64::from(u32::MAX)]);
                    let (old, new) = (self.rng.choose(&[mark, 3, 1 << 15 | 3]), self.rng.choose(&[mark, 4, u64::MAX]));
                    self.put(nth, at + 16 + 24 * entry, num, true);
                    self.put(nth, at + 24 + 24 * entry, old, true);
                    self.put(nth, at + 32 + 24 * entry, new, true);
                }
                for num in 0..self.rng.choose(&[2, SEMAPHORES as usize]) {
                    self.put(nth, SET_WORDS + 8 * num, mark, true);
                }
            }
            // Undo records of absent owners, with cyclic further pages.
            6 | 7 => {
                let page = self.rng.below(4) as usize;
                let at = SET_PAGES + 4096 * page;
                self.put(nth, at, 3, false);
                let who = self.any_owner();
                self.put(nth, at + 4, (who & 0x7fff).wrapping_sub(1), false);
                self.put(nth, at + 8, who >> 15 & 0xffff, false);
                self.put(nth, at + 16, 0, false);
                for further in 0..4 {
                    let number = self.rng.choose(&[0, page as u64 + 1, 1, 2, u64::from(u32::MAX)]);
                    self.put(nth, at + 64 + 4 * further, number, false);
                }
                for cell in 0..10 {
                    let value = self.rng.word();
                    self.put(nth, at + 192 + 8 * cell, value, true);
                }
                let pages = self.rng.choose(&[4, 12, 28, 5, u64::from(u32::MAX)]);
                self.put(nth, 56, pages, false);
                let records = self.rng.choose(&[1, 2, 4, u64::from(u32::MAX)]);
                self.put(nth, 20, records, false);
                self.put(nth, 32, 0, true);
                let word = 3 | (page as u64 + 1) << 16 | self.rng.below(512) << 30;
                self.put(nth, SET_WORDS, word, true);
            }
            8 => {
                let (at, value) = self.rng.choose(&[
                    (0, 0),
                    (4, 0),
                    (4, 41),
                    (4, 65536),
                    (4, u64::from(u32::MAX)),
                    (8, 0),
                    (8, 2),
                    (8, 3),
                    (40, 1),
                    (164, 1),
                    (56, 0),
                    (56, 8),
                ]);
                self.put(nth, at, value, false);
            }
            _ => {
                let owner = self.any_owner();
                self.put(nth, 16, owner | 1 << 31, false);
                self.put(nth, 164, 1, false);
            }
        }
    }
}
