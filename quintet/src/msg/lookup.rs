//! Finding a queue by its identifier, for each kind of call.

use crate::msg::mapping::{QueueView, Queues};
use crate::object::permissions;
use crate::types::error::Errno;
use crate::types::id::Id;

type Result<T> = std::result::Result<T, Errno>;

impl Queues {
    /// The queue of an identifier.
    pub fn live(&self, id: i32) -> Result<QueueView<'_>> {
        let id = Id::from_raw(id)?;
        match self.cached(id.index()) {
            Some(view) if view.is_live_as(id) => Ok(view),
            _ => {
                let view = self.at(id.index())?.ok_or(Errno::INVAL)?;
                if view.is_live_as(id) { Ok(view) } else { Err(Errno::INVAL) }
            }
        }
    }

    /// What a call is told that has no right to a queue: one that has gone meanwhile has no rights.
    #[cold]
    pub fn denied<T>(&self, id: i32, e: Errno) -> Result<T> {
        self.live(id).and(Err(e))
    }

    /// The queue of an identifier, for what only owner, creator and the privileged may do.
    pub fn controllable(&self, id: i32) -> Result<QueueView<'_>> {
        let queue = self.live(id)?;
        if permissions::may_control(&queue.permissions().0)
            && let Some(queue) = self.writable_at(queue.index())?.filter(QueueView::is_whole)
        {
            return Ok(queue);
        }
        self.denied(id, Errno::PERM)
    }
}
