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
        let held = self.core.lock()?;
        if !set.is_live_as(id) {
            return Err(Errno::INVAL);
        }
        self.destroy(&held, set, id);
        Ok(())
    }

    /// Ends a set, or what a dead remover has left of one.
    fn destroy(&self, held: &RegistryGuard<'_>, set: SetView<'_>, id: Id) {
        if let Ok(guard) = self.lock(set, Patience::Endless) {
            // From now on nobody changes a value; so nobody has, after the set was gone.
            (0..set.nsems()).for_each(|num| _ = guard.hold(num));
            set.set_head(id, ObjectState::Gone);
            guard.answer_all(Errno::IDRM);
        }
        self.clear(held, set, id);
    }

    /// The same, unless somebody who lives holds its lock for long.
    pub fn destroy_soon(&self, held: &RegistryGuard<'_>, set: SetView<'_>, id: Id) {
        if !matches!(self.lock(set, Patience::Brief), Err(Errno::AGAIN)) {
            self.destroy(held, set, id);
        }
    }

    fn clear(&self, held: &RegistryGuard<'_>, set: SetView<'_>, id: Id) {
        let key = set.key();
        self.core.unlink_key(held, Mechanism::Sem, key, id);
        set.header().key.store(Key::PRIVATE.raw() as u32, Relaxed);
        set.header().retire();
        let _ = fs::unlink(self.path(set.index).c_str());
        self.core.registry.class(Mechanism::Sem).discount(set.nsems().into());
        self.core.mark_used(held, Mechanism::Sem, set.index, false);
    }
}
