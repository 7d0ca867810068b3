//! Shared memory segments.

mod attach;
pub mod attachments;
pub mod cached_mapping;
mod control;
mod create;
pub mod mapping;
mod remove;
