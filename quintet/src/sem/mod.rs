//! Semaphore sets.

mod control;
mod create;
pub mod exec;
mod list;
mod lock;
pub mod mapping;
mod operate;
mod undo;
pub mod wait;
mod waiters;
