//! Finding a segment by its identifier, for each kind of call.

use crate::shm::mapping::{SegmentView, Segments};
use crate::types::error::Errno;
use crate::types::id::Id;

type Result<T> = std::result::Result<T, Errno>;

impl Segments {
    /// The segment of an identifier, if it stands.
    pub fn live(&self, id: Id) -> Result<SegmentView> {
        let view = self.at(id.index())?.ok_or(Errno::INVAL)?;
        let head = view.head();
        if head.id == id && head.is_live() { Ok(view) } else { Err(Errno::INVAL) }
    }

    /// As [`Segments::live`], after what the dead have left has been settled: for calls that change the segment.
    pub fn settled(&self, id: Id) -> Result<SegmentView> {
        let view = self.live(id)?;
        let living = self.core.participants.probe(Some(&view));
        if view.attach_count().attached(self.core.participants.me_if_joined(), &living) == 0
            && (view.head().is_dest() || self.core.forced())
        {
            self.destroy_if_unused_with(&view, living.reaped.get(), &living);
            if view.head().is_dest() && !view.writable {
                // It has gone, and only waits for somebody who may clear it.
                return Err(Errno::INVAL);
            }
        }
        self.live(id)
    }

    /// As [`Segments::settled`], for what only owner, creator and the privileged may do.
    pub fn controllable(&self, id: Id) -> Result<SegmentView> {
        self.settled(id)?;
        let view = self.writable_at(id.index())?.ok_or(Errno::INVAL)?;
        if view.may_control() && view.writable { Ok(view) } else { self.live(id).and(Err(Errno::PERM)) }
    }
}
