//! The words of shared memory under the model checker, which tries every interleaving:
//! `RUSTFLAGS="--cfg loom" cargo test -p quintet --release --test model`.
//!
//! The files are the crate's own, compiled here with loom's atomics in place of std's.
#![cfg(loom)]

#[path = "../src/error.rs"]
#[allow(dead_code)]
mod error;
#[path = "../src/id.rs"]
#[allow(dead_code)]
mod id;

pub use error::Errno;
pub use id::Id;

#[allow(dead_code)]
#[path = "../src/sync"]
mod sync {
    pub mod lock;
    pub mod presence;

    pub mod primitive {
        pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

        pub fn between_seq_cst() {
            loom::sync::atomic::fence(Ordering::SeqCst);
        }
    }
}

#[path = "model/lock.rs"]
mod lock;
#[path = "model/presence.rs"]
mod presence;
