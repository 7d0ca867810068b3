//! The atomics that everything in this folder uses. `tests/model.rs` puts the model checker's in their place.

pub use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Between two sequentially consistent operations: nothing. The model checker takes such operations for
/// acquire and release only, and has a fence here.
#[inline(always)]
pub fn between_seq_cst() {}
