//! Message queues.

pub mod bytes;
mod engine;
pub mod flags;
pub mod queue;
pub mod select;
pub mod status;
#[cfg(feature = "serde")]
mod value;
pub mod whole;
