//! Trying again, each time the queue has changed, before a call sleeps: see `process/spin.rs`.

use crate::msg::lock::THREAD;
use crate::msg::mapping::QueueView;
use crate::object::mapping::MappedObject;
use crate::process::spin::{SpinBackoff, spin};
use crate::sys::clock::Instant;
use crate::sys::ids;
use crate::types::error::Errno;
use std::sync::atomic::Ordering::Relaxed;

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

/// The number of attempts in a round of [`spin`], if the process can run on more than one
/// processor.
const TRIES_PER_ROUND: u32 = 40;
static SPIN_BACKOFF: SpinBackoff = SpinBackoff::new();

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
    let outcome = spin_on_changes(queue, before >= STREAM_WAITS, deadline, attempt);
    THREAD.with(|thread| thread.waits[side].set(before.saturating_add(1)));
    outcome
}

fn spin_on_changes<T>(
    queue: &QueueView<'_>,
    stream: bool,
    deadline: Option<Instant>,
    mut attempt: impl FnMut() -> FastOutcome<T>,
) -> FastOutcome<T> {
    let changes = &queue.header().changes;
    let mut seen = changes.load(Relaxed);
    if stream && !ids::runs_on_one_processor() {
        (0..STREAM_SPINS).for_each(|_| std::hint::spin_loop());
    }
    let outcome = spin(&SPIN_BACKOFF, TRIES_PER_ROUND, deadline, || {
        let now = changes.load(Relaxed);
        if now == std::mem::replace(&mut seen, now) {
            return None;
        }
        match attempt() {
            FastOutcome::WouldBlock => None,
            outcome => Some(outcome),
        }
    });
    outcome.unwrap_or(FastOutcome::WouldBlock)
}
