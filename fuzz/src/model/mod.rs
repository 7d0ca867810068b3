//! A model of System V IPC for one process that never blocks, as the man pages define it. It is
//! plain Rust without shared memory, locks or files.
//!
//! Each call reads like its man page: the errors in the kernel's order, then the change.

mod objects;
mod queues;
mod segments;
mod sets;
mod state;
mod table;

pub use objects::{Message, Queue, Queues, Segment, Segments, Set, Sets};
pub use state::Model;
pub use table::{Caller, Object, Outcome, Perm, Table};
