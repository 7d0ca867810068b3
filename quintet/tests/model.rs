//! The protocols of `sync/` under the model checker loom, which tries every interleaving:
//! `RUSTFLAGS="--cfg loom" cargo test -p quintet --release --test model`.
//!
//! The source files are the crate's own. They are compiled here with loom's atomics in place of
//! std's.
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
    pub mod permissions;
}

#[path = "model/attach_count.rs"]
mod attach_count;
#[path = "model/gate.rs"]
mod gate;
#[path = "model/journal.rs"]
mod journal;
#[path = "model/participant.rs"]
mod participant;
#[path = "model/permissions.rs"]
mod permissions;
#[path = "model/queue.rs"]
mod queue;
#[path = "model/robust_mutex.rs"]
mod robust_mutex;
#[path = "model/word.rs"]
mod word;

/// Runs `f` in every interleaving with at most `preemptions` preemptions.
fn explore(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let began = std::time::Instant::now();
    eprintln!("{} interleavings in {:.1?}", check(preemptions, f), began.elapsed());
}

/// Does what [`explore`] does without output. Returns the number of interleavings.
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

/// Explores `f(steps)` for growing `steps`: the thread that dies before this step. Ends when `f`
/// returns `false`, because the thread did not die.
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

/// Explores `f` for each combination of steps after which up to `max` events happen. Each number of
/// steps counts from the event before. `f` returns the number of events that happened.
fn explore_events(preemptions: usize, max: usize, f: impl Fn(&[u32]) -> usize + Sync + Send + Clone + 'static) {
    use std::sync::{Arc, atomic::AtomicUsize, atomic::Ordering::Relaxed};
    let (began, mut interleavings) = (std::time::Instant::now(), 0);
    let mut after = vec![0; max];
    loop {
        let happened = Arc::new(AtomicUsize::new(0));
        let (f, max_happened, steps) = (f.clone(), happened.clone(), after.clone());
        interleavings += check(preemptions, move || _ = max_happened.fetch_max(f(&steps), Relaxed));
        let happened = happened.load(Relaxed);
        if happened == 0 {
            eprintln!("{interleavings} interleavings in {:.1?}", began.elapsed());
            return;
        }
        // Next, the last event that happened comes one step later.
        after[happened - 1] += 1;
        after[happened..].fill(0);
    }
}
