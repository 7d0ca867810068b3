//! The state word of a call that waits, on which its caller sleeps.
//!
//! | state | meaning | next |
//! |---|---|---|
//! | `Free` | nobody's | `Filling` by the lock's holder |
//! | `Filling` | being described by its caller, who holds the lock; or given up, and perhaps still in a queue | `Waiting`, `Free` by the lock's holder |
//! | `Waiting` | in a queue | `Answered` by whoever performs it; `Filling` by its caller who gives up, or by the lock's holder once its |
//! | | | process has died |
//! | `Answered(errno)` | out of the queue, 0: performed | `Free` by its caller, or by the lock's holder once its process has died |
//!
//! So what only its caller can do to a performed call is to make it `Free`: one that is still `Answered` when its caller is known to be
//! dead has not returned, and nothing was done.
//!
//! A queue's calls are answered by a journal, whatever their state is by then. So who gives one up without the lock takes its process id out, and looks
//! whether the lock's holder has said meanwhile that he is about to answer it; who is about to says so, and looks whether the process id is there. One of
//! them sees the other.

use crate::sync::primitive::{AtomicU32, AtomicU64, Ordering, between_seq_cst};

/// The state of a call that waits; see the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Free,
    Filling,
    Waiting,
    Answered(u16),
}

impl State {
    pub fn pack(self) -> u32 {
        match self {
            State::Free => 0,
            State::Filling => 1,
            State::Waiting => 2,
            State::Answered(errno) => 3 | u32::from(errno) << 8,
        }
    }

    /// What the word says; one that says nothing is taken for a free one.
    pub fn unpack(word: u32) -> State {
        match word & 0xff {
            1 => State::Filling,
            2 => State::Waiting,
            3 => State::Answered((word >> 8) as u16),
            _ => State::Free,
        }
    }

    pub fn of(word: &AtomicU32) -> State {
        State::unpack(word.load(Ordering::Acquire))
    }
}

/// The lock's holder describes, or gives up, a call.
pub fn fill(word: &AtomicU32) {
    word.store(State::Filling.pack(), Ordering::Release);
}

/// What was described waits.
pub fn wait(word: &AtomicU32) {
    word.store(State::Waiting.pack(), Ordering::SeqCst);
}

/// The lock's holder answers a call, unless it has been.
pub fn answer(word: &AtomicU32, errno: u16) {
    let answer = State::Answered(errno).pack();
    let _ = word.compare_exchange(State::Waiting.pack(), answer, Ordering::AcqRel, Ordering::Relaxed);
}

/// Its caller gives a call up without the lock; the place is left to the lock's next holder. `false`: it has been answered.
pub fn abandon(word: &AtomicU32) -> bool {
    let (waits, given_up) = (State::Waiting.pack(), State::Filling.pack());
    word.compare_exchange(waits, given_up, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// The lock's holder is about to answer a queue's call: the process id of its caller, unless that has given it up.
pub fn claim(answering: &AtomicU64, ticket: u64, pid: &AtomicU32) -> Option<u32> {
    answering.store(ticket, Ordering::SeqCst);
    between_seq_cst();
    let pid = pid.load(Ordering::SeqCst);
    (pid != 0).then_some(pid)
}

/// Its caller, of process `own`, gives a queue's call up without the lock. `false`: somebody is about to answer it, or has seen that nobody is there for the
/// answer; then the place may be another call's already.
pub fn withdraw(answering: &AtomicU64, ticket: u64, pid: &AtomicU32, own: u32) -> bool {
    let _ = pid.compare_exchange(own, 0, Ordering::SeqCst, Ordering::SeqCst);
    between_seq_cst();
    answering.load(Ordering::SeqCst) != ticket
}

/// The place is nobody's any more.
pub fn free(word: &AtomicU32) {
    word.store(State::Free.pack(), Ordering::Release);
}
