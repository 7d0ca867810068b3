//! Locks and protocols on words of shared memory.

pub mod attach_count;
pub mod gate;
pub mod journal;
pub mod primitive;
pub mod queue_lock;
pub mod redo;
pub mod robust_mutex;
pub mod waiter;
pub mod word;
