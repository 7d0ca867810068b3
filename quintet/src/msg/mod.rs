//! Message queues.

mod arena;
pub mod bytes;
mod control;
mod create;
mod draft;
pub mod flags;
mod inspect;
mod line;
pub mod place;
mod receive;
pub mod section;
mod send;
mod spin;
pub mod status;
mod types;
mod wait;
