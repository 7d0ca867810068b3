//! Trying again for a short while before a call sleeps.
//!
//! The peer that would let the call proceed may run on another processor, or wait for this one. To
//! try again, and to yield the processor in between, takes less time than to sleep and be woken.

use crate::msg::lock::THREAD;
use crate::msg::mapping::QueueView;
use crate::object::mapping::MappedObject;
use crate::sys::clock::{self, Instant};
use crate::sys::ids;
use crate::types::error::Errno;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The outcome of a call that does not block signals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FastOutcome<T> {
    /// It was performed.
    Done(T),
    /// There is no room, or no message, now.
    WouldBlock,
    /// It failed.
    Failed(Errno),
    /// Only a call under the lock, with signals blocked, can decide.
    NeedsLock,
}

/// The number of rounds in which a call tries again. After each round it yields the processor.
const SPIN_ROUNDS: u32 = 64;
/// The number of tries in a round, if the process can run on more than one processor.
const TRIES_PER_ROUND: u32 = 40;
/// The longest time of all rounds together. If it is exceeded, the peers have other work to do, and
/// sleeping costs less than trying.
const MAX_SPIN: Duration = Duration::from_micros(60);
/// How long all calls of this process make only one round after that, in nanoseconds.
const SPIN_BACKOFF: u64 = 50_000_000;
/// The end of that time, by the coarse clock.
static SPIN_BACKOFF_UNTIL: AtomicU64 = AtomicU64::new(0);

/// The index of [`until`] for a call that waits for a message.
pub const FOR_MESSAGES: usize = 0;
/// The index of [`until`] for a call that waits for room.
pub const FOR_ROOM: usize = 1;

/// The number of waits in a row, without an operation for the other side, after which a thread
/// counts as the end of a stream.
///
/// Such a thread first pauses for about a microsecond each time. The other side then gets several
/// operations done, and the two do not exchange cache lines for each message.
const STREAM_WAITS: u32 = 4;
/// The length of that pause, in spin-loop hints.
const STREAM_SPINS: u32 = 24;

/// Tries again for a short while, each time the queue has changed. `side` is [`FOR_MESSAGES`] or
/// [`FOR_ROOM`].
pub fn until<T>(
    queue: &QueueView<'_>,
    side: usize,
    deadline: Option<Instant>,
    attempt: impl FnMut() -> FastOutcome<T>,
) -> FastOutcome<T> {
    let waits = || THREAD.with(|thread| thread.waits[side].get());
    let before = waits();
    let outcome = spin(queue, before >= STREAM_WAITS, deadline, attempt);
    THREAD.with(|thread| thread.waits[side].set(before.saturating_add(1)));
    outcome
}

fn spin<T>(
    queue: &QueueView<'_>,
    stream: bool,
    deadline: Option<Instant>,
    mut attempt: impl FnMut() -> FastOutcome<T>,
) -> FastOutcome<T> {
    let changes = &queue.header().changes;
    let begin = Instant::now();
    let single = ids::runs_on_one_processor();
    let looks = if single { 1 } else { TRIES_PER_ROUND };
    let rounds = if clock::coarse_nanos() < SPIN_BACKOFF_UNTIL.load(Relaxed) { 1 } else { SPIN_ROUNDS };
    let mut seen = changes.load(Relaxed);
    if stream && !single {
        (0..STREAM_SPINS).for_each(|_| std::hint::spin_loop());
    }
    for round in 0..rounds {
        for _ in 0..looks {
            let now = changes.load(Relaxed);
            if now != seen {
                seen = now;
                match attempt() {
                    FastOutcome::WouldBlock => {}
                    other => return other,
                }
            }
            std::hint::spin_loop();
        }
        if begin.elapsed() > MAX_SPIN {
            SPIN_BACKOFF_UNTIL.store(clock::coarse_nanos() + SPIN_BACKOFF, Relaxed);
            break;
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) || round + 1 == rounds {
            break;
        }
        std::thread::yield_now();
    }
    FastOutcome::WouldBlock
}
