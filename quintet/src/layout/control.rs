//! `shm/INDEX`: the control file of a segment. Whoever has any right to the segment can write it.
#![allow(unsafe_code)]

use crate::layout::rights::{self, Rights, RightsWords};
use crate::layout::{AtomicStruct, SLOTS};
use crate::sync::attach_count::AttachCount;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

/// The file's size. Beyond the first page it is a hole until a participant of a high slot attaches.
pub const SEGMENT_BYTES: u64 = size_of::<Control>() as u64;

/// Segments up to this size keep their memory for the next one of the same owner.
pub const RECYCLED_BYTES: u64 = 65536;

/// A `recycled_mode` that no mode is: the memory is not to be reused.
pub const NEVER_RECYCLED: u32 = u32::MAX;

const MAGIC: u32 = u32::from_le_bytes(*b"QSHM");

/// The content of a control file.
#[repr(C)]
pub struct Control {
    magic: AtomicU32,
    /// 1: the data file's memory was promised by count, not by allocation.
    pub counted_only: AtomicU32,
    /// State and identifier: `sync::attach_count`.
    pub head: AtomicU64,
    /// The size asked for, in bytes.
    pub size: AtomicU64,
    pub key: AtomicU32,
    /// Which of `rights` counts: 0 or 1.
    pub current: AtomicU32,
    pub rights: [RightsWords; 2],
    pub cuid: AtomicU32,
    pub cgid: AtomicU32,
    pub cpid: AtomicU32,
    pub lpid: AtomicU32,
    pub atime: AtomicU64,
    pub dtime: AtomicU64,
    /// 1: `SHM_LOCKED`.
    pub locked: AtomicU32,
    /// 1: attachments ask for huge pages.
    pub huge: AtomicU32,
    /// Who made it: slot, and incarnation in the upper half.
    pub creator: AtomicU32,
    /// One more than the greatest slot with an entry.
    pub high: AtomicU32,
    /// The number of the data file, from `Registry::data_serial`.
    pub data_serial: AtomicU64,
    /// The data file's mode and its pages; 0 pages: nothing is kept for reuse.
    pub recycled_mode: AtomicU32,
    pub recycled_pages: AtomicU32,
    /// Who keeps a page of the data file mapped to attach faster: 0 nobody, 1 + slot one, `u32::MAX` several.
    pub cached_mappings: AtomicU32,
    pad: AtomicU32,
    reserved: [AtomicU64; 45],
    pub entries: [AtomicU32; SLOTS],
}

// SAFETY: atomics only.
unsafe impl AtomicStruct for Control {}

const _: () = {
    assert!(std::mem::offset_of!(Control, entries) == 512);
    assert!(size_of::<Control>() == 65536);
};

impl Control {
    /// What of the file must have its place on the file system from the start.
    pub const FIRST_BYTES: u64 = 4096;

    /// How a new file begins; the rest is zeroes.
    pub const BLANK: [u8; 4] = MAGIC.to_ne_bytes();

    pub fn is_valid(&self) -> bool {
        self.magic.load(Relaxed) == MAGIC
    }

    /// How many bytes of the file must have their place before `slot` may have an entry.
    pub fn bytes_for(slot: u32) -> u64 {
        (std::mem::offset_of!(Control, entries) as u64 + 4 * u64::from(slot) + 4).next_multiple_of(4096)
    }

    /// Takes the file out of use: who has it mapped looks for its successor.
    pub fn retire(&self) {
        self.magic.store(0, SeqCst);
    }

    pub fn attach_count(&self, writable: bool) -> AttachCount<'_> {
        AttachCount { head: &self.head, entries: &self.entries, high: &self.high, writable }
    }

    /// The rights in force, whole.
    pub fn rights(&self) -> Rights {
        rights::load(&self.current, &self.rights)
    }

    /// Changes the rights, whole. The caller holds the registry's lock.
    pub fn set_rights(&self, rights: Rights) {
        rights::store(&self.current, &self.rights, rights);
    }
}
