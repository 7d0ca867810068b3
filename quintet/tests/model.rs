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
    pub mod journal;
    pub mod lock;
    pub mod presence;
    pub mod waiter;
    pub mod word;

    pub use super::primitive;
}

#[allow(missing_docs)]
#[path = "model/primitive.rs"]
pub mod primitive;

#[path = "model/journal.rs"]
mod journal;
#[path = "model/lock.rs"]
mod lock;
#[path = "model/presence.rs"]
mod presence;
#[path = "model/word.rs"]
mod word;

/// Every interleaving with at the most so many preemptions.
fn explore(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    let (count, began) = (std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0)), std::time::Instant::now());
    let counter = count.clone();
    builder.check(move || {
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        f();
    });
    eprintln!("{} interleavings in {:.1?}", count.load(std::sync::atomic::Ordering::Relaxed), began.elapsed());
}

/// The same for each of the steps that a thread may die before, until it does not die.
fn explore_deaths(preemptions: usize, f: impl Fn(u32) -> bool + Sync + Send + Clone + 'static) {
    use std::sync::{Arc, atomic::AtomicBool, atomic::Ordering::Relaxed};
    for steps in 0.. {
        let died = Arc::new(AtomicBool::new(false));
        let (f, dies) = (f.clone(), died.clone());
        explore(preemptions, move || _ = dies.fetch_or(f(steps), Relaxed));
        if !died.load(Relaxed) {
            return;
        }
    }
}
