//! `IPC_RMID`.

use crate::layout::ObjectState;
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::object::registry::RegistryGuard;
use crate::process::acquire::Patience;
use crate::process::fork::Inside;
use crate::sem::mapping::{SetView, Sets};
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::mechanism::Mechanism;
use rustix::fs;
use std::sync::atomic::Ordering::*;

type Result<T> = std::result::Result<T, Errno>;

impl Sets {
    /// `IPC_RMID`.
    pub fn sem_remove(&self, id: i32) -> Result<()> {
        let _inside = Inside::enter();
        let set = self.controllable(id)?;
        let id = Id::from_raw(id)?;
        let registry = self.core.lock()?;
        if !set.is_live_as(id) {
            return Err(Errno::INVAL);
        }
        self.destroy(&registry, set, id);
        Ok(())
    }

    /// Destroys a set, or completes a removal or creation that a dead process left unfinished.
    fn destroy(&self, registry: &RegistryGuard<'_>, set: SetView<'_>, id: Id) {
        if let Ok(guard) = self.lock(set, Patience::Endless) {
            // All words are slow before the state changes. An operation without the lock therefore
            // succeeds before the set is gone, or not at all. A crash before the store leaves a
            // live set with slow words. An operation that finds one takes the lock, and makes the
            // word plain again. A crash after the store leaves the rest to `repair`.
            (0..set.nsems()).for_each(|num| _ = guard.hold(num));
            set.set_head(id, ObjectState::Gone);
            guard.answer_all(Errno::IDRM);
        }
        self.clear(registry, set, id);
    }

    /// Destroys a set, unless a live process holds the set's lock for long. A later sweep then
    /// tries again.
    pub fn destroy_or_defer(&self, registry: &RegistryGuard<'_>, set: SetView<'_>, id: Id) {
        if !matches!(self.lock(set, Patience::Brief), Err(Errno::AGAIN)) {
            self.destroy(registry, set, id);
        }
    }

    /// Removes the set's key, its file and its index, and counts it out of the limits.
    fn clear(&self, registry: &RegistryGuard<'_>, set: SetView<'_>, id: Id) {
        // The index counts as used until the end, so that `repair` finds what a crash leaves here.
        let key = set.key();
        self.core.unlink_key(registry, Mechanism::Sem, key, id);
        set.header().key.store(Key::PRIVATE.raw() as u32, Relaxed);
        set.header().retire();
        let _ = fs::unlink(self.path(set.index).c_str());
        self.core.registry.class(Mechanism::Sem).discount(set.nsems().into());
        self.core.mark_used(registry, Mechanism::Sem, set.index, false);
    }
}
