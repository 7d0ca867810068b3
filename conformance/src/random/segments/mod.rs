//! Programs on segments.

mod execute;
mod generate;

pub use super::calls::segments::{Call, Place};
pub(super) use execute::Segments;
pub(super) use generate::{call, initial_steps, limit_profiles};
