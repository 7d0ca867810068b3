//! This process and its peers.

pub mod cancel;
pub mod fork;
pub mod participants;
pub mod waiting;
