//! Message queues.

pub mod bytes;
mod engine;
pub mod flags;
pub mod status;
