//! Reclaiming what participants that exited have left in sets.

use crate::layout::ObjectState;
use crate::object::core::ObjectClass;
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::object::registry::RegistryGuard;
use crate::process::acquire::Patience;
use crate::sem::mapping::{SetView, Sets};
use crate::types::key::Key;
use crate::types::kind::Kind;
use crate::types::mechanism::Mechanism;
use rustix::fs;
use std::sync::atomic::Ordering::*;

impl ObjectClass for Sets {
    fn is_live(&self, index: u16) -> bool {
        matches!(self.at(index), Ok(Some(set)) if set.is_live())
    }

    /// The registry's lock was a dead one's: what it had half made or half removed is ended, and the sets are counted anew.
    fn repair(&self, held: &RegistryGuard<'_>) {
        let class = self.core.registry.class(Mechanism::Sem);
        let (mut in_use, mut sum) = (0, 0);
        for index in self.core.used_indexes(Mechanism::Sem) {
            let set = match self.writable_at(index) {
                Ok(Some(set)) => set,
                Ok(None) => {
                    let _ = fs::unlink(self.path(index).c_str());
                    self.core.mark_used(held, Mechanism::Sem, index, false);
                    continue;
                }
                Err(_) => continue,
            };
            let (id, state) = set.head();
            if state != ObjectState::Live && set.writable() {
                self.destroy_soon(held, set, id);
                continue;
            }
            if set.writable() && self.core.kind() == Kind::Shared {
                // A dead `IPC_SET` may have changed the file's rights and not the set's. Only the owner can, and can change them back.
                let _ = self.set_file_permissions(index, &set.permissions().0);
            }
            in_use += 1;
            sum += u64::from(set.nsems());
        }
        class.in_use.store(in_use, Relaxed);
        class.sum.store(sum, Relaxed);
    }

    /// Takes back what the dead have to take back, and forgets their waiting calls.
    fn sweep(&self, held: &RegistryGuard<'_>) {
        for index in self.core.used_indexes(Mechanism::Sem) {
            let Ok(Some(set)) = self.writable_at(index) else { continue };
            let (id, state) = set.head();
            if !set.writable() {
                continue;
            }
            if state != ObjectState::Live {
                // Nobody is at it while the lock is held.
                self.destroy_soon(held, set, id);
                continue;
            }
            let header = set.header();
            let described = header.descriptors.iter().any(|descriptor| descriptor.owner.load(Relaxed) != 0);
            if !described
                && header.records.load(Relaxed) == 0
                && header.waiting.load(Relaxed) == 0
                && header.lock.load(Relaxed) == 0
            {
                continue;
            }
            // Nobody's creation waits for who holds this set's lock.
            if let Ok(guard) = self.lock(set, Patience::Brief) {
                guard.reap_undo();
                guard.reap_waiters();
                guard.clear_descriptors();
            }
        }
    }

    fn drop_stale_names(&self, held: &RegistryGuard<'_>, key: Key) {
        self.core.drop_stale_names::<SetView<'_>>(self, held, key);
    }
}
