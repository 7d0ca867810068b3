//! `registry`: the state that all participants of a namespace maintain together: the lock of
//! creation and removal, the indexes in use, and the participants.
#![allow(unsafe_code)]

use crate::layout::{AtomicStruct, VERSION};
use crate::types::id::MAX_OBJECTS;
use crate::types::mechanism::Mechanism;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::Relaxed};

/// The greatest number of participants of a namespace at one time.
pub const SLOTS: usize = 16256;

/// The file's size in bytes.
pub const REGISTRY_BYTES: u64 = size_of::<Registry>() as u64;

const MAGIC: u64 = u64::from_le_bytes(*b"QUINTREG");

/// The content of `registry`.
#[repr(C)]
pub struct Registry {
    /// `QUINTREG`.
    pub magic: AtomicU64,
    /// The layout version.
    pub version: AtomicU32,
    /// The lock of creation and removal: `sync::robust_mutex`.
    pub lock: AtomicU32,
    /// 1 plus the greatest slot that was ever taken.
    pub slots_high: AtomicU32,
    /// The greatest number of names that a key has needed. A key needs more than one name while a
    /// stale name belongs to another user, because only that user can remove it.
    pub key_names: AtomicU32,
    /// The number of the last data file, so that a cached mapping is not used for a later file.
    pub data_serial: AtomicU64,
    /// The counters of segments, sets and queues. Here and below, a [`Mechanism`] is the index.
    classes: [Class; MECHANISMS],
    reserved: [AtomicU64; 508 - 4 * MECHANISMS],
    /// The indexes in use, one bit for each.
    used: [[AtomicU64; MAX_OBJECTS as usize / 64]; MECHANISMS],
    /// The participants.
    pub slots: [Slot; SLOTS],
    /// In a private namespace, the keys of the objects, by index.
    keys: [[AtomicU32; MAX_OBJECTS as usize]; MECHANISMS],
}

const MECHANISMS: usize = Mechanism::ALL.len();

/// The counters of one class of objects. They can be recounted from the objects.
#[repr(C)]
pub struct Class {
    /// The number of objects, including those marked for destruction.
    pub in_use: AtomicU32,
    /// The sequence number of the next object.
    pub sequence: AtomicU32,
    /// The sum of the sizes: pages of 4096 bytes for segments, semaphores for sets, 0 for queues.
    pub sum: AtomicU64,
    /// The index of the last object created, or -1. An object at this index or below takes the next
    /// sequence number.
    pub last_index: AtomicI32,
    pad: AtomicU32,
    /// `shm_next_id` and its siblings, or -1.
    pub next_id: AtomicI32,
    /// The index with recycled memory, or -1.
    pub recycled: AtomicI32,
}

impl Class {
    /// Counts an object of this size.
    pub fn count(&self, size: u64) {
        self.in_use.fetch_add(1, Relaxed);
        self.sum.fetch_add(size, Relaxed);
    }

    /// Stops counting an object of this size.
    pub fn discount(&self, size: u64) {
        let _ = self.in_use.fetch_update(Relaxed, Relaxed, |n| Some(n.saturating_sub(1)));
        let _ = self.sum.fetch_update(Relaxed, Relaxed, |n| Some(n.saturating_sub(size)));
    }
}

/// A participant. It lives as long as its lock on byte [`Registry::LOCKS`]` + slot` of this file.
#[repr(C)]
pub struct Slot {
    /// The number of participants that have taken the slot.
    pub incarnation: AtomicU32,
    /// A [`SlotState`].
    pub state: AtomicU32,
    /// The process id, in the process's own PID namespace.
    pub pid: AtomicU32,
    /// The effective user id on joining.
    pub uid: AtomicU32,
    /// The inode number of the PID namespace in which `pid` is valid.
    pub pid_namespace: AtomicU64,
    /// The time of joining, in seconds since the Epoch.
    pub since: AtomicU64,
}

/// The state that the last participant wrote. Only its lock shows if it lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum SlotState {
    /// Never taken, or cleared.
    Free = 0,
    /// Taken by a participant that lives, or that has left entries to clear.
    Taken = 1,
}

// SAFETY: `repr(C)`, and all fields are atomics.
unsafe impl AtomicStruct for Registry {}

const _: () = {
    assert!(size_of::<Slot>() == 32);
    assert!(std::mem::offset_of!(Registry, used) == 4096);
    assert!(std::mem::offset_of!(Registry, slots) == 4096 * (1 + MECHANISMS));
    assert!(size_of::<Registry>() == 4096 * (1 + MECHANISMS) + 32 * SLOTS + 4 * MAX_OBJECTS as usize * MECHANISMS);
};

impl Registry {
    /// The offset of the participants' lock bytes, beyond the end of the file.
    pub const LOCKS: u64 = 1 << 40;
    /// The two offsets of the lock bytes of an exec handoff. A participant that executes another
    /// program locks one byte at one of them.
    pub const EXEC_LOCKS: [u64; 2] = [1 << 41, 1 << 42];
    /// The number of bytes that are allocated when the file is created. Slots and keys are
    /// allocated when they are used.
    pub const FIRST_BYTES: u64 = 4096 * (2 + MECHANISMS as u64);

    /// Writes the values of a new registry that are not 0.
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

    /// Returns `true` if the file is a registry of this layout version.
    pub fn is_valid(&self) -> bool {
        self.magic.load(Relaxed) == MAGIC && self.version.load(Relaxed) == VERSION
    }

    /// Returns the counters of a class.
    pub fn class(&self, of: Mechanism) -> &Class {
        &self.classes[of as usize]
    }

    /// Returns the indexes in use, one bit for each.
    pub fn used(&self, of: Mechanism) -> &[AtomicU64; MAX_OBJECTS as usize / 64] {
        &self.used[of as usize]
    }

    /// Returns the keys of a private namespace, by index.
    pub fn keys(&self, of: Mechanism) -> &[AtomicU32; MAX_OBJECTS as usize] {
        &self.keys[of as usize]
    }

    /// Returns the offset of the key of `index` in the file.
    pub fn key_offset(of: Mechanism, index: u16) -> u64 {
        let table = std::mem::offset_of!(Registry, keys) + of as usize * size_of::<[AtomicU32; MAX_OBJECTS as usize]>();
        table as u64 + 4 * u64::from(index)
    }

    /// Returns the offset of a slot in the file.
    pub fn slot_offset(slot: usize) -> u64 {
        std::mem::offset_of!(Registry, slots) as u64 + 32 * slot as u64
    }
}
