//! `registry`: what all who use a namespace keep together: the lock, the indexes in use, the participants.
#![allow(unsafe_code)]

use crate::layout::{AtomicStruct, VERSION};
use crate::types::id::MAX_OBJECTS;
use crate::types::mechanism::Mechanism;
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
    /// How many names a key may have had to take, because a removed segment's name was not its remover's to take away.
    pub key_names: AtomicU32,
    /// Numbers data files, so that a cached view of one is not taken for its successor's.
    pub data_serial: AtomicU64,
    /// What is counted of segments, sets and queues: a [`Mechanism`] is the index here and below.
    classes: [Class; MECHANISMS],
    reserved: [AtomicU64; 508 - 4 * MECHANISMS],
    /// The indexes in use, a bit each.
    used: [[AtomicU64; MAX_OBJECTS as usize / 64]; MECHANISMS],
    pub slots: [Slot; SLOTS],
    /// In a private namespace: the keys of the objects, by index.
    keys: [[AtomicU32; MAX_OBJECTS as usize]; MECHANISMS],
}

const MECHANISMS: usize = Mechanism::ALL.len();

/// The counters of one class of objects; they can be counted anew from the objects.
#[repr(C)]
pub struct Class {
    /// Objects, those marked for removal included.
    pub in_use: AtomicU32,
    /// The sequence number of the next object.
    pub sequence: AtomicU32,
    /// The sum of the sizes: pages of 4096 bytes, semaphores; of queues, nothing.
    pub sum: AtomicU64,
    /// The index of the object made last, or -1: one at or below it begins a new sequence number.
    pub last_index: AtomicI32,
    pad: AtomicU32,
    /// `shm_next_id`, or -1.
    pub next_id: AtomicI32,
    /// The index whose files wait for reuse with their memory, or -1.
    pub recycled: AtomicI32,
}

impl Class {
    /// An object of this size has been made.
    pub fn count(&self, size: u64) {
        self.in_use.fetch_add(1, Relaxed);
        self.sum.fetch_add(size, Relaxed);
    }

    /// An object of this size is gone.
    pub fn discount(&self, size: u64) {
        let _ = self.in_use.fetch_update(Relaxed, Relaxed, |n| Some(n.saturating_sub(1)));
        let _ = self.sum.fetch_update(Relaxed, Relaxed, |n| Some(n.saturating_sub(size)));
    }
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
unsafe impl AtomicStruct for Registry {}

const _: () = {
    assert!(size_of::<Slot>() == 32);
    assert!(std::mem::offset_of!(Registry, used) == 4096);
    assert!(std::mem::offset_of!(Registry, slots) == 4096 * (1 + MECHANISMS));
    assert!(size_of::<Registry>() == 4096 * (1 + MECHANISMS) + 32 * SLOTS + 4 * MAX_OBJECTS as usize * MECHANISMS);
};

impl Registry {
    /// Where the participants' lock bytes are: beyond any content.
    pub const LOCKS: u64 = 1 << 40;
    /// Where the bytes are that the heirs of those who have gone on to another program lock: either.
    pub const EXEC_LOCKS: [u64; 2] = [1 << 41, 1 << 42];
    /// What of the file must have its place on the file system from the start; slots and keys get theirs when used.
    pub const FIRST_BYTES: u64 = 4096 * (2 + MECHANISMS as u64);

    pub fn set_up(&self) {
        self.magic.store(MAGIC, Relaxed);
        self.version.store(VERSION, Relaxed);
        self.key_names.store(1, Relaxed);
        for class in &self.classes {
            class.last_index.store(-1, Relaxed);
            class.next_id.store(-1, Relaxed);
            class.recycled.store(-1, Relaxed);
        }
    }

    pub fn is_valid(&self) -> bool {
        self.magic.load(Relaxed) == MAGIC && self.version.load(Relaxed) == VERSION
    }

    pub fn class(&self, of: Mechanism) -> &Class {
        &self.classes[of as usize]
    }

    /// The indexes in use, a bit each.
    pub fn used(&self, of: Mechanism) -> &[AtomicU64; MAX_OBJECTS as usize / 64] {
        &self.used[of as usize]
    }

    /// The keys in a private namespace, by index.
    pub fn keys(&self, of: Mechanism) -> &[AtomicU32; MAX_OBJECTS as usize] {
        &self.keys[of as usize]
    }

    /// Where the key of `index` is in the file.
    pub fn key_offset(of: Mechanism, index: u16) -> u64 {
        let table = std::mem::offset_of!(Registry, keys) + of as usize * size_of::<[AtomicU32; MAX_OBJECTS as usize]>();
        table as u64 + 4 * u64::from(index)
    }

    /// Where slot `slot` is in the file.
    pub fn slot_offset(slot: usize) -> u64 {
        std::mem::offset_of!(Registry, slots) as u64 + 32 * slot as u64
    }
}
