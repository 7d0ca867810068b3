//! `shmat` and `shmdt`.
//!
//! # Safety
//!
//! Only mappings from the list of attachments are unmapped. Only the range that a caller of
//! `SHM_REMAP` named is replaced.
#![allow(unsafe_code)]

use crate::layout::NEVER_RECYCLED;
use crate::object::permissions::{EXECUTE, READ, WRITE};
use crate::process::fork::Inside;
use crate::process::participants::unpack;
use crate::shm::attachments::AttachedRange;
use crate::shm::mapping::{PAGE, SegmentView, Segments};
use crate::sync::attach_count::ParticipantId;
use crate::sys::fd::Fd;
use crate::sys::memory::{self, Access, Place};
use crate::sys::{fd_thread, file, ids};
use crate::types::error::Errno;
use crate::types::id::Id;
use std::sync::atomic::Ordering::*;

type Result<T> = std::result::Result<T, Errno>;

impl Segments {
    /// `shmat`. The checks run in the kernel's order.
    ///
    /// Returns the mapping and the segment's size in bytes at the time of the mapping. A peer
    /// cannot change that size afterwards.
    ///
    /// # Safety
    ///
    /// As for [`Namespace::shmat`](crate::Namespace::shmat).
    pub unsafe fn shmat(&self, id: i32, address: usize, flags: i32) -> Result<(AttachedRange, usize)> {
        let id = Id::from_raw(id)?;
        let place = place(address, flags)?;
        let write = flags & libc::SHM_RDONLY == 0;
        let access = Access { write, execute: flags & libc::SHM_EXEC != 0 };
        let requested = READ | if write { WRITE } else { 0 } | if access.execute { EXECUTE } else { 0 };
        let _inside = Inside::enter();
        self.live_after_reap(id)?;
        let view = self.writable_at(id.index())?.filter(|view| view.writable && view.permits(requested));
        let Some(view) = view else { return self.live(id).and(Err(Errno::ACCES)) };
        let me = self.core.participants.me()?;
        self.reserve_entry(&view, id.index(), me)?;
        let entry = self.attachments.reserve()?;
        if !view.attach_count().attach(id, me, &self.core.participants.probe(Some(&view))) {
            self.attachments.free(entry);
            self.destroy_if_unused(&view, false);
            return Err(Errno::INVAL);
        }
        match self.map_segment(&view, id, me, access, place) {
            Ok((mapped, size)) => {
                self.forget_replaced(&mapped);
                entry.fill(mapped);
                view.stamp_attach(ids::pid());
                Ok((mapped, size))
            }
            Err(e) => {
                self.attachments.free(entry);
                view.attach_count().withdraw(me, 1);
                self.destroy_if_unused(&view, true);
                Err(e)
            }
        }
    }

    fn map_segment(
        &self,
        view: &SegmentView,
        id: Id,
        me: ParticipantId,
        access: Access,
        place: Place,
    ) -> Result<(AttachedRange, usize)> {
        let size = view.bytes();
        let len = usize::try_from(size.next_multiple_of(PAGE)).map_err(|_| Errno::NOMEM)?;
        let page = memory::page();
        let len = len.checked_next_multiple_of(page).ok_or(Errno::NOMEM)?;
        // The kernel adds the size in bytes, before rounding.
        if let Place::At(at) = place
            && (at as u64).checked_add(size).is_none()
        {
            return Err(Errno::INVAL);
        }
        let huge = view.huge.load(Relaxed) != 0;
        let serial = view.data_serial.load(Acquire);
        let cacheable = !access.execute && place == Place::Anywhere && !huge;
        let cached_mapping = self.table[usize::from(id.index())].cached_mapping(access.write);
        let duplicated = if cacheable { cached_mapping.duplicate(serial, len) } else { None };
        let address = match duplicated {
            Some(address) => address,
            None => fd_thread::run(|| self.open_and_map(view, id, me, access, place, len))?,
        };
        if huge {
            memory::prefer_huge_pages(address, len);
        }
        if view.locked.load(Relaxed) != 0 {
            memory::lock_on_touch(address, len);
        }
        Ok((AttachedRange { address, len, id, torn: false }, size as usize))
    }

    #[inline(never)]
    fn open_and_map(
        &self,
        view: &SegmentView,
        id: Id,
        me: ParticipantId,
        access: Access,
        place: Place,
        len: usize,
    ) -> Result<usize> {
        let index = id.index();
        let (fd, stat) = file::open(self.data_path(index).c_str(), access.write).map_err(|e| match e {
            Errno::NOENT | Errno::BADMSG => Errno::INVAL,
            other => other,
        })?;
        // An access beyond the end of a truncated file raises SIGBUS. A file of another user does
        // not belong to this segment.
        if (stat.st_size as u64) < len as u64 / PAGE * PAGE || stat.st_uid != view.owner {
            return Err(Errno::INVAL);
        }
        // SAFETY: only SHM_REMAP replaces a mapping, and its caller vouches for the address.
        let address = unsafe { memory::map(&fd, len, access, place) }.map_err(|e| match e {
            Errno::EXIST => Errno::INVAL,
            other => other,
        })?;
        // A process that attaches a second time is likely to attach more often.
        if self.table[usize::from(index)].cached_mapping(access.write).is_reopened(view.data_serial.load(Relaxed)) {
            self.cache_mapping(view, index, me.slot, &fd, access.write);
        }
        Ok(address)
    }

    /// Ends the attachments inside the range of a new mapping, and marks those that overlap it as
    /// torn.
    ///
    /// The new mapping replaced them by `SHM_REMAP`, or the program had unmapped them.
    fn forget_replaced(&self, new: &AttachedRange) {
        while let Some((entry, old)) = self.attachments.take(|old| old.within(new.address, new.len)) {
            self.attachments.free(entry);
            self.end_attachment(old.id);
        }
        self.attachments.mark_torn(|old| old.overlaps(new.address, new.len));
    }

    /// `shmdt`.
    ///
    /// # Safety
    ///
    /// As for [`Namespace::shmdt`](crate::Namespace::shmdt).
    pub unsafe fn shmdt(&self, address: usize) -> Result<()> {
        if !address.is_multiple_of(memory::page()) {
            return Err(Errno::INVAL);
        }
        let _inside = Inside::enter();
        let (entry, mapped) = self.attachments.take(|mapped| mapped.address == address).ok_or(Errno::INVAL)?;
        if mapped.torn {
            self.unmap_pieces(&mapped);
        } else {
            // SAFETY: the whole range belongs to this attachment, and the caller vouches that
            // nothing uses it.
            let unmapped = unsafe { memory::unmap(mapped.address, mapped.len) };
            if let Err(e) = unmapped {
                // The kernel lacks memory, and nothing has changed.
                entry.fill(mapped);
                return Err(e);
            }
        }
        self.attachments.free(entry);
        self.end_attachment(mapped.id);
        Ok(())
    }

    /// Unmaps the remaining pieces of a torn attachment. Other mappings may occupy the gaps by now,
    /// so `/proc/self/maps` tells which pieces belong to the attachment.
    fn unmap_pieces(&self, mapped: &AttachedRange) {
        let Ok(file) = rustix::fs::stat(self.data_path(mapped.id.index()).c_str()) else { return };
        let Ok(maps) = file::read("/proc/self/maps") else { return };
        let device = format!("{:02x}:{:02x}", rustix::fs::major(file.st_dev), rustix::fs::minor(file.st_dev));
        let inode = file.st_ino.to_string();
        for line in maps.lines() {
            let mut fields = line.split_ascii_whitespace();
            let (Some(range), Some(offset), Some(dev), Some(ino)) = (fields.next(), fields.nth(1), fields.next(), fields.next())
            else {
                continue;
            };
            let hex = |text: &str| usize::from_str_radix(text, 16).ok();
            let Some((from, to)) = range.split_once('-').and_then(|(a, b)| Some((hex(a)?, hex(b)?))) else { continue };
            let ours = dev == device && ino == inode && hex(offset) == Some(from.wrapping_sub(mapped.address));
            if ours && mapped.overlaps(from, to - from) {
                // SAFETY: device, inode and offset identify a piece of this attachment, and the
                // caller vouches that nothing uses it.
                let _ = unsafe { memory::unmap(from, to - from) };
            }
        }
    }

    /// Removes one attachment of this process from the segment, and destroys the segment if it is
    /// due.
    fn end_attachment(&self, id: Id) {
        let (Ok(Some(view)), Some(me)) = (self.at(id.index()), self.core.participants.me_if_joined()) else { return };
        if view.head().id == id && view.writable {
            // Stamps the exits of earlier participants before this detach.
            let probe = self.core.participants.probe(Some(&view));
            view.attach_count().attached(Some(me), &probe);
            view.stamp_detach(ids::pid());
            view.attach_count().withdraw(me, 1);
            self.destroy_if_unused_with(&view, true, &probe);
        }
    }

    /// Handles a range that the program has unmapped itself. Ends the attachments inside it, and
    /// marks those that overlap it as torn.
    pub fn note_unmapped(&self, address: usize, len: usize) {
        if self.attachments.is_empty() {
            return;
        }
        let _inside = Inside::enter();
        self.forget_replaced(&AttachedRange { address, len, id: Id::new(0, 0), torn: false });
    }

    /// Counts each attachment of this process for `participant`, too, and stamps the segments as
    /// the kernel does at a fork.
    pub fn announce_all(&self, participant: ParticipantId) {
        self.attachments.for_each(|attachment| {
            if let Ok(Some(view)) = self.at(attachment.id.index())
                && view.writable
                && self.reserve_entry(&view, attachment.id.index(), participant).is_ok()
            {
                // Stamps the exits of earlier participants before this attach.
                let participants = &self.core.participants;
                view.attach_count().attached(participants.me_word().and_then(unpack), &participants.probe(Some(&view)));
                view.attach_count().announce(participant, 1);
                view.stamp_attach(ids::pid());
            }
        });
    }

    /// Counts the attachments of this process if no fork handler did.
    pub fn announce_late(&self) {
        if let Ok(me) = self.core.participants.me() {
            self.announce_all(me);
        }
    }

    /// Ends all attachments when the process exits. See `process::at_exit`.
    pub fn detach_all(&self) {
        if self.attachments.is_empty() {
            return;
        }
        let _inside = Inside::enter();
        while let Some((entry, mapped)) = self.attachments.take(|_| true) {
            self.attachments.free(entry);
            // The process still has the memory mapped, so no other segment may reuse it.
            if let Ok(Some(view)) = self.at(mapped.id.index())
                && view.head().id == mapped.id
                && view.writable
            {
                view.recycled_mode.store(NEVER_RECYCLED, Relaxed);
            }
            self.end_attachment(mapped.id);
        }
        self.core.participants.mark_slot_free();
    }

    /// Caches a mapping of a segment's data file, and notes in the control file which slot did so.
    pub fn cache_mapping(&self, view: &SegmentView, index: u16, slot: u32, fd: &Fd, write: bool) {
        let serial = view.data_serial.load(Relaxed);
        if self.table[usize::from(index)].cached_mapping(write).replace(fd, serial, write) {
            let owner = slot + 1;
            if view.cached_mappings.compare_exchange(0, owner, SeqCst, SeqCst).is_err_and(|other| other != owner) {
                view.cached_mappings.store(u32::MAX, SeqCst);
            }
        }
    }

    /// Empties the cached mappings of a destroyed segment, so that they do not keep its memory.
    pub fn drop_cached_mappings(&self, index: u16) {
        let entry = &self.table[usize::from(index)];
        entry.cached_mapping(false).clear();
        entry.cached_mapping(true).clear();
    }
}

/// Returns the place at which the kernel would map a segment.
fn place(address: usize, flags: i32) -> Result<Place> {
    let (round, remap) = (flags & libc::SHM_RND != 0, flags & libc::SHM_REMAP != 0);
    if address == 0 {
        return if remap { Err(Errno::INVAL) } else { Ok(Place::Anywhere) };
    }
    let rest = address % memory::page();
    let address = match rest {
        0 => address,
        _ if round => address - rest,
        _ => return Err(Errno::INVAL),
    };
    match (address, remap) {
        (0, true) => Err(Errno::INVAL),
        (_, true) => Ok(Place::Over(address)),
        (_, false) => Ok(Place::At(address)),
    }
}
