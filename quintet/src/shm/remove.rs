//! `IPC_RMID` and what follows: the last detach, the dead, what a dead remover left half done.

use crate::layout::{Mechanism, RECYCLED_BYTES};
use crate::msg::mapping::QueueView;
use crate::object::core::Engine;
use crate::object::registry::Held;
use crate::process::fork::Inside;
use crate::process::participants::LivenessProbe;
use crate::sem::mapping::SetView;
use crate::shm::create::PAGE;
use crate::shm::mapping::SegmentView;
use crate::sync::attach_count::{Head, Liveness, ParticipantId, State};
use crate::sys::file;
use crate::sys::file::PathBuffer;
use crate::sys::{credentials, fd_thread};
use crate::types::error::Errno;
use crate::types::id::{Id, MAX_OBJECTS};
use crate::types::key::Key;
use rustix::fs;
use std::sync::atomic::Ordering::*;

type Result<T> = std::result::Result<T, Errno>;

impl Engine {
    /// The segment of an identifier, if it stands.
    pub fn live(&self, id: Id) -> Result<SegmentView> {
        let view = self.control(id.index())?.ok_or(Errno::INVAL)?;
        let head = view.head();
        if head.id == id && head.is_live() { Ok(view) } else { Err(Errno::INVAL) }
    }

    /// Whether a segment is at an index, whatever the registry says.
    pub fn is_segment_live(&self, index: u16) -> bool {
        matches!(self.control(index), Ok(Some(view)) if view.head().is_live())
    }

    /// As [`Engine::live`], after what the dead have left has been settled: for calls that change the segment.
    pub fn settled(&self, id: Id) -> Result<SegmentView> {
        let view = self.live(id)?;
        let living = self.living(Some(&view));
        if view.attach_count().attached(self.me_if_joined(), &living) == 0 && (view.head().is_dest() || self.forced()) {
            self.destroy_if_unused_with(&view, living.reaped.get(), &living);
            if view.head().is_dest() && !view.writable {
                // It has gone, and only waits for somebody who may clear it.
                return Err(Errno::INVAL);
            }
        }
        self.live(id)
    }

    /// As [`Engine::settled`], for what only owner, creator and the privileged may do.
    pub fn controllable(&self, id: Id) -> Result<SegmentView> {
        self.settled(id)?;
        let view = self.writable_control(id.index())?.ok_or(Errno::INVAL)?;
        if view.may_control() && view.writable { Ok(view) } else { self.live(id).and(Err(Errno::PERM)) }
    }

    /// `IPC_RMID`.
    pub fn shm_remove(&self, id: i32) -> Result<()> {
        let id = Id::from_raw(id)?;
        let _inside = Inside::enter();
        let view = self.controllable(id)?;
        let held = self.lock()?;
        if view.head().id != id || !view.head().is_live() {
            return Err(Errno::INVAL);
        }
        let gone = view.attach_count().try_destroy(id, Some(held.me), true, false, &self.living(Some(&view)));
        self.drop_key(&held, &view, id);
        if gone {
            self.clear(&held, &view, id);
        }
        Ok(())
    }

    fn drop_key(&self, held: &Held<'_>, view: &SegmentView, id: Id) {
        self.unlink_key(held, Mechanism::Shm, view.key(), id);
        view.key.store(Key::PRIVATE.raw() as u32, Relaxed);
    }

    /// Ends a removed segment (with `shm_rmid_forced` any) that nobody is attached to any more. `detached`:
    /// an attachment has just ended; else one that is not removed is its creator's to keep.
    pub fn destroy_if_unused(&self, view: &SegmentView, detached: bool) {
        self.destroy_if_unused_with(view, detached, &self.living(Some(view)));
    }

    /// As [`Engine::destroy_if_unused`], where it is known already how to ask for the living.
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
        view.attach_count().try_destroy(head.id, self.me_if_joined(), false, forced, living);
        if view.head().state == State::Gone
            && let Ok(held) = self.lock()
        {
            self.clear(&held, view, head.id);
        }
    }

    /// Whether `shm_rmid_forced` ends a segment once nobody is attached: an attachment has just ended, or its creator has.
    fn forced_to_end(&self, view: &SegmentView, detached: bool, living: &LivenessProbe<'_>) -> bool {
        self.forced() && (detached || !living.alive(creator(view)))
    }

    /// Whether `shm_rmid_forced` has ended the segment: nobody is attached, and the last attachment has just been found to
    /// be a dead one's, or its creator is gone.
    pub fn is_forced_away(&self, view: &SegmentView) -> bool {
        if !self.forced() || !view.writable {
            return false;
        }
        let living = self.living(Some(view));
        view.attach_count().attached(self.me_if_joined(), &living) == 0 && self.forced_to_end(view, living.reaped.get(), &living)
    }

    /// Ends a segment that [`Engine::is_forced_away`].
    pub fn clear_forced(&self, held: &Held<'_>, view: &SegmentView, id: Id) {
        if view.attach_count().try_destroy(id, Some(held.me), false, true, &self.living(Some(view))) {
            self.clear(held, view, id);
        }
    }

    /// Clears what is left of a segment that is `Gone`.
    fn clear(&self, held: &Held<'_>, view: &SegmentView, id: Id) {
        let head = view.head();
        if head.id != id || head.state != State::Gone {
            return;
        }
        self.drop_key(held, view, id);
        let pages = view.pages();
        if !self.keep_for_reuse(view, id.index(), pages) {
            self.discard_data(view, id.index(), held.me);
        }
        let class = self.registry.class(Mechanism::Shm);
        class.discount(pages);
        view.head.store(Head::new(id, State::Free).pack(), SeqCst);
        self.mark_used(held, Mechanism::Shm, id.index(), false);
    }

    /// One small segment's memory waits for its owner's next one.
    fn keep_for_reuse(&self, view: &SegmentView, index: u16, pages: u64) -> bool {
        let class = self.registry.class(Mechanism::Shm);
        let rights = view.rights();
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
    pub fn drop_recycled(&self, held: &Held<'_>) {
        let recycled = self.recycled_index();
        self.registry.class(Mechanism::Shm).recycled.store(-1, Relaxed);
        if let Some(index) = recycled.filter(|index| !self.is_used(Mechanism::Shm, *index) && !self.is_segment_live(*index))
            && let Ok(Some(view)) = self.control(index)
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

    /// See [`crate::api::namespace::Namespace::sweep`].
    pub fn sweep(&self) -> Result<()> {
        let _inside = Inside::enter();
        let held = self.lock()?;
        self.sweep_held(&held);
        self.drop_recycled(&held);
        self.sweep_names(&held);
        Ok(())
    }

    /// Takes away what names stayed behind because whoever ended their segments was not their owner.
    fn sweep_names(&self, held: &Held<'_>) {
        for name in self.entries("key") {
            let Some((class, key)) = name.split_once('.').and_then(|(class, key)| Some((class, key.get(..8)?))) else { continue };
            let Ok(key) = u32::from_str_radix(key, 16).map(|raw| Key::new(raw as i32)) else { continue };
            match class {
                "shm" => self.drop_stale_names::<SegmentView>(held, key),
                "sem" => self.drop_stale_names::<SetView<'_>>(held, key),
                "msg" => self.drop_stale_names::<QueueView<'_>>(held, key),
                _ => {}
            }
        }
        for name in self.entries("shm") {
            let index = name.strip_suffix(".data").and_then(|index| index.parse::<u16>().ok());
            let unused = |index: &u16| u32::from(*index) < MAX_OBJECTS && !self.is_used(Mechanism::Shm, *index);
            if let Some(index) = index.filter(unused).filter(|index| !self.is_segment_live(*index)) {
                let _ = fs::unlink(self.data_path(index).c_str());
            }
        }
    }

    /// The names in one of the namespace's folders.
    fn entries(&self, folder: &str) -> Vec<String> {
        let folder = PathBuffer::new(self.directory(), format_args!("/{folder}"));
        let names = file::entries(folder.c_str()).unwrap_or_default();
        names.into_iter().filter_map(|name| name.into_string().ok()).collect()
    }

    /// Strikes out the dead, and ends what only they kept.
    pub fn sweep_held(&self, held: &Held<'_>) {
        for index in self.used_indexes(Mechanism::Shm) {
            let Ok(Some(view)) = self.writable_control(index) else { continue };
            if !view.writable {
                continue;
            }
            let Head { id, state, .. } = view.head();
            if state == State::Making {
                // Nobody is at it while the lock is held.
                self.abort_create(held, &view, index);
                continue;
            }
            let living = self.living(Some(&view));
            view.attach_count().attached(Some(held.me), &living);
            let forced = self.forced_to_end(&view, living.reaped.get(), &living);
            view.attach_count().try_destroy(id, Some(held.me), false, forced, &living);
            if view.head().state == State::Gone {
                self.clear(held, &view, id);
            }
        }
        self.sweep_sets(held);
        self.sweep_queues(held);
        self.sweep_slots();
    }

    /// The lock's last owner died holding it: undoes what it had half made, ends what it had half removed,
    /// and counts anew.
    pub fn repair(&self, held: &Held<'_>) -> Result<()> {
        let class = self.registry.class(Mechanism::Shm);
        class.recycled.store(-1, Relaxed);
        let (mut in_use, mut pages) = (0, 0u64);
        for index in self.used_indexes(Mechanism::Shm) {
            let view = match self.writable_control(index) {
                Ok(Some(view)) => view,
                // Nothing was made there yet.
                Ok(None) => {
                    self.mark_used(held, Mechanism::Shm, index, false);
                    continue;
                }
                Err(_) => continue,
            };
            let head = view.head();
            // What is another user's to mend is counted all the same.
            if view.writable {
                match head.state {
                    State::Free | State::Making => {
                        self.abort_create(held, &view, index);
                        continue;
                    }
                    State::Dest | State::CheckingDest => self.drop_key(held, &view, head.id),
                    State::Live | State::Checking => self.repair_permissions(&view, index),
                    State::Gone => {}
                }
            }
            in_use += 1;
            pages = pages.saturating_add(view.pages());
        }
        class.in_use.store(in_use, Relaxed);
        class.sum.store(pages, Relaxed);
        self.repair_sets(held);
        self.repair_queues(held);
        self.sweep_held(held);
        Ok(())
    }

    /// Undoes what a dead creator has half made. While its file is another user's to remove, the index stays in use.
    fn abort_create(&self, held: &Held<'_>, view: &SegmentView, index: u16) {
        let id = view.head().id;
        self.drop_key(held, view, id);
        self.discard_data(view, index, held.me);
        if fs::lstat(self.data_path(index).c_str()).is_err() {
            view.head.store(Head::new(id, State::Free).pack(), SeqCst);
            self.mark_used(held, Mechanism::Shm, index, false);
        }
    }

    /// A dead `IPC_SET` may have changed the files, or one of them, and not the rights: they follow the rights again.
    fn repair_permissions(&self, view: &SegmentView, index: u16) {
        let (perm, _) = view.permissions();
        // Only the files' owner can have changed them, and can change them back.
        let _ = self.set_file_rights(index, &perm);
    }
}

/// Who made the segment.
pub fn creator(view: &SegmentView) -> ParticipantId {
    ParticipantId::from_word(view.creator.load(Relaxed))
}
