//! What workers note for the judge, in memory of their own that has nothing to do with a namespace: it must outlive a process that is
//! killed between two instructions.
//!
//! # Safety
//!
//! The ledger is made of atomics only; zeroes are a ledger. Its file has its size before it is mapped, and nobody shortens it.
#![allow(unsafe_code)]

use crate::WORKERS;
use crate::objects::QUEUES;
use rustix::mm::{MapFlags, ProtFlags, mmap};
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// The most messages that a worker sends in a round.
pub const MOST: usize = 1 << 17;

/// What has become of a message.
#[repr(C)]
pub struct Fate {
    /// What its sender knows of it: [`INTENDED`], [`SENT`] or [`REFUSED`].
    pub sent: AtomicU8,
    /// How often it was received.
    pub received: AtomicU8,
    /// The queue that it was sent to.
    pub queue: AtomicU8,
}

/// The call was begun.
pub const INTENDED: u8 = 1;
/// The call has said that it was sent.
pub const SENT: u8 = 2;
/// The call has said that it was not.
pub const REFUSED: u8 = 3;

/// A worker's page: of him who is it now, and of his predecessors in this round.
#[repr(C)]
pub struct Page {
    /// Who he is: changes with each start.
    pub incarnation: AtomicU32,
    /// One more than the deed under way ([`crate::worker::DEEDS`]; 0: it begins), and when it was begun, in nanoseconds of the monotonic clock.
    pub doing: AtomicU32,
    pub since: AtomicU64,
    /// One more than the queue that he is receiving from.
    pub receiving: AtomicU32,
    /// How many messages were begun to be sent.
    pub messages: AtomicU32,
    /// What he has done.
    pub deeds: AtomicU64,
    pub waits: AtomicU64,
    pub fates: [Fate; MOST],
}

#[repr(C)]
pub struct Book {
    /// Twice the number of the round, and 1 if it is over: then all leave.
    pub over: AtomicU32,
    /// Of each queue, how many messages came after one that was sent later: whoever was to have them has died.
    pub late: [AtomicU32; QUEUES],
    pub pages: [Page; WORKERS],
}

/// The book, mapped.
pub struct Ledger(*mut Book);

impl Ledger {
    pub fn create(path: &Path) -> io::Result<Ledger> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        file.set_len(size_of::<Book>() as u64)?;
        Ledger::map(&file)
    }

    pub fn open(path: &Path) -> io::Result<Ledger> {
        Ledger::map(&File::options().read(true).write(true).open(path)?)
    }

    fn map(file: &File) -> io::Result<Ledger> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: overlaps nothing; see the module.
        let at = unsafe { mmap(std::ptr::null_mut(), size_of::<Book>(), protection, MapFlags::SHARED, file, 0)? };
        Ok(Ledger(at.cast()))
    }
}

impl Deref for Ledger {
    type Target = Book;

    fn deref(&self) -> &Book {
        // SAFETY: mapped until the process ends, with this size, aligned to a page; see the module.
        unsafe { &*self.0 }
    }
}
