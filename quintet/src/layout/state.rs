//! The state of a set or a queue, in the low half of its head word.

use crate::types::id::Id;

/// The state of a set or a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum ObjectState {
    /// Being created, or an illegal value.
    Making = 0,
    /// In use.
    Live = 1,
    /// Removed.
    Gone = 2,
}

impl ObjectState {
    /// Returns the head word of the object `id` in this state.
    #[inline(always)]
    pub fn head(self, id: Id) -> u64 {
        (id.raw() as u64) << 32 | self as u64
    }

    /// Returns the sequence number and the state of a head word.
    pub fn unpack(head: u64) -> (u16, ObjectState) {
        let state = match head as u32 {
            1 => ObjectState::Live,
            2 => ObjectState::Gone,
            _ => ObjectState::Making,
        };
        ((head >> 47) as u16, state)
    }
}
