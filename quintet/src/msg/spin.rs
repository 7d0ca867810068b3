//! Looking again for a short while before going to sleep.
//!
//! Whoever would let a call go on may be at work on another processor, or wait for this one: to look again, and to let others run in between, takes less time
//! than to be put to sleep and woken.

use crate::msg::lock::THREAD;
use crate::msg::mapping::QueueView;
use crate::object::mapping::MappedObject;
use crate::sys::clock::{self, Instant};
use crate::sys::ids;
use crate::types::error::Errno;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What comes of an operation that does not hold signals off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attempt<T> {
    Done(T),
    /// There is no room, or no message.
    Not,
    Failed(Errno),
    /// It needs more than that.
    Slow,
}

/// So many rounds, each of so many looks if there is another processor, and then the processor is offered to others.
const YIELDS: u32 = 64;
const LOOKS: u32 = 40;
/// If it takes longer, whoever is waited for has work of his own: then there is nothing to be won by staying awake, now and for a
/// while (in nanoseconds).
const LONGEST_SPIN: Duration = Duration::from_micros(60);
const CROWDED: u64 = 50_000_000;
static CROWDED_UNTIL: AtomicU64 = AtomicU64::new(0);

/// What is waited for.
pub const FOR_MESSAGES: usize = 0;
pub const FOR_ROOM: usize = 1;

/// Who has had to wait so often in a row, without doing anything for the other side, is at the end of a stream. Then it waits a little longer each
/// time, for about a microsecond, so that the other side gets further without the two pulling the same memory to and fro for each message.
const STREAM: u32 = 4;
const PAUSES: u32 = 24;

/// Tries again whenever something has changed in the queue, for a short while.
pub fn until<T>(
    queue: &QueueView<'_>,
    what: usize,
    deadline: Option<Instant>,
    attempt: impl FnMut() -> Attempt<T>,
) -> Attempt<T> {
    let waits = || THREAD.with(|thread| thread.waits[what].get());
    let before = waits();
    let found = look(queue, before >= STREAM, deadline, attempt);
    THREAD.with(|thread| thread.waits[what].set(before.saturating_add(1)));
    found
}

fn look<T>(
    queue: &QueueView<'_>,
    stream: bool,
    deadline: Option<Instant>,
    mut attempt: impl FnMut() -> Attempt<T>,
) -> Attempt<T> {
    let changes = &queue.header().changes;
    let begin = Instant::now();
    let one = ids::runs_on_one_processor();
    let looks = if one { 1 } else { LOOKS };
    let rounds = if clock::coarse_nanos() < CROWDED_UNTIL.load(Relaxed) { 1 } else { YIELDS };
    let mut seen = changes.load(Relaxed);
    if stream && !one {
        (0..PAUSES).for_each(|_| std::hint::spin_loop());
    }
    for round in 0..rounds {
        for _ in 0..looks {
            let now = changes.load(Relaxed);
            if now != seen {
                seen = now;
                match attempt() {
                    Attempt::Not => {}
                    other => return other,
                }
            }
            std::hint::spin_loop();
        }
        if begin.elapsed() > LONGEST_SPIN {
            CROWDED_UNTIL.store(clock::coarse_nanos() + CROWDED, Relaxed);
            break;
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) || round + 1 == rounds {
            break;
        }
        std::thread::yield_now();
    }
    Attempt::Not
}
