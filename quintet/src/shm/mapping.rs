//! The control files, as this process has them mapped.
//!
//! A control file is mapped when its index is first asked for and stays mapped, so that
//! everything that asks for no memory asks the kernel for nothing.
//!
//! # Safety
//!
//! A mapping made here is of `SEGMENT_BYTES`, of a file that has as many, and is never unmapped.
#![allow(unsafe_code)]

use crate::layout::{Control, SEGMENT_BYTES, Shared, StoredPermissions};
use crate::object::core::Core;
use crate::object::keys::{Keyed, no_memory};
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

/// What this process knows of one index.
#[repr(C)]
pub struct SegmentEntry {
    /// Where the control file is mapped, 0 not yet.
    control: AtomicUsize,
    /// Bit 0: mapped writable. Bits 1..: 1 plus the user id of the file's owner.
    owner: AtomicU64,
    /// The index's files are another user's: nothing can be created there.
    pub foreign: AtomicU32,
    /// How many bytes of the control file are known to have their place.
    reserved: AtomicU32,
    /// For attaching again: read-only, and writable.
    cached_mappings: [CachedMapping; 2],
}

impl SegmentEntry {
    /// Whether an address lies in what is mapped of this index, but for the attachments.
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

/// The table of all indexes.
pub type SegmentTable = Table<SegmentEntry>;

/// Sizes are counted in pages of this size, whatever the machine's.
pub const PAGE: u64 = 4096;

/// The segments of a namespace, as this process has them.
#[repr(C)]
pub struct Segments {
    pub core: &'static Core,
    pub attachments: Attachments,
    pub table: SegmentTable,
}

/// A control file that is mapped.
#[derive(Clone, Copy)]
pub struct SegmentView {
    control: Shared<Control>,
    /// Whether the caller may write to it.
    pub writable: bool,
    /// The user id of the file's owner, which is the creator's whatever the content says.
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

    /// The index is where the file is, whatever its head says.
    pub fn head(&self) -> Head {
        self.attach_count().head().at(self.index)
    }

    /// The size in bytes. A size that cannot be is cut: what peers write must not make sums overflow.
    pub fn bytes(&self) -> u64 {
        self.size.load(Relaxed).min(i64::MAX as u64)
    }

    /// The size in pages.
    pub fn pages(&self) -> u64 {
        self.bytes().div_ceil(PAGE)
    }

    pub fn key(&self) -> Key {
        Key::new(self.control.key.load(Relaxed) as i32)
    }

    pub fn permissions(&self) -> (Permissions, StoredPermissions) {
        let rights = self.stored_permissions();
        let perm =
            Permissions { uid: rights.uid, gid: rights.gid, cuid: self.owner, cgid: self.cgid.load(Relaxed), mode: rights.mode };
        (perm, rights)
    }

    /// Whether the calling thread has the access that `flags` names, as the kernel's `ipcperms` finds it.
    pub fn permits(&self, flags: u32) -> bool {
        permissions::permits(&self.permissions().0, flags, credentials::euid)
    }

    /// Whether the calling thread may change or remove the object.
    pub fn may_control(&self) -> bool {
        permissions::may_control(&self.permissions().0)
    }

    /// The state, with `nattch` attachments.
    pub fn stat(&self, head: Head, nattch: u64) -> SegmentStat {
        let (perm, rights) = self.permissions();
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
            ctime: rights.ctime,
            cpid: self.cpid.load(Relaxed) as i32,
            lpid: self.lpid.load(Relaxed) as i32,
            nattch,
        }
    }

    pub fn stamp_attach(&self, pid: u32) {
        self.atime.store(crate::sys::clock::now() as u64, Relaxed);
        self.lpid.store(pid, Relaxed);
    }

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
        // What was read is this object's only if it still is.
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

    /// Returns `true` if `address` lies in a mapping of a segment's file. Reads atomics only.
    pub fn maps(&self, address: usize) -> bool {
        self.attachments.maps(address) || self.table.iter().any(|entry| entry.maps(address))
    }

    pub fn path(&self, index: u16) -> PathBuffer {
        PathBuffer::new(self.core.directory(), format_args!("/shm/{index}"))
    }

    pub fn data_path(&self, index: u16) -> PathBuffer {
        PathBuffer::new(self.core.directory(), format_args!("/shm/{index}.data"))
    }

    /// The control file of `index`; `None` if nothing was ever there.
    ///
    /// `EACCES`: the directory may not be searched; `EINVAL`: what is there is no control file.
    pub fn at(&self, index: u16) -> Result<Option<SegmentView>> {
        if let Some(view) = self.cached(index)
            && view.is_valid()
        {
            return Ok(Some(view));
        }
        self.map(index)
    }

    /// As [`Segments::control`], for a caller that will write: a read-only mapping is tried anew, rights may have come.
    pub fn writable_at(&self, index: u16) -> Result<Option<SegmentView>> {
        match self.at(index)? {
            Some(view) if !view.writable => self.map(index),
            other => Ok(other),
        }
    }

    pub fn cached(&self, index: u16) -> Option<SegmentView> {
        let entry = &self.table[usize::from(index)];
        let at = entry.control.load(Acquire);
        let owner = entry.owner.load(Acquire);
        // SAFETY: mapped by `map`, which never unmaps.
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
        let (opened, writable) = match file::open(path.c_str(), true) {
            Err(Errno::ACCES | Errno::ROFS) => (file::open(path.c_str(), false), false),
            other => (other, true),
        };
        let (fd, stat) = match opened {
            Ok(opened) => opened,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::BADMSG) => return Err(Errno::INVAL),
            Err(e) => return Err(e),
        };
        if (stat.st_size as u64) < SEGMENT_BYTES {
            return Err(Errno::INVAL);
        }
        let access = if writable { Access::WRITE } else { Access::READ };
        let len = SEGMENT_BYTES as usize;
        let old = entry.control.load(Acquire);
        // In place of a retired file's mapping, whose readers find that the identifier is not theirs.
        let place = if old != 0 { Place::Over(old) } else { Place::Anywhere };
        entry.reserved.store(Control::FIRST_BYTES as u32, Relaxed);
        // SAFETY: `old` is this index's own mapping, and its successor has the same size and kind.
        let at = unsafe { memory::map(&fd, len, access, place) }?;
        // SAFETY: just mapped, and kept.
        let control = unsafe { Shared::<Control>::new(at) };
        if !control.is_valid() {
            if old == 0 {
                // SAFETY: just mapped, and nobody has seen it.
                let _ = unsafe { memory::unmap(at, len) };
            }
            return Ok(None);
        }
        entry.owner.store(u64::from(stat.st_uid) << 1 | u64::from(writable), Release);
        if old == 0 && entry.control.compare_exchange(0, at, AcqRel, Acquire).is_err() {
            // Another thread was first with the same file.
            // SAFETY: just mapped, and nobody has seen it.
            let _ = unsafe { memory::unmap(at, len) };
        }
        Ok(self.cached(index))
    }

    /// Makes sure that `who`'s entry in the control file has its place on the file system.
    #[inline(never)]
    pub fn reserve_entry(&self, view: &SegmentView, index: u16, who: ParticipantId) -> Result<()> {
        let bytes = Control::bytes_for(who.slot) as u32;
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
