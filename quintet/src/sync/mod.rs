//! Locks and protocols on words of shared memory.

pub mod journal;
pub mod lock;
pub mod presence;
pub mod primitive;
pub mod waiter;
pub mod word;
