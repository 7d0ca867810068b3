//! Reclaiming what participants that exited have left in segments.

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

    /// The lock's last owner died holding it: undoes what it had half made, ends what it had half removed,
    /// and counts anew.
    fn repair(&self, held: &RegistryGuard<'_>) {
        let class = self.core.registry.class(Mechanism::Shm);
        class.recycled.store(-1, Relaxed);
        let (mut in_use, mut pages) = (0, 0u64);
        for index in self.core.used_indexes(Mechanism::Shm) {
            let view = match self.writable_at(index) {
                Ok(Some(view)) => view,
                // Nothing was made there yet.
                Ok(None) => {
                    self.core.mark_used(held, Mechanism::Shm, index, false);
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
    }

    /// Strikes out the dead, and ends what only they kept.
    fn sweep(&self, held: &RegistryGuard<'_>) {
        for index in self.core.used_indexes(Mechanism::Shm) {
            let Ok(Some(view)) = self.writable_at(index) else { continue };
            if !view.writable {
                continue;
            }
            let Head { id, state, .. } = view.head();
            if state == State::Making {
                // Nobody is at it while the lock is held.
                self.abort_create(held, &view, index);
                continue;
            }
            let living = self.core.participants.probe(Some(&view));
            view.attach_count().attached(Some(held.me), &living);
            let forced = self.forced_to_end(&view, living.reaped.get(), &living);
            view.attach_count().try_destroy(id, Some(held.me), false, forced, &living);
            if view.head().state == State::Gone {
                self.clear(held, &view, id);
            }
        }
    }

    fn trim(&self, held: &RegistryGuard<'_>) {
        self.drop_recycled(held);
        for name in self.core.entries("shm") {
            let index = name.strip_suffix(".data").and_then(|index| index.parse::<u16>().ok());
            let unused = |index: &u16| u32::from(*index) < MAX_OBJECTS && !self.core.is_used(Mechanism::Shm, *index);
            if let Some(index) = index.filter(unused).filter(|index| !self.is_live(*index)) {
                let _ = fs::unlink(self.data_path(index).c_str());
            }
        }
    }

    fn drop_stale_names(&self, held: &RegistryGuard<'_>, key: Key) {
        self.core.drop_stale_names::<SegmentView>(self, held, key);
    }
}

impl Reap for Segments {
    fn reap(&self, dead: ParticipantId) {
        for index in self.core.used_indexes(Mechanism::Shm) {
            if let Ok(Some(view)) = self.writable_at(index)
                && view.writable
                && view.attach_count().reap(dead)
            {
                self.core.participants.probe(Some(&view)).reaped(dead);
            }
        }
    }
}

impl DeathObserver for SegmentView {
    /// Stamps the segment as a detach by the process would have.
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
    /// Undoes what a dead creator has half made. While its file is another user's to remove, the index stays in use.
    fn abort_create(&self, held: &RegistryGuard<'_>, view: &SegmentView, index: u16) {
        let id = view.head().id;
        self.drop_key(held, view, id);
        self.discard_data(view, index, held.me);
        if fs::lstat(self.data_path(index).c_str()).is_err() {
            view.head.store(Head::new(id, State::Free).pack(), SeqCst);
            self.core.mark_used(held, Mechanism::Shm, index, false);
        }
    }

    /// A dead `IPC_SET` may have changed the files, or one of them, and not the rights: they follow the rights again.
    fn repair_permissions(&self, view: &SegmentView, index: u16) {
        let (perm, _) = view.permissions();
        // Only the files' owner can have changed them, and can change them back.
        let _ = self.set_file_permissions(index, &perm);
    }
}
