//! Bookkeeping of the workers for the supervisor. It is in shared memory of its own, outside any
//! namespace, so that it survives a kill between two instructions.
//!
//! # Safety
//!
//! The ledger consists of atomics, for which zeroes are valid. Its file has the full size before it
//! is mapped, and no process shortens it.
#![allow(unsafe_code)]

use crate::params::{MAX_MESSAGES, QUEUES, WORKERS};
use crate::payload::Payload;
use rustix::mm::{MapFlags, ProtFlags, mmap};
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::SeqCst};

/// The history of a message.
#[repr(C)]
pub struct MessageRecord {
    /// The state that the sender knows: [`STARTED`], [`SENT`] or [`REFUSED`].
    pub sent: AtomicU8,
    /// How often it has been received.
    pub received: AtomicU8,
    /// The queue that it was sent to.
    pub queue: AtomicU8,
}

/// The call has begun.
pub const STARTED: u8 = 1;
/// The call has returned success.
pub const SENT: u8 = 2;
/// The call has returned an error.
pub const REFUSED: u8 = 3;

/// The page of a worker number, shared by all its incarnations in a round.
#[repr(C)]
pub struct WorkerPage {
    /// Changes with each start of the worker.
    pub incarnation: AtomicU32,
    /// One more than the index of the current action in [`crate::worker::ACTIONS`]; 0 before the
    /// first. `since` is its start in nanoseconds of the monotonic clock.
    pub doing: AtomicU32,
    pub since: AtomicU64,
    /// One more than the queue that the worker is receiving from; 0 if none.
    pub receiving: AtomicU32,
    /// Number of messages that the worker has begun to send.
    pub messages: AtomicU32,
    /// Number of completed actions.
    pub actions: AtomicU64,
    pub waits: AtomicU64,
    pub records: [MessageRecord; MAX_MESSAGES],
}

#[repr(C)]
pub struct LedgerData {
    /// Twice the number of the round, plus 1 when it is over.
    pub round_word: AtomicU32,
    /// For each queue, the messages that came after a later one, because their first receiver was
    /// killed.
    pub late: [AtomicU32; QUEUES],
    pub pages: [WorkerPage; WORKERS],
}

/// The mapped ledger.
pub struct Ledger(*mut LedgerData);

impl Ledger {
    pub fn create(path: &Path) -> io::Result<Ledger> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        file.set_len(size_of::<LedgerData>() as u64)?;
        Ledger::map(&file)
    }

    pub fn open(path: &Path) -> io::Result<Ledger> {
        Ledger::map(&File::options().read(true).write(true).open(path)?)
    }

    /// Records that a message was received.
    pub fn note_received(&self, payload: Payload, queue: u32, round: u32, mtype: i64) -> Result<(), String> {
        let page = self.pages.get(payload.from as usize);
        let Some(record) = page.and_then(|page| page.records.get(payload.number as usize)) else {
            return Err(format!("{payload:?} has no sender"));
        };
        if (payload.queue, payload.round, payload.mtype()) != (queue, round, mtype) {
            return Err(format!("{payload:?} was received from queue {queue} in round {round} with type {mtype}"));
        }
        if record.sent.load(SeqCst) == REFUSED {
            return Err(format!("{payload:?} was received, but its send had returned an error"));
        }
        match record.received.fetch_add(1, SeqCst) {
            0 => Ok(()),
            _ => Err(format!("{payload:?} was received twice")),
        }
    }

    fn map(file: &File) -> io::Result<Ledger> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: overlaps nothing; see the module.
        let at = unsafe { mmap(std::ptr::null_mut(), size_of::<LedgerData>(), protection, MapFlags::SHARED, file, 0)? };
        Ok(Ledger(at.cast()))
    }
}

impl Deref for Ledger {
    type Target = LedgerData;

    fn deref(&self) -> &LedgerData {
        // SAFETY: mapped until the process ends, with this size, aligned to a page; see the module.
        unsafe { &*self.0 }
    }
}

/// Reads the monotonic clock.
pub fn nanoseconds() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
