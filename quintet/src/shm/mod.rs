//! Shared memory segments.

pub mod attachment;
pub mod segment;
