//! Random numbers, and the values that all classes use. The pools are small, so that calls
//! interact.

use crate::{NOBODY, STRANGER};

pub(super) const KEYS: &[i32] = &[0, 1, 1, 2, 2, -3];
pub(super) const MODES: &[i32] = &[0o600, 0o600, 0o666, 0o666, 0o777, 0o640, 0o660, 0o400, 0o200, 0o604, 0o066, 0o040, 0o622, 0];
pub(super) const OWNERS: &[u32] = &[0, NOBODY, STRANGER, 7, NOBODY, STRANGER, u32::MAX];

/// SplitMix64.
pub(super) struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn of<T: Copy>(&mut self, pool: &[T]) -> T {
        pool[self.below(pool.len())]
    }
}

/// What the generator may use.
#[derive(Clone, Copy)]
pub(super) struct Setup {
    /// Number of processes at the start.
    pub processes: usize,
    /// `true` if the processes belong to several users.
    pub users: bool,
    /// Maximal number of objects of each class that the first steps create.
    pub objects: usize,
}

impl Setup {
    /// Maps ids for `IPC_SET`. In a user namespace only the tester's own ids exist.
    pub fn owner(self, (uid, gid): (u32, u32)) -> (u32, u32) {
        let own = |id: u32, own: u32| if self.users || id == u32::MAX { id } else { own };
        (own(uid, rustix::process::geteuid().as_raw()), own(gid, rustix::process::getegid().as_raw()))
    }
}
