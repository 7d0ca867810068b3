//! Forgeries in the control file of a segment.

use super::{Attacker, Kind};

impl Attacker {
    pub(super) fn forge_in_control(&mut self, nth: usize) {
        match self.rng.below(7) {
            0 => {
                let (state, ticket, id) = (self.rng.below(32), self.rng.below(4), self.rng.choose(&[0, 0, 0, 1, 2, 32768]));
                self.put(nth, 8, id | state << 31 | ticket << 36, true);
            }
            1 => {
                let size = self.rng.choose(&[
                    0,
                    1,
                    20000,
                    20480,
                    20481,
                    24576,
                    1 << 20,
                    1 << 32,
                    1 << 46,
                    1 << 47,
                    1 << 63,
                    u64::MAX,
                    u64::MAX - 4095,
                ]);
                self.put(nth, 16, size, true);
            }
            2 => {
                let high = self.rng.choose(&[1, 16256, 16257, u64::from(u32::MAX)]);
                self.put(nth, 124, high, false);
                let entry = self.rng.choose(&[u64::from(u32::MAX), 0x1_ffff, 0xffff, 1, 0x1_0001]);
                for slot in 0..self.rng.choose(&[4, 16256]) {
                    self.put(nth, 512 + 4 * slot, entry, false);
                    self.uncount(Kind::Control, slot);
                }
            }
            3 => {
                let (mode, pages) = (
                    self.rng.choose(&[0o600, 0o777, 0, u64::from(u32::MAX)]),
                    self.rng.choose(&[0, 1, 5, 16, 17, u64::from(u32::MAX)]),
                );
                self.put(nth, 136, mode, false);
                self.put(nth, 140, pages, false);
                let serial = self.rng.below(5);
                self.put(nth, 128, serial, true);
            }
            4 => {
                let template = self.rng.choose(&[0, 1, 2, 3, 16256, 16257, u64::from(u32::MAX)]);
                self.put(nth, 144, template, false);
            }
            5 => {
                for at in [4, 112, 116] {
                    let value = self.rng.below(2);
                    self.put(nth, at, value, false);
                }
            }
            _ => {
                let creator = self.rng.choose(&[0, 0x1_0000, 5000, u64::from(u32::MAX)]);
                self.put(nth, 120, creator, false);
                self.put(nth, 8, 1 << 31, true);
            }
        }
    }
}
