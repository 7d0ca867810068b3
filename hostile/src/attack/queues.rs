//! Forgeries in the files of a message queue.

use super::{ABSENT_OWNER, Attacker, Kind, QUEUE_JOURNALS, halves};
use std::sync::atomic::Ordering::Relaxed;

impl Attacker {
    /// Stores a word of a queue to the file that holds it.
    fn in_queue(&mut self, nth: usize, at: usize, value: u64) {
        let pages = self.targets.iter().position(|(kind, ..)| *kind == Kind::Pages);
        self.put(if at < 4096 { nth } else { pages.unwrap_or(nth) }, at, value, true);
    }

    pub(super) fn forge_in_queue(&mut self, nth: usize) {
        let slot = |unit: u64| unit as usize * 128;
        let header = |attacker: &Attacker, at: usize| attacker.targets[nth].2.long(at).load(Relaxed);
        let unit = 32 + self.rng.below(96);
        let other = self.rng.choose(&[unit, unit + 1, 40, 33, 0, 1, 31, 5000, u64::from(u32::MAX)]);
        let first = header(self, 16) & 0xffff_ffff;
        match self.rng.below(14) {
            // A cyclic list of messages.
            0 => {
                self.in_queue(nth, slot(first % 10000) + 16, halves(first, other));
                self.in_queue(nth, 32, halves(u64::from(u32::MAX), 1));
                self.in_queue(nth, 24, u64::MAX);
            }
            1 => self.in_queue(nth, 16, halves(unit, other)),
            // Waiting calls in cyclic lists.
            2 | 3 => {
                for (unit, next, previous) in [(unit, unit + 1, 0), (unit + 1, other, unit)] {
                    let at = slot(unit);
                    let who = if self.participants.is_empty() { (0, 1, 1) } else { self.rng.choose(&self.participants) };
                    self.in_queue(nth, at, 4 | halves(0, 1));
                    let (mtype, wants, size) = (
                        self.rng.choose(&[0, 3, u64::MAX, 1 << 63, 9]),
                        self.rng.word(),
                        self.rng.choose(&[0, 10, 8192, u64::MAX]),
                    );
                    self.in_queue(nth, at + 8, mtype);
                    self.in_queue(nth, at + 16, halves(next, previous));
                    self.in_queue(nth, at + 24, halves(wants & 0xf000, other));
                    self.in_queue(nth, at + 32, size);
                    let state = self.rng.choose(&[2, 2, 3, 1, 0]);
                    self.in_queue(nth, at + 48, halves(state, who.0.into()));
                    self.in_queue(nth, at + 56, halves(who.1.into(), who.2.into()));
                    self.in_queue(nth, at + 64, halves(who.2.into(), 0));
                }
                for list in [176, 184, 192] {
                    if self.rng.once_in(2) {
                        self.in_queue(nth, list, halves(unit, unit + 1));
                    }
                }
                let waiting = self.rng.choose(&[halves(2, 0), halves(0, 2), halves(1, 1), u64::MAX]);
                self.in_queue(nth, 88, waiting);
            }
            // Free slots in a cycle, or in use.
            4 => {
                let class = self.rng.below(6);
                let list = if class == 0 { 56 } else { 120 + 8 * class as usize };
                self.in_queue(nth, slot(unit), class << 8 | halves(0, other));
                self.in_queue(nth, list, unit);
            }
            // A message longer than any limit, in cyclic blocks.
            5 => {
                let len = self.rng.choose(&[81, 8192, 8193, 1 << 31, u64::from(u32::MAX)]);
                let class = self.rng.below(7);
                self.in_queue(nth, slot(first % 10000), 1 | class << 8 | halves(0, len));
                self.in_queue(nth, slot(first % 10000) + 24, halves(0, unit));
                self.in_queue(nth, slot(unit), 5 << 8 | halves(0, other));
            }
            // A cyclic index.
            6 | 7 => {
                let kind = self.rng.choose(&[1, 2, 3]);
                let link = self.rng.choose(&[unit << 1 | 1, unit << 1, other << 1 | 1, other]);
                self.in_queue(nth, slot(unit), 5 | halves(0, 3));
                self.in_queue(nth, slot(unit) + 16, halves(other, other));
                self.in_queue(nth, slot(unit) + 24, halves(link, unit << 1 | 1));
                let bit = self.rng.below(70);
                self.in_queue(nth, slot(unit) + 32, bit);
                self.in_queue(nth, slot(unit) + 40, unit);
                self.in_queue(nth, 96, halves(if kind == 3 { unit } else { link }, kind));
            }
            // A valid journal of an absent owner, with arbitrary offsets.
            8 | 9 => {
                let changes = header(self, 8);
                let at = QUEUE_JOURNALS + 640 * self.rng.below(4) as usize;
                for entry in 0..38 {
                    let offset = match self.rng.below(4) {
                        0 => self.rng.below(512),
                        1 => 512 + self.rng.below(2048),
                        2 => self.rng.choose(&[u64::MAX, 1 << 63, 1 << 36, 0xffff_ffff]),
                        _ => self.rng.word() >> self.rng.below(64),
                    };
                    let value = if self.rng.once_in(2) { self.rng.word() } else { self.rng.below(200) };
                    self.in_queue(nth, at + 16 + 16 * entry, offset);
                    self.in_queue(nth, at + 24 + 16 * entry, value);
                }
                let stores = self.rng.choose(&[1, 38, 39, 255]);
                self.in_queue(nth, at, stores | changes << 8);
                self.in_queue(nth, 0, ABSENT_OWNER);
            }
            10 => {
                let divided = self.rng.choose(&[0, 1, u64::MAX, 1 << 32, 1000]);
                self.in_queue(nth, 168, divided);
            }
            11 => {
                let pages = self.rng.choose(&[0, 1, 5, 33, 1 << 20, u64::from(u32::MAX)]);
                let damaged = self.rng.below(2);
                self.in_queue(nth, 120, halves(damaged, pages));
            }
            12 => {
                let (at, value) = self.rng.choose(&[
                    (64, 0),
                    (72, 2),
                    (72, 0),
                    (72, 7),
                    (80, 0),
                    (80, u64::MAX),
                    (200, u64::MAX),
                    (8, u64::MAX),
                    (32, u64::MAX),
                ]);
                self.in_queue(nth, at, value);
            }
            _ => {
                let owner = self.any_owner();
                self.in_queue(nth, 0, owner);
                self.in_queue(nth, 120, halves(1, header(self, 120) >> 32));
            }
        }
    }
}
