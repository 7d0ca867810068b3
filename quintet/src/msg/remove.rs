//! `IPC_RMID`.

use crate::layout::ObjectState;
use crate::msg::mapping::{QueueView, Queues};
use crate::msg::waiters::Side;
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::object::registry::RegistryGuard;
use crate::process::acquire::Patience;
use crate::process::fork::Inside;
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::mechanism::Mechanism;
use std::sync::atomic::Ordering::*;

type Result<T> = std::result::Result<T, Errno>;

impl Queues {
    /// `IPC_RMID`.
    pub fn msg_remove(&self, id: i32) -> Result<()> {
        let _inside = Inside::enter();
        let queue = self.controllable(id)?;
        let id = Id::from_raw(id)?;
        let registry = self.core.lock()?;
        if !queue.is_live_as(id) {
            return Err(Errno::INVAL);
        }
        self.destroy(&registry, queue, id);
        Ok(())
    }

    /// Destroys a queue, or completes a removal or creation that a dead process left unfinished.
    fn destroy(&self, registry: &RegistryGuard<'_>, queue: QueueView<'_>, id: Id) {
        if let Ok(guard) = self.lock(queue, Patience::Endless) {
            // From this store on, each operation that takes the lock finds the queue gone. A crash
            // after it leaves the rest to `repair`.
            queue.set_head(id, ObjectState::Gone);
            for side in [Side::Receivers, Side::Senders] {
                let _ = guard.answer_all(side, Errno::IDRM);
            }
        }
        // The index counts as used until the end, so that `repair` finds what a crash leaves here.
        let key = queue.key();
        self.core.unlink_key(registry, Mechanism::Msg, key, id);
        queue.header().key.store(Key::PRIVATE.raw() as u32, Relaxed);
        queue.header().retire();
        self.unlink_files(queue.index());
        self.core.registry.class(Mechanism::Msg).discount(0);
        self.core.mark_used(registry, Mechanism::Msg, queue.index(), false);
    }

    /// Destroys a queue, unless a live process holds the queue lock for long. A later sweep then
    /// tries again.
    pub fn destroy_or_defer(&self, registry: &RegistryGuard<'_>, queue: QueueView<'_>, id: Id) {
        if !matches!(self.lock(queue, Patience::Brief), Err(Errno::AGAIN)) {
            self.destroy(registry, queue, id);
        }
    }
}
