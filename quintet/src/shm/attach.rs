//! `shmat` and `shmdt`.
//!
//! # Safety
//!
//! What is unmapped here was mapped here and entered in the list of attachments; what is replaced
//! is what the caller of `SHM_REMAP` named.
#![allow(unsafe_code)]

use crate::layout::NEVER_RECYCLED;
use crate::object::permissions::{EXECUTE, READ, WRITE};
use crate::process::fork::Inside;
use crate::process::participants::unpack;
use crate::shm::attachments::AttachedRange;
use crate::shm::mapping::{PAGE, SegmentView, Segments};
use crate::sync::attach_count::ParticipantId;
use crate::sys::memory::{self, Access, Place};
use crate::sys::{fd_thread, file, ids};
use crate::types::error::Errno;
use crate::types::id::Id;
use std::sync::atomic::Ordering::*;

type Result<T> = std::result::Result<T, Errno>;

impl Segments {
    /// `shmat`, in the order in which the kernel checks. Returns the mapping and the segment's size in
    /// bytes: that of what was mapped, whatever the control file says later.
    ///
    /// # Safety
    ///
    /// That of [`Namespace::shmat`](crate::Namespace::shmat).
    pub unsafe fn attach(&self, id: i32, address: usize, flags: i32) -> Result<(AttachedRange, usize)> {
        let id = Id::from_raw(id)?;
        let place = place(address, flags)?;
        let write = flags & libc::SHM_RDONLY == 0;
        let access = Access { write, execute: flags & libc::SHM_EXEC != 0 };
        let wanted = READ | if write { WRITE } else { 0 } | if access.execute { EXECUTE } else { 0 };
        let _inside = Inside::enter();
        self.settled(id)?;
        let view = self.writable_at(id.index())?.filter(|view| view.writable && view.permits(wanted));
        let Some(view) = view else { return self.live(id).and(Err(Errno::ACCES)) };
        let me = self.core.participants.me()?;
        self.reserve_entry(&view, id.index(), me)?;
        let taken = self.attachments.reserve()?;
        if !view.attach_count().attach(id, me, &self.core.participants.probe(Some(&view))) {
            self.attachments.free(taken);
            self.destroy_if_unused(&view, false);
            return Err(Errno::INVAL);
        }
        match self.map_segment(&view, id, me, access, place) {
            Ok((mapped, size)) => {
                self.forget_replaced(&mapped);
                taken.fill(mapped);
                view.stamp_attach(ids::pid());
                Ok((mapped, size))
            }
            Err(e) => {
                self.attachments.free(taken);
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
        // As the kernel counts it: in bytes, before rounding.
        if let Place::At(at) = place
            && (at as u64).checked_add(size).is_none()
        {
            return Err(Errno::INVAL);
        }
        let huge = view.huge.load(Relaxed) != 0;
        let serial = view.data_serial.load(Acquire);
        let plain = !access.execute && place == Place::Anywhere && !huge;
        let cached_mapping = self.table[usize::from(id.index())].cached_mapping(access.write);
        let again = if plain { cached_mapping.duplicate(serial, len) } else { None };
        let address = match again {
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
        // A shortened file would cost the program a SIGBUS; another user's file is not this segment's.
        if (stat.st_size as u64) < len as u64 / PAGE * PAGE || stat.st_uid != view.owner {
            return Err(Errno::INVAL);
        }
        // SAFETY: only SHM_REMAP replaces, and its caller vouches for the address.
        let address = unsafe { memory::map(&fd, len, access, place) }.map_err(|e| match e {
            Errno::EXIST => Errno::INVAL,
            other => other,
        })?;
        // Who attaches a second time may do so often.
        if self.table[usize::from(index)].cached_mapping(access.write).is_seen_again(view.data_serial.load(Relaxed)) {
            self.cache_mapping(view, index, me.slot, &fd, access.write);
        }
        Ok(address)
    }

    /// Attachments whose memory the new one has taken: all of it, by `SHM_REMAP` or because the program had
    /// unmapped it, or a part.
    fn forget_replaced(&self, new: &AttachedRange) {
        while let Some((taken, old)) = self.attachments.take(|old| old.within(new.address, new.len)) {
            self.attachments.free(taken);
            self.leave_segment(old.id);
        }
        self.attachments.tear(|old| old.overlaps(new.address, new.len));
    }

    /// `shmdt`.
    ///
    /// # Safety
    ///
    /// That of [`Namespace::shmdt`](crate::Namespace::shmdt).
    pub unsafe fn shmdt(&self, address: usize) -> Result<()> {
        if !address.is_multiple_of(memory::page()) {
            return Err(Errno::INVAL);
        }
        let _inside = Inside::enter();
        let (taken, mapped) = self.attachments.take(|mapped| mapped.address == address).ok_or(Errno::INVAL)?;
        if mapped.torn {
            self.unmap_pieces(&mapped);
        } else {
            // SAFETY: the list says that the whole range is this attachment's, and the caller has done with it.
            let unmapped = unsafe { memory::unmap(mapped.address, mapped.len) };
            if let Err(e) = unmapped {
                // The kernel has no memory for it: nothing has changed.
                taken.fill(mapped);
                return Err(e);
            }
        }
        self.attachments.free(taken);
        self.leave_segment(mapped.id);
        Ok(())
    }

    /// Unmaps what is left of an attachment of which the program has unmapped parts itself: there
    /// may be something else by now.
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
                // SAFETY: a piece of this very attachment, and the caller has done with it.
                let _ = unsafe { memory::unmap(from, to - from) };
            }
        }
    }

    /// One attachment of this process to the segment has ended.
    fn leave_segment(&self, id: Id) {
        let (Ok(Some(view)), Some(me)) = (self.at(id.index()), self.core.participants.me_if_joined()) else { return };
        if view.head().id == id && view.writable {
            // Who died before goes first.
            let living = self.core.participants.probe(Some(&view));
            view.attach_count().attached(Some(me), &living);
            view.stamp_detach(ids::pid());
            view.attach_count().withdraw(me, 1);
            self.destroy_if_unused_with(&view, true, &living);
        }
    }

    /// The program has unmapped a range by itself: attachments that lay in it have ended, those that
    /// overlap it have lost a part.
    pub fn unmapped(&self, address: usize, len: usize) {
        if self.attachments.is_empty() {
            return;
        }
        let _inside = Inside::enter();
        self.forget_replaced(&AttachedRange { address, len, id: Id::new(0, 0), torn: false });
    }

    /// Gives `participant` an entry for each attachment of this process, and stamps the segments as
    /// the kernel does.
    pub fn announce_all(&self, participant: ParticipantId) {
        self.attachments.each(|attachment| {
            if let Ok(Some(view)) = self.at(attachment.id.index())
                && view.writable
                && self.reserve_entry(&view, attachment.id.index(), participant).is_ok()
            {
                // Participants that exited before leave first.
                let participants = &self.core.participants;
                view.attach_count().attached(participants.me_word().and_then(unpack), &participants.probe(Some(&view)));
                view.attach_count().announce(participant, 1);
                view.stamp_attach(ids::pid());
            }
        });
    }

    /// Gives this process its entries, where no fork handler has.
    pub fn announce_late(&self) {
        if let Ok(me) = self.core.participants.me() {
            self.announce_all(me);
        }
    }

    /// The process is about to end: its attachments end now. See `process::at_exit`.
    pub fn leave(&self) {
        if self.attachments.is_empty() {
            return;
        }
        let _inside = Inside::enter();
        while let Some((taken, mapped)) = self.attachments.take(|_| true) {
            self.attachments.free(taken);
            // What this process still has mapped must not become another segment's memory.
            if let Ok(Some(view)) = self.at(mapped.id.index())
                && view.head().id == mapped.id
                && view.writable
            {
                view.recycled_mode.store(NEVER_RECYCLED, Relaxed);
            }
            self.leave_segment(mapped.id);
        }
        self.core.participants.say_free();
    }
}

/// Where the kernel would put it.
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
