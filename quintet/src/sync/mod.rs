//! Locks and protocols on words of shared memory.

pub mod gate;
pub mod journal;
pub mod latch;
pub mod lock;
pub mod presence;
pub mod primitive;
pub mod redo;
pub mod waiter;
pub mod word;
