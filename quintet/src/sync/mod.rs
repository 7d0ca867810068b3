//! Locks and protocols on words of shared memory.

pub mod lock;
pub mod presence;
pub mod primitive;
pub mod word;
