//! Locks and protocols on single words of shared memory.
//!
//! Each module names its algorithm, and its head has a table of the states of its word. The rules
//! that all of them share:
//!
//! - **Any instruction can be the last one of a process.** Each store leaves a state that another
//!   process can complete or undo.
//! - **A peer can write any value.** An illegal state is handled like a state left by a process
//!   that exited. It never causes undefined behaviour or an endless loop.
//! - **No system call is made here.** What a protocol needs of the system (sleep, wake,
//!   liveness) is a trait. The model checker supplies its own.
//!
//! `tests/model` explores the interleavings and deaths of every protocol.

pub mod attach_count;
pub mod gate;
pub mod journal;
pub mod primitive;
pub mod queue_lock;
pub mod redo;
pub mod robust_mutex;
pub mod waiter;
pub mod word;
