//! The words of shared memory under the model checker, which tries every interleaving:
//! `RUSTFLAGS="--cfg loom" cargo test -p quintet --release --test model`.
//!
//! The files are the crate's own, compiled here with loom's atomics in place of std's.
#![cfg(loom)]

#[allow(dead_code)]
#[path = "../src/types"]
mod types {
    pub mod error;
    pub mod id;
}

pub use types::error::Errno;
pub use types::id::Id;

#[allow(dead_code)]
#[path = "../src/sync"]
mod sync {
    pub mod attach_count;
    pub mod gate;
    pub mod journal;
    pub mod queue_lock;
    pub mod redo;
    pub mod robust_mutex;
    pub mod waiter;
    pub mod word;

    pub use super::primitive;
}

#[allow(missing_docs)]
#[path = "model/primitive.rs"]
pub mod primitive;

#[allow(dead_code)]
#[path = "../src/layout"]
mod layout {
    pub mod rights;
}

#[path = "model/attach_count.rs"]
mod attach_count;
#[path = "model/gate.rs"]
mod gate;
#[path = "model/journal.rs"]
mod journal;
#[path = "model/participant.rs"]
mod participant;
#[path = "model/queue.rs"]
mod queue;
#[path = "model/rights.rs"]
mod rights;
#[path = "model/robust_mutex.rs"]
mod robust_mutex;
#[path = "model/word.rs"]
mod word;

/// Every interleaving with at the most so many preemptions.
fn explore(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let began = std::time::Instant::now();
    eprintln!("{} interleavings in {:.1?}", check(preemptions, f), began.elapsed());
}

/// The same, quietly: how many there were.
fn check(preemptions: usize, f: impl Fn() + Sync + Send + 'static) -> u64 {
    use std::sync::{Arc, atomic::AtomicU64, atomic::Ordering::Relaxed};
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    let count = Arc::new(AtomicU64::new(0));
    let counter = count.clone();
    builder.check(move || {
        counter.fetch_add(1, Relaxed);
        f();
    });
    count.load(Relaxed)
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

/// The same for each of the steps that something may happen after, and that something else may happen after then, and so on. `f` says how many things
/// have happened.
fn explore_events(preemptions: usize, most: usize, f: impl Fn(&[u32]) -> usize + Sync + Send + Clone + 'static) {
    use std::sync::{Arc, atomic::AtomicUsize, atomic::Ordering::Relaxed};
    let (began, mut interleavings) = (std::time::Instant::now(), 0);
    let mut after = vec![0; most];
    loop {
        let happened = Arc::new(AtomicUsize::new(0));
        let (f, most_happened, steps) = (f.clone(), happened.clone(), after.clone());
        interleavings += check(preemptions, move || _ = most_happened.fetch_max(f(&steps), Relaxed));
        let happened = happened.load(Relaxed);
        if happened == 0 {
            eprintln!("{interleavings} interleavings in {:.1?}", began.elapsed());
            return;
        }
        // The last one that has happened: one step later.
        after[happened - 1] += 1;
        after[happened..].fill(0);
    }
}
