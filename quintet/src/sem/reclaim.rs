//! Reclaims what exited processes have left in sets.

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

    /// Repairs all sets after the owner of the registry's lock has died. Completes what was half
    /// created or half removed, and counts the sets again.
    fn repair(&self, registry: &RegistryGuard<'_>) {
        let class = self.core.registry.class(Mechanism::Sem);
        let (mut in_use, mut sum) = (0, 0);
        for index in self.core.used_indexes(Mechanism::Sem) {
            let set = match self.writable_at(index) {
                Ok(Some(set)) => set,
                Ok(None) => {
                    // The creator died before the file was valid, or the remover after it was
                    // retired.
                    let _ = fs::unlink(self.path(index).c_str());
                    self.core.mark_used(registry, Mechanism::Sem, index, false);
                    continue;
                }
                Err(_) => continue,
            };
            let (id, state) = set.head();
            // `Making` or `Gone`: the creator or the remover died.
            if state != ObjectState::Live && set.writable() {
                self.destroy_or_defer(registry, set, id);
                continue;
            }
            if set.writable() && self.core.kind() == Kind::Shared {
                // An `IPC_SET` that died may have changed the permissions of the file and not those
                // in the header. Only the owner could change them, and the owner can change them
                // back.
                let _ = self.set_file_permissions(index, &set.permissions().0);
            }
            in_use += 1;
            sum += u64::from(set.nsems());
        }
        class.in_use.store(in_use, Relaxed);
        class.sum.store(sum, Relaxed);
    }

    /// Applies the undo records of exited processes, and removes their blocked calls and MCAS
    /// descriptors.
    fn sweep(&self, registry: &RegistryGuard<'_>) {
        for index in self.core.used_indexes(Mechanism::Sem) {
            let Ok(Some(set)) = self.writable_at(index) else { continue };
            let (id, state) = set.head();
            if !set.writable() {
                continue;
            }
            if state != ObjectState::Live {
                // The registry's lock is held, so no live process creates or removes this set.
                self.destroy_or_defer(registry, set, id);
                continue;
            }
            // A set without records, blocked calls and descriptors in use has nothing to reclaim if
            // no process holds its lock.
            let header = set.header();
            let described = header.descriptors.iter().any(|descriptor| descriptor.owner.load(Relaxed) != 0);
            if !described
                && header.records.load(Relaxed) == 0
                && header.waiting.load(Relaxed) == 0
                && header.lock.load(Relaxed) == 0
            {
                continue;
            }
            // A creation may wait for the registry's lock meanwhile. It must not also wait for the
            // holder of this set's lock.
            if let Ok(guard) = self.lock(set, Patience::Brief) {
                guard.reap_undo();
                guard.reap_waiters();
                guard.clear_descriptors();
            }
        }
    }

    fn drop_stale_names(&self, registry: &RegistryGuard<'_>, key: Key) {
        self.core.drop_stale_names::<SetView<'_>>(self, registry, key);
    }
}
