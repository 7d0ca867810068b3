//! The state of an object that is one file, in the low half of its head word.

use crate::types::id::Id;

/// What a set or a queue is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum ObjectState {
    /// Being created; or a value that is no state.
    Making = 0,
    Live = 1,
    /// Removed.
    Gone = 2,
}

impl ObjectState {
    /// Packs the head word of the object `id`.
    #[inline(always)]
    pub fn head(self, id: Id) -> u64 {
        (id.raw() as u64) << 32 | self as u64
    }

    /// Unpacks a head word: the sequence number and the state.
    pub fn unpack(head: u64) -> (u16, ObjectState) {
        let state = match head as u32 {
            1 => ObjectState::Live,
            2 => ObjectState::Gone,
            _ => ObjectState::Making,
        };
        ((head >> 47) as u16, state)
    }
}
