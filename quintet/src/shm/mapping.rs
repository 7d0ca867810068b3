//! The mapped control files.
//!
//! The first lookup of an index maps its control file, and the mapping stays. A call that needs no
//! memory therefore makes no system call.
//!
//! # Safety
//!
//! A mapping of a control file has `SEGMENT_BYTES` bytes, and its file has at least as many. Once
//! [`SegmentEntry`] holds its address, nothing unmaps it.
#![allow(unsafe_code)]

use crate::layout::{Control, SEGMENT_BYTES, Shared, StoredPermissions};
use crate::object::core::Core;
use crate::object::keys::{Keyed, no_memory};
use crate::object::mapping::open_object;
use crate::object::permissions;
use crate::shm::attachments::{self, Attachments};
use crate::shm::cached_mapping::CachedMapping;
use crate::sync::attach_count::{AttachCount, Head, ParticipantId};
use crate::sys::memory::{self, Access, Place};
use crate::sys::path_buffer::PathBuffer;
use crate::sys::table::{NEAR, Table, Zeroable};
use crate::sys::{credentials, fd_thread, file};
use crate::types::error::Errno;
use crate::types::id::{Id, MAX_OBJECTS};
use crate::types::key::Key;
use crate::types::mechanism::Mechanism;
use crate::types::permissions::Permissions;
use crate::types::shm::{ModeFlags, SegmentStat};
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::*};

type Result<T> = std::result::Result<T, Errno>;

/// The mappings of one index.
#[repr(C)]
pub struct SegmentEntry {
    /// The address of the mapped control file, or 0.
    control: AtomicUsize,
    /// Bit 0: the control file is mapped writable. Bits 1 to 32: the user id of the file's owner.
    owner: AtomicU64,
    /// 1 if another user's files occupy the index, so that nothing can be created there.
    pub foreign: AtomicU32,
    /// The number of bytes of the control file that are known to have their blocks.
    reserved: AtomicU32,
    /// The cached mappings of the data file: read-only, writable.
    cached_mappings: [CachedMapping; 2],
}

impl SegmentEntry {
    /// Returns `true` if `address` lies in a mapping of this index. Attachments do not count.
    pub fn maps(&self, address: usize) -> bool {
        let control = self.control.load(Acquire);
        control != 0 && (control..control + SEGMENT_BYTES as usize).contains(&address)
            || self.cached_mappings.iter().any(|cached_mapping| cached_mapping.maps(address))
    }

    pub fn cached_mapping(&self, write: bool) -> &CachedMapping {
        &self.cached_mappings[usize::from(write)]
    }
}

// SAFETY: atomics only.
unsafe impl Zeroable for SegmentEntry {}

/// The entries of all indexes.
pub type SegmentTable = Table<SegmentEntry>;

/// The size of a page in accounting. It does not depend on the machine's page size.
pub const PAGE: u64 = 4096;

/// The segments of a namespace, with this process's mappings and attachments.
#[repr(C)]
pub struct Segments {
    pub core: &'static Core,
    pub attachments: Attachments,
    pub table: SegmentTable,
}

/// A mapped control file.
#[derive(Clone, Copy)]
pub struct SegmentView {
    control: Shared<Control>,
    /// `true` if the control file is mapped writable.
    pub writable: bool,
    /// The user id of the file's owner. It is the creator's, because the file's content cannot
    /// change it.
    pub owner: u32,
    index: u16,
}

impl Deref for SegmentView {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.control
    }
}

impl SegmentView {
    pub fn attach_count(&self) -> AttachCount<'_> {
        self.control.attach_count(self.writable)
    }

    /// Returns identifier and state. The index comes from the file's name, not from its content.
    pub fn head(&self) -> Head {
        self.attach_count().head().at(self.index)
    }

    /// Returns the size in bytes. Limits a size that a peer falsified, so that sums do not
    /// overflow.
    pub fn bytes(&self) -> u64 {
        self.size.load(Relaxed).min(i64::MAX as u64)
    }

    /// Returns the size in pages.
    pub fn pages(&self) -> u64 {
        self.bytes().div_ceil(PAGE)
    }

    pub fn key(&self) -> Key {
        Key::new(self.control.key.load(Relaxed) as i32)
    }

    pub fn permissions(&self) -> (Permissions, StoredPermissions) {
        let stored = self.stored_permissions();
        let perm =
            Permissions { uid: stored.uid, gid: stored.gid, cuid: self.owner, cgid: self.cgid.load(Relaxed), mode: stored.mode };
        (perm, stored)
    }

    /// Returns `true` if the calling thread has the access in `flags`.
    pub fn permits(&self, flags: u32) -> bool {
        permissions::permits(&self.permissions().0, flags, credentials::euid)
    }

    /// Returns `true` if the calling thread may change or remove the segment.
    pub fn may_control(&self) -> bool {
        permissions::may_control(&self.permissions().0)
    }

    /// Returns the state of the segment with `head` and `nattch` attachments.
    pub fn stat(&self, head: Head, nattch: u64) -> SegmentStat {
        let (perm, stored) = self.permissions();
        let mut flags = ModeFlags::empty();
        flags.set(ModeFlags::DEST, head.is_dest());
        flags.set(ModeFlags::LOCKED, self.locked.load(Relaxed) != 0);
        SegmentStat {
            key: self.key(),
            id: head.id,
            perm,
            flags,
            size: self.size.load(Relaxed),
            atime: self.atime.load(Relaxed) as i64,
            dtime: self.dtime.load(Relaxed) as i64,
            ctime: stored.ctime,
            cpid: self.cpid.load(Relaxed) as i32,
            lpid: self.lpid.load(Relaxed) as i32,
            nattch,
        }
    }

    /// Stores the time and the process id of an attach.
    pub fn stamp_attach(&self, pid: u32) {
        self.atime.store(crate::sys::clock::now() as u64, Relaxed);
        self.lpid.store(pid, Relaxed);
    }

    /// Stores the time and the process id of a detach.
    pub fn stamp_detach(&self, pid: u32) {
        self.dtime.store(crate::sys::clock::now() as u64, Relaxed);
        self.lpid.store(pid, Relaxed);
    }
}

impl<'a> Keyed<'a> for SegmentView {
    type Class = Segments;
    const OF: Mechanism = Mechanism::Shm;

    fn at(segments: &'a Segments, index: u16) -> Result<Option<SegmentView>> {
        segments.at(index)
    }

    fn id_by(&self, key: Key) -> Option<Id> {
        let head = self.head();
        // The key belongs to this segment only if the identifier did not change meanwhile.
        (head.has_key() && self.key() == key && self.head().id == head.id).then_some(head.id)
    }
}

impl Segments {
    pub fn new(
        core: &'static Core,
        attachments: &'static [attachments::Entry; attachments::FIRST],
        near: &'static [SegmentEntry; NEAR],
    ) -> Result<Segments> {
        let table = SegmentTable::new(near, MAX_OBJECTS as usize)?;
        Ok(Segments { core, attachments: Attachments::new(attachments), table })
    }

    /// Returns `true` if `address` lies in a mapping of a segment's file. Only reads atomics, so a
    /// signal handler may call it.
    pub fn maps(&self, address: usize) -> bool {
        self.attachments.maps(address) || self.table.iter().any(|entry| entry.maps(address))
    }

    /// Returns the path of the control file.
    pub fn path(&self, index: u16) -> PathBuffer {
        PathBuffer::new(self.core.directory(), format_args!("/shm/{index}"))
    }

    /// Returns the path of the data file.
    pub fn data_path(&self, index: u16) -> PathBuffer {
        PathBuffer::new(self.core.directory(), format_args!("/shm/{index}.data"))
    }

    /// Returns the control file of `index`, or `None` if the index was never used.
    ///
    /// | error | cause |
    /// |---|---|
    /// | `EACCES` | the caller may not search the directory |
    /// | `EINVAL` | the file is not a control file |
    pub fn at(&self, index: u16) -> Result<Option<SegmentView>> {
        if let Some(view) = self.cached(index)
            && view.is_valid()
        {
            return Ok(Some(view));
        }
        self.map(index)
    }

    /// Returns the control file of `index` for a caller that writes it. Maps a read-only file
    /// again, because the process may have gained permissions.
    pub fn writable_at(&self, index: u16) -> Result<Option<SegmentView>> {
        match self.at(index)? {
            Some(view) if !view.writable => self.map(index),
            other => Ok(other),
        }
    }

    /// Returns the control file of `index` if it is mapped.
    pub fn cached(&self, index: u16) -> Option<SegmentView> {
        let entry = &self.table[usize::from(index)];
        let at = entry.control.load(Acquire);
        let owner = entry.owner.load(Acquire);
        // SAFETY: `open` stored the address, and the mapping stays.
        let control = (at != 0).then(|| unsafe { Shared::<Control>::new(at) })?;
        Some(SegmentView { control, writable: owner & 1 != 0, owner: (owner >> 1) as u32, index })
    }

    fn map(&self, index: u16) -> Result<Option<SegmentView>> {
        fd_thread::run(|| self.open(index))
    }

    #[inline(never)]
    fn open(&self, index: u16) -> Result<Option<SegmentView>> {
        let entry = &self.table[usize::from(index)];
        let path = self.path(index);
        let Some((fd, stat, writable)) = open_object(&path)? else { return Ok(None) };
        if (stat.st_size as u64) < SEGMENT_BYTES {
            return Err(Errno::INVAL);
        }
        let access = if writable { Access::WRITE } else { Access::READ };
        let len = SEGMENT_BYTES as usize;
        let old = entry.control.load(Acquire);
        // Replaces the mapping of a retired file. Its readers compare the identifier and find
        // another.
        let place = if old != 0 { Place::Over(old) } else { Place::Anywhere };
        entry.reserved.store(Control::FIRST_BYTES as u32, Relaxed);
        // SAFETY: `old` is this index's mapping. The new one has the same size and content of the
        // same type.
        let at = unsafe { memory::map(&fd, len, access, place) }?;
        // SAFETY: the mapping stays; if it is unmapped below, `control` is not used afterwards.
        let control = unsafe { Shared::<Control>::new(at) };
        if !control.is_valid() {
            if old == 0 {
                // SAFETY: this call mapped it, and no other thread knows the address.
                let _ = unsafe { memory::unmap(at, len) };
            }
            return Ok(None);
        }
        entry.owner.store(u64::from(stat.st_uid) << 1 | u64::from(writable), Release);
        if old == 0 && entry.control.compare_exchange(0, at, AcqRel, Acquire).is_err() {
            // Another thread mapped the same file first.
            // SAFETY: this call mapped it, and no other thread knows the address.
            let _ = unsafe { memory::unmap(at, len) };
        }
        Ok(self.cached(index))
    }

    /// Allocates the blocks of the control file up to the entry of `participant`.
    #[inline(never)]
    pub fn reserve_entry(&self, view: &SegmentView, index: u16, participant: ParticipantId) -> Result<()> {
        let bytes = Control::bytes_for(participant.slot) as u32;
        let entry = &self.table[usize::from(index)];
        if bytes <= Control::FIRST_BYTES as u32 || bytes <= entry.reserved.load(Relaxed) || !view.writable {
            return Ok(());
        }
        fd_thread::run(|| {
            let (fd, _) = file::open(self.path(index).c_str(), true)?;
            file::reserve_range(&fd, 0, u64::from(bytes)).map_err(no_memory)
        })?;
        entry.reserved.store(bytes, Relaxed);
        Ok(())
    }
}

/// Returns the participant that created the segment.
pub fn creator(view: &SegmentView) -> ParticipantId {
    ParticipantId::from_word(view.creator.load(Relaxed))
}
