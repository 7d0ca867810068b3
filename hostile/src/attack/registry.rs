//! Forged participants, indexes and keys.

use super::{ABSENT_OWNER, Attacker, Kind, REGISTRY_KEYS, REGISTRY_SLOTS, REGISTRY_USED};

impl Attacker {
    pub(super) fn forge_in_registry(&mut self, nth: usize) {
        let of = self.rng.below(3) as usize;
        let class = 32 + 32 * of;
        match self.rng.below(10) {
            // All indexes in use, or none.
            0 => {
                let bits = self.rng.choose(&[u64::MAX, 0, 1, 2, 3, 1 << 63]);
                let words = self.rng.choose(&[1, 512]);
                (0..words).for_each(|word| {
                    self.put(nth, REGISTRY_USED + 4096 * of + 8 * word, bits, true);
                    self.uncount(Kind::Registry, word);
                });
            }
            // All slots taken.
            1 => {
                let high = self.rng.choose(&[0, 1, 16255, 16256, 16257, u64::from(u32::MAX)]);
                self.put(nth, 16, high, false);
                for slot in 0..self.rng.choose(&[4, 16256]) {
                    let at = REGISTRY_SLOTS + 32 * slot;
                    self.put(nth, at + 4, 1, false);
                    self.uncount(Kind::Registry, slot);
                }
            }
            // The same key for all objects.
            2 => {
                let key = self.rng.choose(&[0, 0xa1, 0xa2, 0xa3, 0xb1, 0xb2, 0xb3]);
                (0..8).for_each(|index| self.put(nth, REGISTRY_KEYS + 131_072 * of + 4 * index, key, false));
            }
            3 => {
                let asked = self.rng.choose(&[0, 1, 2, 32767, 32768, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0x7fff_8001]);
                self.put(nth, class + 24, asked, false);
            }
            // An index that waits for reuse.
            4 => {
                let index = self.rng.choose(&[0, 1, 2, 32767, 32768, 0x7fff_ffff, 0x8000_0000]);
                self.put(nth, class + 28, index, false);
            }
            // Live participants that look dead.
            5 => {
                for (slot, incarnation, _) in self.participants.clone() {
                    let at = REGISTRY_SLOTS + 32 * slot as usize;
                    self.put(nth, at, u64::from(incarnation.wrapping_add(1)), false);
                }
            }
            6 => {
                let counters = [
                    self.rng.choose(&[0, u64::from(u32::MAX), 32768]),
                    self.rng.choose(&[0, 0xffff, 0x10000, u64::from(u32::MAX)]),
                ];
                (0..2).for_each(|word| self.put(nth, class + 4 * word, counters[word], false));
                let sum = self.rng.choose(&[0, u64::MAX, 1 << 63]);
                self.put(nth, class + 8, sum, true);
            }
            // An absent owner that has left everything half done.
            7 => self.put(nth, 12, ABSENT_OWNER, false),
            8 => {
                self.put(nth, 16, u64::from(u32::MAX), false);
                self.put(nth, 20, u64::from(u32::MAX), false);
                self.put(nth, 24, u64::MAX, true);
            }
            _ => {
                let participants = self.any_owner();
                self.put(nth, 12, participants, false);
            }
        }
    }
}
