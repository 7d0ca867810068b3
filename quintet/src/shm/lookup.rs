//! Lookup of a segment by its identifier.

use crate::shm::mapping::{SegmentView, Segments};
use crate::types::error::Errno;
use crate::types::id::Id;

type Result<T> = std::result::Result<T, Errno>;

impl Segments {
    /// Returns the live segment of an identifier.
    pub fn live(&self, id: Id) -> Result<SegmentView> {
        let view = self.at(id.index())?.ok_or(Errno::INVAL)?;
        let head = view.head();
        if head.id == id && head.is_live() { Ok(view) } else { Err(Errno::INVAL) }
    }

    /// Returns the live segment of an identifier for a call that changes it. First removes the
    /// attachments of participants that exited, and destroys the segment if that makes it due.
    pub fn live_after_reap(&self, id: Id) -> Result<SegmentView> {
        let view = self.live(id)?;
        let probe = self.core.participants.probe(Some(&view));
        if view.attach_count().attached(self.core.participants.me_if_joined(), &probe) == 0
            && (view.head().is_dest() || self.core.rmid_forced())
        {
            self.destroy_if_unused_with(&view, probe.reaped.get(), &probe);
            if view.head().is_dest() && !view.writable {
                // The segment is destroyed. A process with the permission must still clear it.
                return Err(Errno::INVAL);
            }
        }
        self.live(id)
    }

    /// Returns the live segment of an identifier, writable, for commands that only owner, creator
    /// and privileged processes may call. Fails with `EPERM` for other callers.
    pub fn controllable(&self, id: Id) -> Result<SegmentView> {
        self.live_after_reap(id)?;
        let view = self.writable_at(id.index())?.ok_or(Errno::INVAL)?;
        if view.may_control() && view.writable { Ok(view) } else { self.live(id).and(Err(Errno::PERM)) }
    }
}
