//! The atomics that everything in this folder uses. `tests/model.rs` puts the model checker's in their place.

pub use std::sync::atomic::{AtomicI16, AtomicU32, AtomicU64, Ordering, fence};

/// Between two sequentially consistent operations: nothing. The model checker takes such operations for
/// acquire and release only, and has a fence here.
#[inline(always)]
pub fn between_seq_cst() {}

/// A process that dies leaves all that it stored before this, and no store from after it before: no compiler may swap them.
#[inline(always)]
pub fn in_order() {
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
}
