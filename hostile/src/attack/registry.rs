//! Lies about who takes part, and which indexes and keys are in use.

use super::{Attacker, Kind, NOBODY, REGISTRY_KEYS, REGISTRY_SLOTS, REGISTRY_USED};

impl Attacker {
    pub(super) fn lie_in_registry(&mut self, nth: usize) {
        let of = self.dice.below(3) as usize;
        let class = 32 + 32 * of;
        match self.dice.below(10) {
            // All indexes are in use, or none.
            0 => {
                let bits = self.dice.one_of(&[u64::MAX, 0, 1, 2, 3, 1 << 63]);
                let words = self.dice.one_of(&[1, 512]);
                (0..words).for_each(|word| {
                    self.put(nth, REGISTRY_USED + 4096 * of + 8 * word, bits, true);
                    self.uncount(Kind::Registry, word);
                });
            }
            // All places are taken.
            1 => {
                let high = self.dice.one_of(&[0, 1, 16255, 16256, 16257, u64::from(u32::MAX)]);
                self.put(nth, 16, high, false);
                for slot in 0..self.dice.one_of(&[4, 16256]) {
                    let at = REGISTRY_SLOTS + 32 * slot;
                    self.put(nth, at + 4, 1, false);
                    self.uncount(Kind::Registry, slot);
                }
            }
            // Everything has the same key.
            2 => {
                let key = self.dice.one_of(&[0, 0xa1, 0xa2, 0xa3, 0xb1, 0xb2, 0xb3]);
                (0..8).for_each(|index| self.put(nth, REGISTRY_KEYS + 131_072 * of + 4 * index, key, false));
            }
            3 => {
                let asked = self.dice.one_of(&[0, 1, 2, 32767, 32768, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0x7fff_8001]);
                self.put(nth, class + 24, asked, false);
            }
            // What waits for reuse.
            4 => {
                let index = self.dice.one_of(&[0, 1, 2, 32767, 32768, 0x7fff_ffff, 0x8000_0000]);
                self.put(nth, class + 28, index, false);
            }
            // The living look dead.
            5 => {
                for (slot, incarnation, _) in self.living.clone() {
                    let at = REGISTRY_SLOTS + 32 * slot as usize;
                    self.put(nth, at, u64::from(incarnation.wrapping_add(1)), false);
                }
            }
            6 => {
                let counters = [
                    self.dice.one_of(&[0, u64::from(u32::MAX), 32768]),
                    self.dice.one_of(&[0, 0xffff, 0x10000, u64::from(u32::MAX)]),
                ];
                (0..2).for_each(|word| self.put(nth, class + 4 * word, counters[word], false));
                let sum = self.dice.one_of(&[0, u64::MAX, 1 << 63]);
                self.put(nth, class + 8, sum, true);
            }
            // A dead one has left everything half done.
            7 => self.put(nth, 12, NOBODY, false),
            8 => {
                self.put(nth, 16, u64::from(u32::MAX), false);
                self.put(nth, 20, u64::from(u32::MAX), false);
                self.put(nth, 24, u64::MAX, true);
            }
            _ => {
                let living = self.someone();
                self.put(nth, 12, living, false);
            }
        }
    }
}
