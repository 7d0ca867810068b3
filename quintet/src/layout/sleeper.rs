//! The words that all blocked calls have in common.
#![allow(unsafe_code)]

use crate::layout::AtomicStruct;
use crate::sync::waiter::State;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// A blocked call: the thread that sleeps, and since when.
#[repr(C)]
pub struct Sleeper {
    /// A `sync::waiter::State`; the futex on which the thread sleeps.
    pub state: AtomicU32,
    /// The participant's slot.
    pub slot: AtomicU32,
    /// The incarnation of the slot.
    pub incarnation: AtomicU32,
    /// The process id.
    pub pid: AtomicU32,
    /// The thread id.
    pub tid: AtomicU32,
    /// For a call on a semaphore set: its undo record, 0 for none.
    pub record: AtomicU32,
    /// The number of the call; an earlier call has a smaller one.
    pub ticket: AtomicU64,
    /// When the call blocked, in nanoseconds since the Epoch.
    pub since: AtomicU64,
}

// SAFETY: `repr(C)`, and all fields are atomics.
unsafe impl AtomicStruct for Sleeper {}

const _: () = assert!(size_of::<Sleeper>() == 40);

impl Sleeper {
    /// Reads the state of the call.
    pub fn state(&self) -> State {
        State::of(&self.state)
    }
}
