//! The atomics and fences that this folder uses.
//!
//! `tests/model.rs` compiles the folder with the model checker's atomics in place of this module.

pub use std::sync::atomic::{AtomicI16, AtomicU32, AtomicU64, Ordering, fence};

/// Separates a `SeqCst` store from the `SeqCst` load that must not pass it.
///
/// `SeqCst` operations are totally ordered, so this is no instruction. The model checker treats
/// them as acquire and release only, and has a `SeqCst` fence here.
#[inline(always)]
pub fn between_seq_cst() {}

/// Keeps the stores above this call before the stores below it, for the case that the process dies.
///
/// A process that dies leaves the stores of its instructions in program order. Only the compiler
/// can exchange them, so a compiler fence is enough.
#[inline(always)]
pub fn program_order() {
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
}
