//! The state of the model.

use super::objects::{Queues, Segments, Sets};
use super::table::Caller;
use quintet::Limits;

/// The state of the model.
pub struct Model {
    /// The calling process.
    pub caller: Caller,
    /// The limits.
    pub limits: Limits,
    /// Shared memory segments.
    pub segments: Segments,
    /// Semaphore sets.
    pub sets: Sets,
    /// Message queues.
    pub queues: Queues,
}

impl Model {
    /// Returns a model without objects and with the default limits.
    pub fn new(caller: Caller) -> Model {
        let (segments, sets, queues) = (Segments::default(), Sets::default(), Queues::default());
        Model { caller, limits: Limits::DEFAULT, segments, sets, queues }
    }
}
