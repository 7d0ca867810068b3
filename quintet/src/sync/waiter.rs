//! The state word of a blocked call. The call's thread sleeps on this word.
//!
//! | state | meaning | next |
//! |---|---|---|
//! | `Free` | not in use | `Preparing`, by the lock's holder |
//! | `Preparing` | its caller, which holds the lock, describes it; | `Waiting`, by its caller; |
//! | | or it was abandoned and may still be in a queue | `Free`, by the lock's holder |
//! | `Waiting` | in a queue | `Answered`, by the process that performs it; |
//! | | | `Preparing`, by its caller on giving up; |
//! | | | `Preparing`, by the lock's holder if its process has died |
//! | `Answered(errno)` | out of the queue; 0 means performed | `Free`, by its caller; |
//! | | | `Free`, by the lock's holder if its process has died |
//!
//! Invariant: only the caller of a performed call makes it `Free` while it lives. If a process has
//! died and its call is still `Answered`, the call has not returned, and its effect can be undone.
//!
//! # Calls on a queue
//!
//! A call on a queue is answered by a journal (`sync::redo`), whatever its state is by then. A
//! caller that gives up without the lock and a holder that answers must therefore agree. They use
//! Dekker's protocol on two words:
//!
//! - The holder stores the call's ticket in `answering`, then reads the process id ([`claim`]).
//! - The caller clears its process id, then reads `answering` ([`withdraw`]).
//!
//! At least one of the two sees the other's store.

use crate::sync::primitive::{AtomicU32, AtomicU64, Ordering, between_seq_cst};

/// The state of a blocked call. The head of this module has a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Not in use.
    Free,
    /// Being described by its caller, or abandoned.
    Preparing,
    /// In a queue.
    Waiting,
    /// Ended with this errno; 0 means performed.
    Answered(u16),
}

impl State {
    /// The state as a word.
    pub fn pack(self) -> u32 {
        match self {
            State::Free => 0,
            State::Preparing => 1,
            State::Waiting => 2,
            State::Answered(errno) => 3 | u32::from(errno) << 8,
        }
    }

    /// The state that a word stands for. An illegal word is `Free`.
    pub fn unpack(word: u32) -> State {
        match word & 0xff {
            1 => State::Preparing,
            2 => State::Waiting,
            3 => State::Answered((word >> 8) as u16),
            _ => State::Free,
        }
    }

    /// Reads the state of a word.
    pub fn of(word: &AtomicU32) -> State {
        State::unpack(word.load(Ordering::Acquire))
    }
}

/// Marks a call as being described, or as given up. The caller holds the lock.
pub fn prepare(word: &AtomicU32) {
    word.store(State::Preparing.pack(), Ordering::Release);
}

/// Marks a described call as waiting. The caller holds the lock.
pub fn publish(word: &AtomicU32) {
    // Release shows the description to a process that reads the state without the lock.
    word.store(State::Waiting.pack(), Ordering::SeqCst);
}

/// Answers a call with `errno`, if it still waits. The caller holds the lock.
pub fn answer(word: &AtomicU32, errno: u16) {
    let answer = State::Answered(errno).pack();
    // The exchange fails if the call was abandoned, or if a replayed journal answers it again.
    // Release publishes the changes that the call asked for to its thread.
    let _ = word.compare_exchange(State::Waiting.pack(), answer, Ordering::AcqRel, Ordering::Relaxed);
}

/// Gives up a call on a set without the lock. Returns `false` if it has been answered.
///
/// Only the call's own thread does this. The lock's next holder takes the entry out of the queue.
pub fn abandon(word: &AtomicU32) -> bool {
    let (waiting, preparing) = (State::Waiting.pack(), State::Preparing.pack());
    // This exchange and the one in `answer` compete for the same word, so exactly one succeeds.
    // Acquire: a caller that was answered sees the changes.
    word.compare_exchange(waiting, preparing, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// Announces that the lock's holder answers the call `ticket` of a queue. Returns the process id of
/// its caller, or `None` if the caller has given it up.
pub fn claim(answering: &AtomicU64, ticket: u64, pid: &AtomicU32) -> Option<u32> {
    // Store, then load, both SeqCst: `withdraw` does the reverse. A holder that dies after the
    // store leaves its ticket there; the caller then leaves the call to the lock's next holder.
    answering.store(ticket, Ordering::SeqCst);
    between_seq_cst();
    let pid = pid.load(Ordering::SeqCst);
    (pid != 0).then_some(pid)
}

/// Gives up the call `ticket` of a queue without the lock; `own` is the process id in its entry.
///
/// Returns `false` if the lock's holder may be answering it. The holder has then seen the process
/// id, or it has seen that there is none, and the entry can already belong to another call.
pub fn withdraw(answering: &AtomicU64, ticket: u64, pid: &AtomicU32, own: u32) -> bool {
    // Store, then load: the reverse of `claim`. If the load below misses a ticket that `claim` has
    // yet to store, then `claim` reads the 0 and does not answer. The exchange fails if the entry
    // no longer holds this process id.
    let _ = pid.compare_exchange(own, 0, Ordering::SeqCst, Ordering::SeqCst);
    between_seq_cst();
    answering.load(Ordering::SeqCst) != ticket
}

/// Marks an entry as not in use.
pub fn free(word: &AtomicU32) {
    word.store(State::Free.pack(), Ordering::Release);
}
