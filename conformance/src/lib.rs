//! Conformance tests: Quintet must behave as the kernel does.
//!
//! | what | where |
//! |---|---|
//! | one test body per clause of the section-2 pages and ftok(3) | `tests/`, by [`clauses!`] |
//! | random programs of several processes, all results compared | [`random`] |
//! | the implementations under test: kernel, library, drop-in | [`Subject`] |
//! | processes that make calls on command | [`Agent`], in a [`World`] |
//!
//! The tests need no privileges: each creates an IPC namespace for the kernel.

mod acceptor;
mod agent;
mod clause;
pub mod interrupt;
mod queues;
pub mod random;
mod sets;
mod snapshot;
mod stat;
mod subject;
mod waiting;
mod world;

pub use agent::{Address, Agent, Attached, ExitStatus, PAD};
pub use clause::run;
pub use queues::{
    COPY, Capacity, EXCEPT, Message, MsgInfo, MsgLimits, MsgUsed, NOERROR, Queue, TRY, WAIT, bytes, digits, message, storm_text,
};
pub use quintet::Errno;
pub use quintet::{MsgFlags, SemFlags, SemOp};
pub use sets::{NOWAIT, SemInfo, SemLimits, SemUsed, Semaphores, Set, UNDO, op};
pub use stat::{Info, Stat, Usage};
pub use subject::{Subject, preload_library};
pub use world::{Clock, NOBODY, STRANGER, World};

/// The result of a call: a value or an errno.
pub type Outcome<T> = Result<T, Errno>;
