//! Reclaims what exited processes have left in queues.

use crate::layout::ObjectState;
use crate::msg::mapping::{QueueView, Queues};
use crate::object::core::ObjectClass;
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::object::registry::RegistryGuard;
use crate::process::acquire::Patience;
use crate::types::key::Key;
use crate::types::kind::Kind;
use crate::types::mechanism::Mechanism;
use std::sync::atomic::Ordering::*;

impl ObjectClass for Queues {
    fn is_live(&self, index: u16) -> bool {
        matches!(self.at(index), Ok(Some(queue)) if queue.is_live())
    }

    /// Repairs all queues after the owner of the registry's lock has died. Completes what was half
    /// created or half removed, and counts the queues again.
    fn repair(&self, registry: &RegistryGuard<'_>) {
        let mut in_use = 0;
        for index in self.core.used_indexes(Mechanism::Msg) {
            let queue = match self.writable_at(index) {
                Ok(Some(queue)) => queue,
                Ok(None) => {
                    // The creator died before the file was valid, or the remover after it was
                    // retired.
                    self.unlink_files(index);
                    self.core.mark_used(registry, Mechanism::Msg, index, false);
                    continue;
                }
                Err(_) => continue,
            };
            let (id, state) = queue.head();
            // `Making` or `Gone`: the creator or the remover died.
            if state != ObjectState::Live && queue.writable() {
                self.destroy_or_defer(registry, queue, id);
                continue;
            }
            if queue.is_fully_mapped() && self.core.kind() == Kind::Shared {
                // An `IPC_SET` that died may have changed the permissions of the files and not
                // those in the header. Only the owner could change them, and the owner can change
                // them back.
                let _ = self.set_file_permissions(index, &queue.permissions().0);
            }
            in_use += 1;
        }
        self.core.registry.class(Mechanism::Msg).in_use.store(in_use, Relaxed);
    }

    /// Removes the blocked calls of exited processes, and the messages that they were sending or
    /// receiving.
    fn sweep(&self, registry: &RegistryGuard<'_>) {
        for index in self.core.used_indexes(Mechanism::Msg) {
            let Ok(Some(queue)) = self.writable_at(index) else { continue };
            let (id, state) = queue.head();
            if state != ObjectState::Live {
                if queue.writable() {
                    // The registry's lock is held, so no live process creates or removes this
                    // queue.
                    self.destroy_or_defer(registry, queue, id);
                }
                continue;
            }
            let header = queue.header();
            // A queue with a free lock, no blocked calls and no busy messages has nothing to
            // reclaim.
            let idle = [&header.lock, &header.waiting, &header.busy].iter().all(|word| word.load(Relaxed) == 0);
            if queue.is_fully_mapped()
                && !idle
                && let Ok(guard) = self.lock(queue, Patience::Brief)
            {
                guard.reap();
            }
        }
    }

    fn drop_stale_names(&self, registry: &RegistryGuard<'_>, key: Key) {
        self.core.drop_stale_names::<QueueView<'_>>(self, registry, key);
    }
}
