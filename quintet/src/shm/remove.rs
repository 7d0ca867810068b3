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
        let guard = self.core.lock()?;
        if view.head().id != id || !view.head().is_live() {
            return Err(Errno::INVAL);
        }
        let gone = view.attach_count().try_destroy(id, Some(guard.me), true, false, &self.core.participants.probe(Some(&view)));
        self.drop_key(&guard, &view, id);
        if gone {
            self.clear(&guard, &view, id);
        }
        Ok(())
    }

    /// Removes the key of a segment.
    pub fn drop_key(&self, guard: &RegistryGuard<'_>, view: &SegmentView, id: Id) {
        self.core.unlink_key(guard, Mechanism::Shm, view.key(), id);
        view.key.store(Key::PRIVATE.raw() as u32, Relaxed);
    }

    /// Destroys a segment that is marked for destruction, once no participant is attached.
    ///
    /// With `shm_rmid_forced`, destroys an unmarked segment, too, if `detached` says that an
    /// attachment has just ended, or if its creator exited.
    pub fn destroy_if_unused(&self, view: &SegmentView, detached: bool) {
        self.destroy_if_unused_with(view, detached, &self.core.participants.probe(Some(view)));
    }

    /// As [`Segments::destroy_if_unused`], with the caller's probe.
    pub fn destroy_if_unused_with(&self, view: &SegmentView, detached: bool, probe: &LivenessProbe<'_>) {
        let head = view.head();
        let forced = self.is_destroy_forced(view, detached, probe);
        let due = match head.state {
            State::Dest | State::CheckingDest | State::Gone => true,
            State::Live | State::Checking => forced,
            _ => false,
        };
        if !due || !view.writable {
            return;
        }
        view.attach_count().try_destroy(head.id, self.core.participants.me_if_joined(), false, forced, probe);
        if view.head().state == State::Gone
            && let Ok(guard) = self.core.lock()
        {
            self.clear(&guard, view, head.id);
        }
    }

    /// Returns `true` if `shm_rmid_forced` destroys the segment once no participant is attached: an
    /// attachment has just ended (`detached`), or the creator exited.
    pub fn is_destroy_forced(&self, view: &SegmentView, detached: bool, probe: &LivenessProbe<'_>) -> bool {
        self.core.rmid_forced() && (detached || !probe.alive(creator(view)))
    }

    /// Returns `true` if `shm_rmid_forced` requires that the segment be destroyed now.
    ///
    /// No participant is attached. The creator exited, or this call found that the last attached
    /// participant exited.
    pub fn must_destroy(&self, view: &SegmentView) -> bool {
        if !self.core.rmid_forced() || !view.writable {
            return false;
        }
        let probe = self.core.participants.probe(Some(view));
        view.attach_count().attached(self.core.participants.me_if_joined(), &probe) == 0
            && self.is_destroy_forced(view, probe.reaped.get(), &probe)
    }

    /// Destroys a segment for which [`Segments::must_destroy`] returned `true`.
    pub fn destroy_forced(&self, guard: &RegistryGuard<'_>, view: &SegmentView, id: Id) {
        if view.attach_count().try_destroy(id, Some(guard.me), false, true, &self.core.participants.probe(Some(view))) {
            self.clear(guard, view, id);
        }
    }

    /// Frees the key, the memory and the index of a segment in the state `Gone`.
    pub fn clear(&self, guard: &RegistryGuard<'_>, view: &SegmentView, id: Id) {
        let head = view.head();
        if head.id != id || head.state != State::Gone {
            return;
        }
        self.drop_key(guard, view, id);
        let pages = view.pages();
        if !self.recycle(view, id.index(), pages) {
            self.discard_data(view, id.index(), guard.me);
        }
        let class = self.core.registry.class(Mechanism::Shm);
        class.discount(pages);
        view.head.store(Head::new(id, State::Free).pack(), SeqCst);
        self.core.mark_used(guard, Mechanism::Shm, id.index(), false);
    }

    /// Keeps the memory of one small segment for the next segment of its owner. Returns `false` if
    /// the memory does not suit.
    fn recycle(&self, view: &SegmentView, index: u16, pages: u64) -> bool {
        let class = self.core.registry.class(Mechanism::Shm);
        let stored = view.stored_permissions();
        let suitable = pages * PAGE <= RECYCLED_BYTES
            && class.recycled.load(Relaxed) == -1
            && view.recycled_mode.load(Relaxed) == stored.mode
            && view.huge.load(Relaxed) == 0
            && (stored.uid, stored.gid) == (view.owner, view.cgid.load(Relaxed))
            && credentials::euid() == view.owner;
        if suitable {
            view.recycled_pages.store(pages as u32, Relaxed);
            class.recycled.store(index.into(), Relaxed);
        }
        suitable
    }

    /// Frees the memory that is kept for reuse.
    pub fn discard_recycled(&self, guard: &RegistryGuard<'_>) {
        let recycled = self.core.recycled_index();
        self.core.registry.class(Mechanism::Shm).recycled.store(-1, Relaxed);
        if let Some(index) = recycled.filter(|index| !self.core.is_used(Mechanism::Shm, *index) && !self.is_live(*index))
            && let Ok(Some(view)) = self.at(index)
            && view.writable
        {
            view.recycled_pages.store(0, Relaxed);
            self.discard_data(&view, index, guard.me);
        }
    }

    /// Removes a data file and frees its memory.
    ///
    /// Frees the memory even if another process has the file mapped, or if the caller may not
    /// remove the name.
    pub fn discard_data(&self, view: &SegmentView, index: u16, me: ParticipantId) {
        let path = self.data_path(index);
        let cached_mappings = view.cached_mappings.load(SeqCst);
        if cached_mappings != 0 {
            self.drop_cached_mappings(index);
        }
        let cached_elsewhere = cached_mappings != 0 && cached_mappings != me.slot + 1;
        // `empty` avoids truncation where it can. If a peer falsified the control file, a process
        // may still be attached. It then reads zeroes and gets no SIGBUS.
        let free = || {
            let _ = fd_thread::run(|| {
                let (fd, stat) = file::open(path.c_str(), true)?;
                file::empty(&fd, stat.st_size as u64)
            });
        };
        if cached_elsewhere {
            free();
        }
        match fs::unlink(path.c_str()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(_) => free(),
        }
    }
}
