//! Programs on semaphore sets. Their calls may block.

mod execute;
mod generate;

pub use super::calls::sets::{Call, Ops, Question};
pub(super) use execute::Sets;
pub(super) use generate::{call, initial_steps, limit_profiles};
