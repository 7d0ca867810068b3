//! `registry`: what all who use a namespace keep together: the lock, the indexes in use, the participants.
#![allow(unsafe_code)]

use super::{VERSION, Words};
use crate::id::MAX_OBJECTS;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::Relaxed};

/// How many processes can be attached to something, or at work in a namespace, at one time.
pub const SLOTS: usize = 16256;

/// The file's size.
pub const REGISTRY_BYTES: u64 = size_of::<Registry>() as u64;

const MAGIC: u64 = u64::from_le_bytes(*b"QUINTREG");

/// The content of `registry`.
#[repr(C)]
pub struct Registry {
    pub magic: AtomicU64,
    pub version: AtomicU32,
    /// The robust lock of creation and removal: `sync::lock`.
    pub lock: AtomicU32,
    /// One more than the greatest slot that was ever taken.
    pub slots_high: AtomicU32,
    pad: AtomicU32,
    /// Numbers data files, so that a cached view of one is not taken for its successor's.
    pub data_serial: AtomicU64,
    pub shm: Class,
    reserved: [AtomicU64; 504],
    /// The indexes in use, a bit each.
    pub shm_used: [AtomicU64; MAX_OBJECTS as usize / 64],
    pub slots: [Slot; SLOTS],
    /// In a private namespace: the keys of the segments, by index.
    pub shm_keys: [AtomicU32; MAX_OBJECTS as usize],
}

/// The counters of one class of objects; they can be counted anew from the objects.
#[repr(C)]
pub struct Class {
    /// Objects, those marked for removal included.
    pub in_use: AtomicU32,
    /// The sequence number of the next object.
    pub sequence: AtomicU32,
    /// The sum of the sizes, in pages of 4096 bytes.
    pub pages: AtomicU64,
    /// The index of the object made last, or -1: one at or below it begins a new sequence number.
    pub last_index: AtomicI32,
    pad: AtomicU32,
    /// `shm_next_id`, or -1.
    pub next_id: AtomicI32,
    /// The index whose files wait for reuse with their memory, or -1.
    pub warm: AtomicI32,
}

/// A participant. Its life is not told here but by its lock on byte `LOCKS + slot` of this file.
#[repr(C)]
pub struct Slot {
    /// Grows with each participant that takes the slot.
    pub incarnation: AtomicU32,
    /// A [`SlotState`].
    pub state: AtomicU32,
    pub pid: AtomicU32,
    pub uid: AtomicU32,
    /// The inode number of its PID namespace: where `pid` means something.
    pub pid_namespace: AtomicU64,
    /// When it came, in seconds since the Epoch.
    pub since: AtomicU64,
}

/// What a participant last said of itself; that it lives is said by its lock alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum SlotState {
    /// Never taken, or left behind with nothing to clear.
    Free = 0,
    Taken = 1,
}

// SAFETY: atomics only.
unsafe impl Words for Registry {}

const _: () = {
    assert!(size_of::<Slot>() == 32);
    assert!(std::mem::offset_of!(Registry, shm_used) == 4096);
    assert!(std::mem::offset_of!(Registry, slots) == 8192);
    assert!(size_of::<Registry>() == 8192 + 32 * SLOTS + 4 * MAX_OBJECTS as usize);
};

impl Registry {
    /// Where the participants' lock bytes are: beyond any content.
    pub const LOCKS: u64 = 1 << 40;
    /// What of the file must have its place on the file system from the start; slots and keys get theirs when used.
    pub const FIRST_BYTES: u64 = 8192 + 4096;

    pub fn set_up(&self) {
        self.magic.store(MAGIC, Relaxed);
        self.version.store(VERSION, Relaxed);
        self.shm.last_index.store(-1, Relaxed);
        self.shm.next_id.store(-1, Relaxed);
        self.shm.warm.store(-1, Relaxed);
    }

    pub fn is_valid(&self) -> bool {
        self.magic.load(Relaxed) == MAGIC && self.version.load(Relaxed) == VERSION
    }

    /// Where the key of `index` is in the file.
    pub fn key_offset(index: u16) -> u64 {
        std::mem::offset_of!(Registry, shm_keys) as u64 + 4 * u64::from(index)
    }

    /// Where slot `slot` is in the file.
    pub fn slot_offset(slot: usize) -> u64 {
        std::mem::offset_of!(Registry, slots) as u64 + 32 * slot as u64
    }
}
