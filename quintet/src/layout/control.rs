//! `shm/INDEX`: the control file of a segment. A process with any permission for the segment can
//! write it.
#![allow(unsafe_code)]

use crate::layout::permissions::{self, PermissionWords, StoredPermissions};
use crate::layout::{AtomicStruct, SLOTS};
use crate::sync::attach_count::AttachCount;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

/// The file's size in bytes. The pages after the first one are a hole until a participant in a high
/// slot attaches.
pub const SEGMENT_BYTES: u64 = size_of::<Control>() as u64;

/// The greatest size of a segment that leaves its memory to the owner's next one, in bytes.
pub const RECYCLED_BYTES: u64 = 65536;

/// A value of `recycled_mode` that is not a mode: the memory must not be recycled.
pub const NEVER_RECYCLED: u32 = u32::MAX;

const MAGIC: u32 = u32::from_le_bytes(*b"QSHM");

/// The content of a control file.
#[repr(C)]
pub struct Control {
    magic: AtomicU32,
    /// 1 if the data file's memory is counted only, not allocated.
    pub counted_only: AtomicU32,
    /// Identifier and state: `sync::attach_count`.
    pub head: AtomicU64,
    /// The size that the creator asked for, in bytes.
    pub size: AtomicU64,
    /// The key; 0 for none.
    pub key: AtomicU32,
    /// The number of changes of the permissions; its lowest bit names the copy in force.
    pub current: AtomicU32,
    /// The two copies: `layout::permissions`.
    pub permissions: [PermissionWords; 2],
    /// The creator's user id.
    pub cuid: AtomicU32,
    /// The creator's group id.
    pub cgid: AtomicU32,
    /// The creator's process id.
    pub cpid: AtomicU32,
    /// The process id of the last attach or detach.
    pub lpid: AtomicU32,
    /// The time of the last attach, in seconds since the Epoch.
    pub atime: AtomicU64,
    /// The time of the last detach, in seconds since the Epoch.
    pub dtime: AtomicU64,
    /// 1 if `SHM_LOCKED`.
    pub locked: AtomicU32,
    /// 1 if attachments ask for huge pages.
    pub huge: AtomicU32,
    /// The creator as a word: slot, and incarnation in the upper half.
    pub creator: AtomicU32,
    /// 1 plus the greatest slot with an entry.
    pub high: AtomicU32,
    /// The number of the data file, from `Registry::data_serial`.
    pub data_serial: AtomicU64,
    /// The mode of the recycled data file.
    pub recycled_mode: AtomicU32,
    /// The pages of the recycled data file; 0 if none is recycled.
    pub recycled_pages: AtomicU32,
    /// The participant with a cached mapping of the data file: 1 + slot; 0 for none, `u32::MAX` for
    /// several.
    pub cached_mappings: AtomicU32,
    pad: AtomicU32,
    reserved: [AtomicU64; 45],
    /// The attach counts, by slot: `sync::attach_count`.
    pub entries: [AtomicU32; SLOTS],
}

// SAFETY: `repr(C)`, and all fields are atomics.
unsafe impl AtomicStruct for Control {}

const _: () = {
    assert!(std::mem::offset_of!(Control, entries) == 512);
    assert!(size_of::<Control>() == 65536);
};

impl Control {
    /// The number of bytes that are allocated on the file system when the file is created.
    pub const FIRST_BYTES: u64 = 4096;

    /// The first bytes of a new file; the other bytes are zero.
    pub const BLANK: [u8; 4] = MAGIC.to_ne_bytes();

    /// Returns `true` if the file is a control file and is in use.
    pub fn is_valid(&self) -> bool {
        self.magic.load(Relaxed) == MAGIC
    }

    /// Returns the number of bytes that must be allocated before `slot` can have an entry.
    pub fn bytes_for(slot: u32) -> u64 {
        (std::mem::offset_of!(Control, entries) as u64 + 4 * u64::from(slot) + 4).next_multiple_of(4096)
    }

    /// Takes the file out of use. A process that has it mapped then looks for its successor.
    pub fn retire(&self) {
        self.magic.store(0, SeqCst);
    }

    /// Returns the attach protocol on this file; `writable` if the mapping is.
    pub fn attach_count(&self, writable: bool) -> AttachCount<'_> {
        AttachCount { head: &self.head, entries: &self.entries, high: &self.high, writable }
    }

    /// Returns the permissions in force.
    pub fn stored_permissions(&self) -> StoredPermissions {
        permissions::load(&self.current, &self.permissions)
    }

    /// Changes the permissions. The caller holds the registry's lock.
    pub fn set_permissions(&self, permissions: StoredPermissions) {
        permissions::store(&self.current, &self.permissions, permissions);
    }
}
