//! Message queues.

mod arena;
mod control;
mod create;
mod list;
pub mod lock;
pub mod mapping;
mod message_list;
mod receive;
mod salvage;
mod send;
mod spin;
mod type_index;
mod waiters;
mod write_set;
