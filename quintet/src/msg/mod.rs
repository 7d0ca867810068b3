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
pub mod queue;
mod rebuild;
mod receive;
pub mod section;
pub mod select;
mod send;
mod spin;
pub mod status;
mod types;
#[cfg(feature = "serde")]
mod value;
mod wait;
pub mod whole;
