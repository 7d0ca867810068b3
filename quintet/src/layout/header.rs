//! `namespace`: what the owner of a namespace decides. Others can only read it.
#![allow(unsafe_code)]

use crate::layout::{AtomicStruct, VERSION};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// The file's size.
pub const HEADER_BYTES: u64 = 4096;

const MAGIC: u64 = u64::from_le_bytes(*b"QUINTET\0");

/// The content of `namespace`.
#[repr(C)]
pub struct Header {
    pub magic: AtomicU64,
    pub version: AtomicU32,
    /// 0 private, 1 shared.
    pub kind: AtomicU32,
    /// A mix of the fields above: random bytes do not pass for a header.
    pub check: AtomicU64,
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

// SAFETY: atomics only.
unsafe impl AtomicStruct for Header {}

const _: () = assert!(size_of::<Header>() == 80);

/// What a header turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Validity {
    Good { shared: bool },
    OtherVersion(u32),
    Damaged,
}

impl Header {
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
