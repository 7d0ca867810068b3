//! Finding a set by its identifier, for each kind of call.

use crate::object::permissions;
use crate::sem::mapping::{SetView, Sets};
use crate::types::error::Errno;
use crate::types::id::Id;

type Result<T> = std::result::Result<T, Errno>;

impl Sets {
    /// The set of an identifier.
    pub fn live(&self, id: i32) -> Result<SetView<'_>> {
        let id = Id::from_raw(id)?;
        match self.cached(id.index()) {
            Some(view) if view.is_live_as(id) => Ok(view),
            _ => self.look_for(id),
        }
    }

    fn look_for(&self, id: Id) -> Result<SetView<'_>> {
        let view = self.at(id.index())?.ok_or(Errno::INVAL)?;
        if view.is_live_as(id) { Ok(view) } else { Err(Errno::INVAL) }
    }

    /// What a call is told that has no right to a set: one that has gone meanwhile has no rights.
    #[cold]
    pub fn denied<T>(&self, id: i32, e: Errno) -> Result<T> {
        self.live(id).and(Err(e))
    }

    /// The set of an identifier, for what only owner, creator and the privileged may do.
    pub fn controllable(&self, id: i32) -> Result<SetView<'_>> {
        let set = self.live(id)?;
        if permissions::may_control(&set.permissions().0)
            && let Some(set) = self.writable_at(set.index)?.filter(SetView::writable)
        {
            return Ok(set);
        }
        self.denied(id, Errno::PERM)
    }
}
