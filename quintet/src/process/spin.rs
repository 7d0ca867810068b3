//! Trying again for a short while before a call sleeps.
//!
//! The peer that would let the call proceed may run on another processor, or wait for this one. To
//! try again, and to yield the processor in between, takes less time than to sleep and be woken.

use crate::sys::clock::{self, Instant};
use crate::sys::ids;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The number of rounds in which a call tries again. After each round it yields the processor.
const ROUNDS: u32 = 64;
/// The longest time of all rounds together: about the time to be put to sleep and woken by another
/// processor. If it is exceeded, other threads have work to do, and sleeping costs less than
/// trying.
const MAX_SPIN: Duration = Duration::from_micros(60);
/// How long all calls of this process then make only one round, in nanoseconds.
const BACKOFF: u64 = 50_000_000;

/// Remembers, for one class of objects, that spinning did not pay.
pub struct SpinBackoff {
    /// Until when calls make only one round, by the coarse clock.
    until: AtomicU64,
}

impl SpinBackoff {
    pub const fn new() -> SpinBackoff {
        SpinBackoff { until: AtomicU64::new(0) }
    }
}

/// Calls `attempt` for a short while, until it returns an outcome or the deadline has passed.
///
/// `tries` is the number of attempts in a round, if the process can run on more than one processor.
pub fn spin<T>(
    backoff: &SpinBackoff,
    tries: u32,
    deadline: Option<Instant>,
    mut attempt: impl FnMut() -> Option<T>,
) -> Option<T> {
    let begin = Instant::now();
    let tries = if ids::runs_on_one_processor() { 1 } else { tries };
    let rounds = if clock::coarse_nanos() < backoff.until.load(Relaxed) { 1 } else { ROUNDS };
    for round in 0..rounds {
        for _ in 0..tries {
            if let Some(outcome) = attempt() {
                return Some(outcome);
            }
            std::hint::spin_loop();
        }
        if begin.elapsed() > MAX_SPIN {
            backoff.until.store(clock::coarse_nanos() + BACKOFF, Relaxed);
            break;
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) || round + 1 == rounds {
            break;
        }
        std::thread::yield_now();
    }
    None
}
