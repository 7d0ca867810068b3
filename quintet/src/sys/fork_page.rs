//! The page of this process that a fork writes to.
//!
//! A fork copies what a process has written, page by page, and each page costs a child more than
//! the rest of its handlers. So the words that fork handlers write lie together here, followed by
//! the first namespace that a process opens.
//!
//! # Safety
//!
//! `room` is untyped. [`ForkPage::take_room`] gives it away once, and the new owner alone writes to
//! it.
#![allow(unsafe_code)]

use crate::sys::signal::Blocked;
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::AcqRel};

/// The bytes for the first namespace, with the first elements of its tables.
pub const ROOM: usize = 16 << 10;

/// The state of the process, as opposed to that of one namespace.
pub struct ProcessState {
    /// The gate that keeps forks away from operations: `process/fork.rs`.
    pub gate: AtomicU32,
    /// The number of threads that wait at the gate.
    pub waiting: AtomicU32,
    /// The process id, 0 until it is asked for.
    pub pid: AtomicU32,
    /// The number of forks that this memory has been through, plus one.
    pub generation: AtomicU32,
    /// The head of the list of open namespaces: `process/fork.rs`.
    pub namespaces: AtomicPtr<()>,
    /// The address of a page that a child finds zeroed; 0 if there is none.
    pub wipe_marker: AtomicUsize,
    /// Replaces the word behind the wipe marker where there is no such page.
    pub process_word: AtomicU64,
    /// The thread that forks at the moment, 0 if none does.
    pub forker: AtomicUsize,
    /// The signal mask of the forking thread.
    pub mask: Mutex<Option<Blocked>>,
}

/// The words that fork handlers write, and room for the first namespace.
#[repr(C, align(4096))]
pub struct ForkPage {
    pub state: ProcessState,
    taken: AtomicU32,
    room: UnsafeCell<Room>,
}

#[repr(C, align(64))]
struct Room(MaybeUninit<[u8; ROOM]>);

// SAFETY: `state` and `taken` are atomics and a mutex; `room` is used only by the caller that took
// it.
unsafe impl Sync for ForkPage {}

/// The fork page of this process.
pub static FORK_PAGE: ForkPage = ForkPage {
    state: ProcessState {
        gate: AtomicU32::new(0),
        waiting: AtomicU32::new(0),
        pid: AtomicU32::new(0),
        generation: AtomicU32::new(1),
        namespaces: AtomicPtr::new(std::ptr::null_mut()),
        wipe_marker: AtomicUsize::new(0),
        process_word: AtomicU64::new(0),
        forker: AtomicUsize::new(0),
        mask: Mutex::new(None),
    },
    taken: AtomicU32::new(0),
    room: UnsafeCell::new(Room(MaybeUninit::zeroed())),
};

impl ForkPage {
    /// Returns the address of [`ROOM`] zeroed bytes, aligned to 64 bytes. They belong to the caller
    /// from then on. Returns `None` after the first call.
    pub fn take_room(&'static self) -> Option<usize> {
        (self.taken.swap(1, AcqRel) == 0).then(|| self.room.get() as usize)
    }
}
