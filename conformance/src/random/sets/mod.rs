//! Programs on semaphore sets. Their calls may block.

mod call;
mod execute;
mod generate;

pub use call::{Call, Ops, Question};
pub(super) use execute::Sets;
pub(super) use generate::{call, initial_steps, limit_profiles};
