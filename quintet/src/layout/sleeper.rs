//! What all calls that wait have in common.
#![allow(unsafe_code)]

use crate::layout::AtomicStruct;
use crate::sync::waiter::State;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Who waits: a call's words that are the same for each kind of object.
#[repr(C)]
pub struct Sleeper {
    /// A `sync::waiter::State`; the sleeper's futex.
    pub state: AtomicU32,
    pub slot: AtomicU32,
    pub incarnation: AtomicU32,
    pub pid: AtomicU32,
    pub tid: AtomicU32,
    /// Of a call on a semaphore set: its undo record, 0 for none.
    pub record: AtomicU32,
    /// When it came: smaller is earlier.
    pub ticket: AtomicU64,
    /// In nanoseconds since the Epoch.
    pub since: AtomicU64,
}

// SAFETY: atomics only.
unsafe impl AtomicStruct for Sleeper {}

const _: () = assert!(size_of::<Sleeper>() == 40);

impl Sleeper {
    pub fn state(&self) -> State {
        State::of(&self.state)
    }
}
