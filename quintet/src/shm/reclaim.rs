//! Repair of segments after a crash, and reclaiming after participants that exited.

use crate::object::core::ObjectClass;
use crate::object::registry::RegistryGuard;
use crate::process::liveness::DeathObserver;
use crate::process::participants::Reap;
use crate::shm::mapping::{SegmentView, Segments};
use crate::sync::attach_count::{Head, Liveness, ParticipantId, State};
use crate::sys::clock;
use crate::types::id::MAX_OBJECTS;
use crate::types::key::Key;
use crate::types::mechanism::Mechanism;
use rustix::fs;
use std::sync::atomic::Ordering::*;

impl ObjectClass for Segments {
    fn is_live(&self, index: u16) -> bool {
        matches!(self.at(index), Ok(Some(view)) if view.head().is_live())
    }

    /// Repairs the segments after the owner of the lock exited: undoes an unfinished creation,
    /// finishes an unfinished removal, and recounts segments and pages.
    fn repair(&self, guard: &RegistryGuard<'_>) {
        let class = self.core.registry.class(Mechanism::Shm);
        class.recycled.store(-1, Relaxed);
        let (mut in_use, mut pages) = (0, 0u64);
        for index in self.core.used_indexes(Mechanism::Shm) {
            let view = match self.writable_at(index) {
                Ok(Some(view)) => view,
                // The creation had not made the control file yet.
                Ok(None) => {
                    self.core.mark_used(guard, Mechanism::Shm, index, false);
                    continue;
                }
                Err(_) => continue,
            };
            let head = view.head();
            // This process cannot repair a read-only segment, but counts it.
            if view.writable {
                match head.state {
                    State::Free | State::Making => {
                        self.abort_create(guard, &view, index);
                        continue;
                    }
                    State::Dest | State::CheckingDest => self.drop_key(guard, &view, head.id),
                    State::Live | State::Checking => self.repair_permissions(&view, index),
                    State::Gone => {}
                }
            }
            in_use += 1;
            pages = pages.saturating_add(view.pages());
        }
        class.in_use.store(in_use, Relaxed);
        class.sum.store(pages, Relaxed);
    }

    /// Removes the attachments of participants that exited, and destroys segments that only they
    /// kept.
    fn sweep(&self, guard: &RegistryGuard<'_>) {
        for index in self.core.used_indexes(Mechanism::Shm) {
            let Ok(Some(view)) = self.writable_at(index) else { continue };
            if !view.writable {
                continue;
            }
            let Head { id, state, .. } = view.head();
            if state == State::Making {
                // No process can be creating it, because the caller holds the lock.
                self.abort_create(guard, &view, index);
                continue;
            }
            let probe = self.core.participants.probe(Some(&view));
            view.attach_count().attached(Some(guard.me), &probe);
            let forced = self.is_destroy_forced(&view, probe.reaped.get(), &probe);
            view.attach_count().try_destroy(id, Some(guard.me), false, forced, &probe);
            if view.head().state == State::Gone {
                self.clear(guard, &view, id);
            }
        }
    }

    fn trim(&self, guard: &RegistryGuard<'_>) {
        self.discard_recycled(guard);
        for name in self.core.entries("shm") {
            let index = name.strip_suffix(".data").and_then(|index| index.parse::<u16>().ok());
            let unused = |index: &u16| u32::from(*index) < MAX_OBJECTS && !self.core.is_used(Mechanism::Shm, *index);
            if let Some(index) = index.filter(unused).filter(|index| !self.is_live(*index)) {
                let _ = fs::unlink(self.data_path(index).c_str());
            }
        }
    }

    fn drop_stale_names(&self, guard: &RegistryGuard<'_>, key: Key) {
        self.core.drop_stale_names::<SegmentView>(self, guard, key);
    }
}

impl Reap for Segments {
    fn reap(&self, exited: ParticipantId) {
        for index in self.core.used_indexes(Mechanism::Shm) {
            if let Ok(Some(view)) = self.writable_at(index)
                && view.writable
                && view.attach_count().reap(exited)
            {
                self.core.participants.probe(Some(&view)).reaped(exited);
            }
        }
    }
}

impl DeathObserver for SegmentView {
    /// Stamps the segment as a detach by the process would.
    fn participant_died(&self, pid: u32) -> bool {
        if !self.writable {
            return false;
        }
        self.dtime.store(clock::now() as u64, Relaxed);
        if pid != 0 {
            self.lpid.store(pid, Relaxed);
        }
        true
    }
}

impl Segments {
    /// Undoes an unfinished creation. The index stays in use while only another user may remove the
    /// data file.
    fn abort_create(&self, guard: &RegistryGuard<'_>, view: &SegmentView, index: u16) {
        let id = view.head().id;
        self.drop_key(guard, view, id);
        self.discard_data(view, index, guard.me);
        if fs::lstat(self.data_path(index).c_str()).is_err() {
            view.head.store(Head::new(id, State::Free).pack(), SeqCst);
            self.core.mark_used(guard, Mechanism::Shm, index, false);
        }
    }

    /// Sets the permissions of both files to those of the segment.
    ///
    /// A process may exit during `IPC_SET` after it has changed a file but before it has changed
    /// the segment's permissions.
    fn repair_permissions(&self, view: &SegmentView, index: u16) {
        let (perm, _) = view.permissions();
        // Failure is harmless: only the owner of the files can have changed them, and can change
        // them back.
        let _ = self.set_file_permissions(index, &perm);
    }
}
