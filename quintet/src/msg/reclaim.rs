//! Reclaiming what participants that exited have left in queues.

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

    /// The registry's lock was a dead one's: what it had half made or half removed is ended, and the queues are counted anew.
    fn repair(&self, held: &RegistryGuard<'_>) {
        let mut in_use = 0;
        for index in self.core.used_indexes(Mechanism::Msg) {
            let queue = match self.writable_at(index) {
                Ok(Some(queue)) => queue,
                Ok(None) => {
                    self.unlink_files(index);
                    self.core.mark_used(held, Mechanism::Msg, index, false);
                    continue;
                }
                Err(_) => continue,
            };
            let (id, state) = queue.head();
            if state != ObjectState::Live && queue.writable() {
                self.destroy_soon(held, queue, id);
                continue;
            }
            if queue.is_whole() && self.core.kind() == Kind::Shared {
                // A dead `IPC_SET` may have changed the files' rights and not the queue's. Only the owner can, and can change them back.
                let _ = self.set_file_permissions(index, &queue.permissions().0);
            }
            in_use += 1;
        }
        self.core.registry.class(Mechanism::Msg).in_use.store(in_use, Relaxed);
    }

    /// Forgets the calls of the dead, and what they were sending or receiving.
    fn sweep(&self, held: &RegistryGuard<'_>) {
        for index in self.core.used_indexes(Mechanism::Msg) {
            let Ok(Some(queue)) = self.writable_at(index) else { continue };
            let (id, state) = queue.head();
            if state != ObjectState::Live {
                if queue.writable() {
                    // Nobody is at it while the lock is held.
                    self.destroy_soon(held, queue, id);
                }
                continue;
            }
            let header = queue.header();
            let idle = [&header.lock, &header.waiting, &header.busy].iter().all(|word| word.load(Relaxed) == 0);
            if queue.is_whole()
                && !idle
                && let Ok(guard) = self.lock(queue, Patience::Brief)
            {
                guard.reap();
            }
        }
    }

    fn drop_stale_names(&self, held: &RegistryGuard<'_>, key: Key) {
        self.core.drop_stale_names::<QueueView<'_>>(self, held, key);
    }
}
