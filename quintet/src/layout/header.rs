//! `namespace`: the header file, which only the owner of the namespace can write.
#![allow(unsafe_code)]

use crate::layout::{AtomicStruct, VERSION};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// The file's size in bytes.
pub const HEADER_BYTES: u64 = 4096;

const MAGIC: u64 = u64::from_le_bytes(*b"QUINTET\0");

/// The content of `namespace`.
#[repr(C)]
pub struct Header {
    /// `QUINTET\0`.
    pub magic: AtomicU64,
    /// The layout version.
    pub version: AtomicU32,
    /// 0 for private, 1 for shared.
    pub kind: AtomicU32,
    /// A hash of the fields above, so that random bytes are not taken for a header.
    pub check: AtomicU64,
    /// The limits, as in [`crate::types::limits::Limits`].
    pub shmmax: AtomicU64,
    pub shmall: AtomicU64,
    pub shmmni: AtomicU32,
    pub shm_rmid_forced: AtomicU32,
    pub semmsl: AtomicU32,
    pub semmns: AtomicU32,
    pub semopm: AtomicU32,
    pub semmni: AtomicU32,
    pub msgmax: AtomicU32,
    pub msgmnb: AtomicU32,
    pub msgmni: AtomicU32,
    pad: AtomicU32,
}

// SAFETY: `repr(C)`, and all fields are atomics.
unsafe impl AtomicStruct for Header {}

const _: () = assert!(size_of::<Header>() == 80);

/// The result of a check of a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Validity {
    /// A header of this version.
    Good { shared: bool },
    /// A header of another layout version.
    OtherVersion(u32),
    /// Not a header.
    Damaged,
}

impl Header {
    /// Writes the fields that do not depend on the limits.
    pub fn set_up(&self, shared: bool) {
        self.magic.store(MAGIC, Relaxed);
        self.version.store(VERSION, Relaxed);
        self.kind.store(u32::from(shared), Relaxed);
        self.check.store(self.expected_check(), Relaxed);
    }

    fn expected_check(&self) -> u64 {
        let mix = |h: u64, word: u64| (h ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
        let words = [self.magic.load(Relaxed), self.version.load(Relaxed).into(), self.kind.load(Relaxed).into()];
        words.into_iter().fold(0xcbf2_9ce4_8422_2325, mix)
    }

    /// Checks the header.
    pub fn validity(&self) -> Validity {
        let version = self.version.load(Relaxed);
        let kind = self.kind.load(Relaxed);
        if self.magic.load(Relaxed) != MAGIC || self.check.load(Relaxed) != self.expected_check() {
            return Validity::Damaged;
        }
        if version != VERSION {
            return Validity::OtherVersion(version);
        }
        if kind > 1 { Validity::Damaged } else { Validity::Good { shared: kind == 1 } }
    }
}
