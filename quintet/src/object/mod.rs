//! What segments, sets and queues share.

pub mod core;
pub mod permissions;
pub mod registry;
