//! The kernel as the judge of Quintet.
//!
//! | what | where |
//! |---|---|
//! | one test body per clause of shmget(2), shmop(2), shmctl(2), semget(2), semop(2), semctl(2), msgget(2), msgop(2), msgctl(2), ftok(3) | `tests/`, by [`clauses!`] |
//! | random programs of several processes, every result compared | [`random`] |
//! | who is asked: the kernel, the library, the drop-in | [`Subject`] |
//! | processes that make calls when told to | [`Agent`], in a [`World`] |
//!
//! Tests need no right of their own: the kernel is asked in an IPC namespace made for the test.

mod agent;
mod clause;
mod queues;
pub mod random;
mod sets;
mod stat;
mod subject;
mod survey;
mod waiting;
mod world;

pub use agent::{Address, Agent, Attached, Death, PAD};
pub use clause::run;
pub use queues::{
    COPY, Capacity, EXCEPT, Message, MsgInfo, MsgLimits, MsgUsed, NOERROR, Queue, TRY, WAIT, bytes, digits, message, of_a_storm,
};
pub use quintet::Errno;
pub use quintet::{MsgFlags, SemFlags, SemOp};
pub use sets::{Look, NOWAIT, SemInfo, SemLimits, SemUsed, Set, UNDO, op};
pub use stat::{Info, Stat, Usage};
pub use subject::{Subject, preload_library};
pub use world::{Clock, NOBODY, STRANGER, World};

/// What a call gave: its value, or the errno.
pub type Outcome<T> = Result<T, Errno>;
