//! `IPC_RMID`, and the end of a segment with its last attachment.

use crate::layout::RECYCLED_BYTES;
use crate::object::core::ObjectClass;
use crate::object::registry::RegistryGuard;
use crate::process::fork::Inside;
use crate::process::liveness::LivenessProbe;
use crate::shm::mapping::{PAGE, SegmentView, Segments, creator};
use crate::sync::attach_count::{Head, Liveness, ParticipantId, State};
use crate::sys::{credentials, fd_thread, file};
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::mechanism::Mechanism;
use rustix::fs;
use std::sync::atomic::Ordering::*;

type Result<T> = std::result::Result<T, Errno>;

impl Segments {
    /// `IPC_RMID`.
    pub fn shm_remove(&self, id: i32) -> Result<()> {
        let id = Id::from_raw(id)?;
        let _inside = Inside::enter();
        let view = self.controllable(id)?;
        let held = self.core.lock()?;
        if view.head().id != id || !view.head().is_live() {
            return Err(Errno::INVAL);
        }
        let gone = view.attach_count().try_destroy(id, Some(held.me), true, false, &self.core.participants.probe(Some(&view)));
        self.drop_key(&held, &view, id);
        if gone {
            self.clear(&held, &view, id);
        }
        Ok(())
    }

    pub fn drop_key(&self, held: &RegistryGuard<'_>, view: &SegmentView, id: Id) {
        self.core.unlink_key(held, Mechanism::Shm, view.key(), id);
        view.key.store(Key::PRIVATE.raw() as u32, Relaxed);
    }

    /// Ends a removed segment (with `shm_rmid_forced` any) that nobody is attached to any more. `detached`:
    /// an attachment has just ended; else one that is not removed is its creator's to keep.
    pub fn destroy_if_unused(&self, view: &SegmentView, detached: bool) {
        self.destroy_if_unused_with(view, detached, &self.core.participants.probe(Some(view)));
    }

    /// As [`Segments::destroy_if_unused`], where it is known already how to ask for the living.
    pub fn destroy_if_unused_with(&self, view: &SegmentView, detached: bool, living: &LivenessProbe<'_>) {
        let head = view.head();
        let forced = self.forced_to_end(view, detached, living);
        let ripe = match head.state {
            State::Dest | State::CheckingDest | State::Gone => true,
            State::Live | State::Checking => forced,
            _ => false,
        };
        if !ripe || !view.writable {
            return;
        }
        view.attach_count().try_destroy(head.id, self.core.participants.me_if_joined(), false, forced, living);
        if view.head().state == State::Gone
            && let Ok(held) = self.core.lock()
        {
            self.clear(&held, view, head.id);
        }
    }

    /// Whether `shm_rmid_forced` ends a segment once nobody is attached: an attachment has just ended, or its creator has.
    pub fn forced_to_end(&self, view: &SegmentView, detached: bool, living: &LivenessProbe<'_>) -> bool {
        self.core.forced() && (detached || !living.alive(creator(view)))
    }

    /// Whether `shm_rmid_forced` has ended the segment: nobody is attached, and the last attachment has just been found to
    /// be a dead one's, or its creator is gone.
    pub fn is_forced_away(&self, view: &SegmentView) -> bool {
        if !self.core.forced() || !view.writable {
            return false;
        }
        let living = self.core.participants.probe(Some(view));
        view.attach_count().attached(self.core.participants.me_if_joined(), &living) == 0
            && self.forced_to_end(view, living.reaped.get(), &living)
    }

    /// Ends a segment that [`Segments::is_forced_away`].
    pub fn clear_forced(&self, held: &RegistryGuard<'_>, view: &SegmentView, id: Id) {
        if view.attach_count().try_destroy(id, Some(held.me), false, true, &self.core.participants.probe(Some(view))) {
            self.clear(held, view, id);
        }
    }

    /// Clears what is left of a segment that is `Gone`.
    pub fn clear(&self, held: &RegistryGuard<'_>, view: &SegmentView, id: Id) {
        let head = view.head();
        if head.id != id || head.state != State::Gone {
            return;
        }
        self.drop_key(held, view, id);
        let pages = view.pages();
        if !self.keep_for_reuse(view, id.index(), pages) {
            self.discard_data(view, id.index(), held.me);
        }
        let class = self.core.registry.class(Mechanism::Shm);
        class.discount(pages);
        view.head.store(Head::new(id, State::Free).pack(), SeqCst);
        self.core.mark_used(held, Mechanism::Shm, id.index(), false);
    }

    /// One small segment's memory waits for its owner's next one.
    fn keep_for_reuse(&self, view: &SegmentView, index: u16, pages: u64) -> bool {
        let class = self.core.registry.class(Mechanism::Shm);
        let rights = view.stored_permissions();
        let suits = pages * PAGE <= RECYCLED_BYTES
            && class.recycled.load(Relaxed) == -1
            && view.recycled_mode.load(Relaxed) == rights.mode
            && view.huge.load(Relaxed) == 0
            && (rights.uid, rights.gid) == (view.owner, view.cgid.load(Relaxed))
            && credentials::euid() == view.owner;
        if suits {
            view.recycled_pages.store(pages as u32, Relaxed);
            class.recycled.store(index.into(), Relaxed);
        }
        suits
    }

    /// Gives up the memory that waits for reuse.
    pub fn drop_recycled(&self, held: &RegistryGuard<'_>) {
        let recycled = self.core.recycled_index();
        self.core.registry.class(Mechanism::Shm).recycled.store(-1, Relaxed);
        if let Some(index) = recycled.filter(|index| !self.core.is_used(Mechanism::Shm, *index) && !self.is_live(*index))
            && let Ok(Some(view)) = self.at(index)
            && view.writable
        {
            view.recycled_pages.store(0, Relaxed);
            self.discard_data(&view, index, held.me);
        }
    }

    /// Frees a data file's memory, also where some process keeps a page of it mapped or the name is not ours to take.
    pub fn discard_data(&self, view: &SegmentView, index: u16, me: ParticipantId) {
        let path = self.data_path(index);
        let cached_mappings = view.cached_mappings.load(SeqCst);
        if cached_mappings != 0 {
            self.drop_cached_mappings(index);
        }
        let elsewhere = cached_mappings != 0 && cached_mappings != me.slot + 1;
        // Not shortened, where it can be helped: if the control file has lied, somebody is attached, and finds zeroes instead of a SIGBUS.
        let free = || {
            let _ = fd_thread::run(|| {
                let (fd, stat) = file::open(path.c_str(), true)?;
                file::empty(&fd, stat.st_size as u64)
            });
        };
        if elsewhere {
            free();
        }
        match fs::unlink(path.c_str()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(_) => free(),
        }
    }
}
