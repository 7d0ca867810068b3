//! Semaphore sets.

mod control;
mod create;
pub mod exec;
mod fast;
mod inspect;
pub mod operation;
pub mod place;
mod queue;
mod section;
pub mod semaphore;
pub mod set;
pub mod status;
mod undo;
pub mod wait;
