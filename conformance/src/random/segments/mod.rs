//! Programs on segments.

mod call;
mod execute;
mod generate;

pub(in crate::random) use call::ADDRESSES;
pub use call::{Call, Place};
pub(super) use execute::Segments;
pub(super) use generate::{call, initial_steps, limit_profiles};
