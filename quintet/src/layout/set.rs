//! `sem/INDEX`: the file of a semaphore set.
//!
//! | part | what |
//! |---|---|
//! | header | [`SetHeader`] |
//! | words | a [`crate::sync::word`] for each semaphore |
//! | journal | [`Change`]s that the holder of the lock has decided on |
//! | values | what `SETALL` sets, until it is done |
//! | pages | from the next multiple of 4096 on, as many as were needed so far: calls that wait, undo records |
//!
//! # Safety
//!
//! [`SetMemory`] and [`Page`] are made of addresses whose whole range is mapped and stays mapped, if not always by the same
//! file; every index is checked against what was mapped, never against what the file says.
#![allow(unsafe_code)]

use crate::layout::rights::{self, Rights, RightsWords};
use crate::layout::sleeper::Sleeper;
use crate::sync::journal::Journal;
pub use crate::sync::journal::{Change, Kind as JournalKind};
pub use crate::sync::waiter::State as WaiterState;
use crate::sync::word::Descriptor;
use std::sync::atomic::{AtomicI16, AtomicU16, AtomicU32, AtomicU64, Ordering::*};

const MAGIC: u32 = u32::from_le_bytes(*b"QSEM");
const PAGE: usize = 4096;

/// How many calls can change several semaphores at the same time without the lock.
pub const DESCRIPTORS: usize = 8;

/// The most changes that one journal holds: more operations than this no call has.
pub const JOURNALLED: usize = 500;

/// The most operations of a call that waits.
pub const MOST_OPS: usize = 500;

/// The beginning of the file.
#[repr(C)]
pub struct SetHeader {
    magic: AtomicU32,
    pub nsems: AtomicU32,
    /// Identifier in the upper half, [`ObjectState`] in the lower.
    pub head: AtomicU64,
    /// The robust lock of the set: `sync::lock`.
    pub lock: AtomicU32,
    /// How many undo records there are.
    pub records: AtomicU32,
    /// The last `semop`, in seconds since the Epoch.
    pub otime: AtomicU64,
    /// When it was last asked whether those with undo records live, in nanoseconds of the coarse clock.
    pub census: AtomicU64,
    /// Odd while the lock's holder changes several words.
    pub applying: AtomicU32,
    /// How many calls wait.
    pub waiting: AtomicU32,
    /// The number of the last call that waited.
    pub tickets: AtomicU64,
    /// How many pages have their place.
    pub pages: AtomicU32,
    /// How many calls wait that have several operations and alter nothing: they are judged again whenever a semaphore becomes zero.
    pub for_zero: AtomicU32,
    /// The queues of calls that alter, and of those that only wait for zero: first and last, 0 for none.
    pub queues: [[AtomicU32; 2]; 2],
    pub key: AtomicU32,
    /// Which of `rights` counts: 0 or 1.
    pub current: AtomicU32,
    pub cgid: AtomicU32,
    pub cuid: AtomicU32,
    pub rights: [RightsWords; 2],
    /// Who made it: slot, and incarnation in the upper half.
    pub creator: AtomicU32,
    pad: AtomicU32,
    /// What the lock's holder has decided on: [`JournalKind`] in the lower half, the number of changes in the upper.
    pub journal: AtomicU64,
    /// Whose call the journal answers, 0 for none.
    pub answered: AtomicU32,
    /// 1: a holder of the lock died, or could not see all that waits, and nobody has looked at everything since.
    pub damaged: AtomicU32,
    /// Of `SETALL`: the caller's process id.
    pub journal_pid: AtomicU32,
    pad2: AtomicU32,
    /// The last `SETVAL` or `SETALL`, in seconds since the Epoch.
    pub set_time: AtomicU64,
    reserved: [AtomicU64; 41],
    pub descriptors: [Descriptor; DESCRIPTORS],
}

/// A call that waits.
#[repr(C)]
pub struct Waiter {
    pub who: Sleeper,
    pub nops: AtomicU32,
    /// Which operation could not proceed when it was last judged.
    pub blocking: AtomicU32,
    /// The next in the queue, 0 for none.
    pub next: AtomicU32,
    /// 1 + the page that holds the operations, if they are more than fit here.
    pub ops_page: AtomicU32,
    ops: [AtomicU64; OPS_INLINE],
    reserved: AtomicU64,
}

const OPS_INLINE: usize = 8;

/// Who waits, and how it is called.
impl std::ops::Deref for Waiter {
    type Target = Sleeper;

    fn deref(&self) -> &Sleeper {
        &self.who
    }
}

/// What a page is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum PageKind {
    Free = 0,
    Waiters = 1,
    /// Operations of a waiting call that has many.
    Ops = 2,
    /// An undo record: who, then a cell for each semaphore.
    Record = 3,
    /// Further cells of a record.
    Cells = 4,
}

#[repr(C)]
struct PageHeader {
    kind: AtomicU32,
    slot: AtomicU32,
    incarnation: AtomicU32,
    pid: AtomicU32,
    /// Of an undo record: its process has ended in the ordinary way, and has taken back what there was.
    applied: AtomicU32,
    pad: AtomicU32,
    reserved: [AtomicU64; 5],
}

const PAGE_HEADER: usize = size_of::<PageHeader>();
const MORE_PAGES: usize = 32;
const CELLS_AT: usize = PAGE_HEADER + 4 * MORE_PAGES;

/// The waiting calls of a page.
pub const WAITERS_PER_PAGE: u32 = ((PAGE - PAGE_HEADER) / size_of::<Waiter>()) as u32;
/// The cells in a record's first page, and in each further one.
pub const CELLS_INLINE: u32 = ((PAGE - CELLS_AT) / 2) as u32;
pub const CELLS_PER_PAGE: u32 = ((PAGE - PAGE_HEADER) / 2) as u32;

const _: () = {
    assert!(size_of::<Waiter>() == 128);
    assert!(size_of::<Change>() == 32);
    assert!(size_of::<Descriptor>() == 128);
    assert!(std::mem::offset_of!(SetHeader, rights) == 96);
    assert!(std::mem::offset_of!(SetHeader, descriptors) == 512);
    assert!(size_of::<SetHeader>() == 512 + 128 * DESCRIPTORS);
    assert!(PAGE_HEADER == 64 && PAGE_HEADER + 8 * MOST_OPS <= PAGE);
    assert!(CELLS_INLINE as usize + MORE_PAGES * CELLS_PER_PAGE as usize >= crate::types::limits::Limits::MOST_SEMMSL as usize);
};

impl SetHeader {
    /// How the file of a set of `nsems` begins.
    pub fn blank(nsems: u32) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&MAGIC.to_ne_bytes());
        bytes[4..].copy_from_slice(&nsems.to_ne_bytes());
        bytes
    }

    /// Makes a file of zeroes that of a set of `nsems`.
    pub fn begin(&self, nsems: u32) {
        self.nsems.store(nsems, Relaxed);
        self.magic.store(MAGIC, Release);
    }

    pub fn is_valid(&self) -> bool {
        self.magic.load(Relaxed) == MAGIC
    }

    pub fn journal(&self) -> Journal<'_> {
        Journal { decided: &self.journal, applying: &self.applying, answered: &self.answered }
    }

    /// Takes the file out of use: who has it mapped looks for its successor.
    pub fn retire(&self) {
        self.magic.store(0, SeqCst);
    }

    pub fn rights(&self) -> Rights {
        rights::load(&self.current, &self.rights)
    }

    /// Changes the rights, whole. The caller holds the registry's lock.
    pub fn set_rights(&self, rights: Rights) {
        rights::store(&self.current, &self.rights, rights);
    }
}

/// The fixed part of a set's file, mapped: nothing after it is used by this.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SetMemory {
    at: usize,
    nsems: u32,
}

impl SetMemory {
    /// # Safety
    ///
    /// At `at`, aligned to a page, `SetMemory::bytes(nsems)` bytes are mapped readable, and stay mapped, by this or by zeroed memory
    /// in its place. What is written through this is mapped writable.
    pub unsafe fn new(at: usize, nsems: u32) -> SetMemory {
        SetMemory { at, nsems }
    }

    fn journal_at(nsems: u32) -> usize {
        size_of::<SetHeader>() + 8 * nsems as usize
    }

    fn values_at(nsems: u32) -> usize {
        SetMemory::journal_at(nsems) + size_of::<Change>() * JOURNALLED.min(nsems as usize)
    }

    /// The size of the fixed part of a set of `nsems`.
    pub fn bytes(nsems: u32) -> u64 {
        (SetMemory::values_at(nsems) + 2 * nsems as usize).next_multiple_of(PAGE) as u64
    }

    pub fn address(self) -> usize {
        self.at
    }

    pub fn nsems(self) -> u32 {
        self.nsems
    }

    #[inline]
    pub fn header(&self) -> &'static SetHeader {
        // SAFETY: mapped whole, aligned; atomics only.
        unsafe { &*(self.at as *const SetHeader) }
    }

    /// The word of a semaphore.
    #[inline]
    pub fn word(&self, num: u32) -> Option<&'static AtomicU64> {
        let at = self.at + size_of::<SetHeader>() + 8 * num as usize;
        // SAFETY: within the words of a set that has as many.
        (num < self.nsems).then(|| unsafe { &*(at as *const AtomicU64) })
    }

    /// A place in the journal.
    pub fn change(&self, nth: usize) -> Option<&'static Change> {
        let at = self.at + SetMemory::journal_at(self.nsems) + size_of::<Change>() * nth;
        // SAFETY: within the journal of a set of this size.
        (nth < JOURNALLED.min(self.nsems as usize)).then(|| unsafe { &*(at as *const Change) })
    }

    /// A value that `SETALL` sets.
    pub fn value(&self, num: u32) -> Option<&'static AtomicU16> {
        let at = self.at + SetMemory::values_at(self.nsems) + 2 * num as usize;
        // SAFETY: within the values of a set of this size.
        (num < self.nsems).then(|| unsafe { &*(at as *const AtomicU16) })
    }
}

/// A page after the fixed part.
#[derive(Clone, Copy)]
pub struct Page(usize);

impl Page {
    /// # Safety
    ///
    /// As for [`SetMemory::new`], of 4096 bytes.
    pub unsafe fn new(at: usize) -> Page {
        Page(at)
    }

    pub fn address(&self) -> usize {
        self.0
    }

    fn header(&self) -> &'static PageHeader {
        // SAFETY: a page is mapped; atomics only.
        unsafe { &*(self.0 as *const PageHeader) }
    }

    pub fn kind(&self) -> PageKind {
        match self.header().kind.load(Acquire) {
            1 => PageKind::Waiters,
            2 => PageKind::Ops,
            3 => PageKind::Record,
            4 => PageKind::Cells,
            _ => PageKind::Free,
        }
    }

    pub fn set_kind(&self, kind: PageKind) {
        self.header().kind.store(kind as u32, Release);
    }

    /// Zeroes all but the header.
    pub fn clear(&self) {
        for at in (PAGE_HEADER..PAGE).step_by(8) {
            // SAFETY: within the page, aligned.
            unsafe { &*((self.0 + at) as *const AtomicU64) }.store(0, Relaxed);
        }
    }

    /// Whose the page is: slot, incarnation, process id.
    pub fn owner(&self) -> (u32, u16, u32) {
        let header = self.header();
        (header.slot.load(Relaxed), header.incarnation.load(Relaxed) as u16, header.pid.load(Relaxed))
    }

    pub fn set_owner(&self, slot: u32, incarnation: u16, pid: u32) {
        let header = self.header();
        header.slot.store(slot, Relaxed);
        header.incarnation.store(incarnation.into(), Relaxed);
        header.pid.store(pid, Relaxed);
        header.applied.store(0, Relaxed);
    }

    pub fn is_applied(&self) -> bool {
        self.header().applied.load(Relaxed) != 0
    }

    pub fn set_applied(&self) {
        self.header().applied.store(1, Relaxed);
    }

    /// A waiting call.
    pub fn waiter(&self, nth: u32) -> &'static Waiter {
        let at = self.0 + PAGE_HEADER + size_of::<Waiter>() * (nth % WAITERS_PER_PAGE) as usize;
        // SAFETY: within the page, aligned; atomics only.
        unsafe { &*(at as *const Waiter) }
    }

    /// An operation of a page of operations.
    pub fn op(&self, nth: usize) -> &'static AtomicU64 {
        // SAFETY: within the page, aligned.
        unsafe { &*((self.0 + PAGE_HEADER + 8 * (nth % MOST_OPS)) as *const AtomicU64) }
    }

    /// The number of a record's further page of cells, plus 1.
    pub fn more(&self, nth: usize) -> &'static AtomicU32 {
        // SAFETY: within the page, aligned.
        unsafe { &*((self.0 + PAGE_HEADER + 4 * (nth % MORE_PAGES)) as *const AtomicU32) }
    }

    /// A cell of a record's first page.
    pub fn first_cell(&self, nth: u32) -> &'static AtomicI16 {
        // SAFETY: within the page, aligned.
        unsafe { &*((self.0 + CELLS_AT + 2 * (nth % CELLS_INLINE) as usize) as *const AtomicI16) }
    }

    /// A cell of a further page.
    pub fn cell(&self, nth: u32) -> &'static AtomicI16 {
        // SAFETY: within the page, aligned.
        unsafe { &*((self.0 + PAGE_HEADER + 2 * (nth % CELLS_PER_PAGE) as usize) as *const AtomicI16) }
    }
}

impl Waiter {
    /// The place of an operation, if it is kept here.
    pub fn inline_op(&self, nth: usize) -> Option<&AtomicU64> {
        self.ops.get(nth)
    }

    pub fn fits_inline(nops: usize) -> bool {
        nops <= OPS_INLINE
    }
}
