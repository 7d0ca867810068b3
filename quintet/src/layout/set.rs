//! `sem/INDEX`: the file of a semaphore set.
//!
//! | part | content |
//! |---|---|
//! | header | [`SetHeader`] |
//! | words | a [`crate::sync::word::Word`] for each semaphore |
//! | journal | the [`Change`]s of `sync::journal` |
//! | values | the values of a `SETALL` that is under way |
//! | pages | blocked calls and undo records |
//!
//! The pages begin at the next multiple of 4096. There are as many as were needed so far.
//!
//! # Safety
//!
//! [`SetMemory`] and [`Page`] hold the address of a range that is mapped and stays mapped, if not
//! always by the same file. Every index is checked against the mapping, never against the file.
#![allow(unsafe_code)]

use crate::layout::permissions::{self, PermissionWords, StoredPermissions};
use crate::layout::sleeper::Sleeper;
use crate::sync::journal::Journal;
pub use crate::sync::journal::{Change, Kind as JournalKind};
pub use crate::sync::waiter::State as WaiterState;
use crate::sync::word::Descriptor;
use std::sync::atomic::{AtomicI16, AtomicU16, AtomicU32, AtomicU64, Ordering::*};

const MAGIC: u32 = u32::from_le_bytes(*b"QSEM");
const PAGE: usize = 4096;

/// The number of calls that can change several semaphores at the same time without the lock.
pub const DESCRIPTORS: usize = 8;

/// The greatest number of changes in a journal.
const MAX_CHANGES: usize = MAX_OPS;

/// The greatest number of operations of a call.
pub const MAX_OPS: usize = 500;

/// The beginning of a set's file.
#[repr(C)]
pub struct SetHeader {
    magic: AtomicU32,
    /// The number of semaphores.
    pub nsems: AtomicU32,
    /// Identifier in the upper half, [`ObjectState`] in the lower.
    pub head: AtomicU64,
    /// The lock of the set: `sync::robust_mutex`.
    pub lock: AtomicU32,
    /// The number of undo records.
    pub records: AtomicU32,
    /// The time of the last `semop`, in seconds since the Epoch.
    pub otime: AtomicU64,
    /// The time of the last probe of the processes with undo records, in nanoseconds since the
    /// Epoch, by the coarse clock.
    pub probed_at: AtomicU64,
    /// Odd while the lock's holder changes several words: `sync::journal`.
    pub applying: AtomicU32,
    /// The number of blocked calls.
    pub waiting: AtomicU32,
    /// The number of the last call that blocked.
    pub tickets: AtomicU64,
    /// The number of allocated pages.
    pub pages: AtomicU32,
    /// The number of blocked calls with several operations, all of which wait for zero. They are
    /// tried again when any semaphore becomes zero.
    pub for_zero: AtomicU32,
    /// The queue of blocked calls that alter, and that of calls that only wait for zero: first and
    /// last call, 0 for none.
    pub queues: [[AtomicU32; 2]; 2],
    /// The key; 0 for none.
    pub key: AtomicU32,
    /// The number of changes of the permissions; its lowest bit names the copy in force.
    pub current: AtomicU32,
    /// The creator's group id.
    pub cgid: AtomicU32,
    /// The creator's user id.
    pub cuid: AtomicU32,
    /// The two copies: `layout::permissions`.
    pub permissions: [PermissionWords; 2],
    /// The creator as a word: slot, and incarnation in the upper half.
    pub creator: AtomicU32,
    pad: AtomicU32,
    /// The journal's [`JournalKind`] in the lower half, its number of changes in the upper half.
    pub journal: AtomicU64,
    /// The blocked call that the journal answers, 0 for none.
    pub answered: AtomicU32,
    /// 1 if a holder of the lock died, or could not see all blocked calls, and no process has
    /// examined the whole set since.
    pub damaged: AtomicU32,
    /// For `SETALL`: the caller's process id.
    pub journal_pid: AtomicU32,
    pad2: AtomicU32,
    /// The time of the last `SETVAL` or `SETALL`, in seconds since the Epoch.
    pub set_time: AtomicU64,
    reserved: [AtomicU64; 41],
    /// The MCAS descriptors: `sync::word`.
    pub descriptors: [Descriptor; DESCRIPTORS],
}

/// A blocked call.
#[repr(C)]
pub struct Waiter {
    /// The words that all blocked calls have.
    pub sleeper: Sleeper,
    /// The number of operations.
    pub nops: AtomicU32,
    /// The index of the operation that could not proceed when the call was last tried.
    pub blocking: AtomicU32,
    /// The next call in the queue, 0 for none.
    pub next: AtomicU32,
    /// 1 plus the page of the operations if they do not fit here, otherwise 0.
    pub ops_page: AtomicU32,
    ops: [AtomicU64; OPS_INLINE],
    reserved: AtomicU64,
}

const OPS_INLINE: usize = 8;

impl std::ops::Deref for Waiter {
    type Target = Sleeper;

    fn deref(&self) -> &Sleeper {
        &self.sleeper
    }
}

/// The use of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum PageKind {
    /// Not in use.
    Free = 0,
    /// Blocked calls.
    Waiters = 1,
    /// The operations of a blocked call with more than [`Waiter`] has room for.
    Ops = 2,
    /// An undo record: its participant, then a cell for each semaphore.
    Record = 3,
    /// More cells of an undo record.
    Cells = 4,
}

#[repr(C)]
struct PageHeader {
    kind: AtomicU32,
    slot: AtomicU32,
    incarnation: AtomicU32,
    pid: AtomicU32,
    /// 1 if the page is an undo record that its own process has applied at exit.
    applied: AtomicU32,
    pad: AtomicU32,
    reserved: [AtomicU64; 5],
}

const PAGE_HEADER: usize = size_of::<PageHeader>();
const MORE_PAGES: usize = 32;
const CELLS_AT: usize = PAGE_HEADER + 4 * MORE_PAGES;

/// The number of blocked calls in a page.
pub const WAITERS_PER_PAGE: u32 = ((PAGE - PAGE_HEADER) / size_of::<Waiter>()) as u32;
/// The number of cells in the first page of an undo record.
pub const CELLS_INLINE: u32 = ((PAGE - CELLS_AT) / 2) as u32;
/// The number of cells in each further page of an undo record.
pub const CELLS_PER_PAGE: u32 = ((PAGE - PAGE_HEADER) / 2) as u32;

const _: () = {
    assert!(size_of::<Waiter>() == 128);
    assert!(size_of::<Change>() == 32);
    assert!(size_of::<Descriptor>() == 128);
    assert!(std::mem::offset_of!(SetHeader, permissions) == 96);
    assert!(std::mem::offset_of!(SetHeader, descriptors) == 512);
    assert!(size_of::<SetHeader>() == 512 + 128 * DESCRIPTORS);
    assert!(PAGE_HEADER == 64 && PAGE_HEADER + 8 * MAX_OPS <= PAGE);
    assert!(CELLS_INLINE as usize + MORE_PAGES * CELLS_PER_PAGE as usize >= crate::types::limits::Limits::MAX_SEMMSL as usize);
};

impl SetHeader {
    /// Returns the first bytes of the file of a set with `nsems` semaphores.
    pub fn blank(nsems: u32) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&MAGIC.to_ne_bytes());
        bytes[4..].copy_from_slice(&nsems.to_ne_bytes());
        bytes
    }

    /// Turns a file of zeroes into that of a set with `nsems` semaphores.
    pub fn set_up(&self, nsems: u32) {
        self.nsems.store(nsems, Relaxed);
        self.magic.store(MAGIC, Release);
    }

    /// Returns `true` if the file is of this class and is in use.
    pub fn is_valid(&self) -> bool {
        self.magic.load(Relaxed) == MAGIC
    }

    /// Returns the journal's control words.
    pub fn journal(&self) -> Journal<'_> {
        Journal { decided: &self.journal, applying: &self.applying, answered: &self.answered }
    }

    /// Takes the file out of use. A process that has it mapped then looks for its successor.
    pub fn retire(&self) {
        self.magic.store(0, SeqCst);
    }

    /// Returns the permissions in force.
    pub fn stored_permissions(&self) -> StoredPermissions {
        permissions::load(&self.current, &self.permissions)
    }

    /// Changes the permissions. The caller holds the registry's lock.
    pub fn set_permissions(&self, permissions: StoredPermissions) {
        permissions::store(&self.current, &self.permissions, permissions);
    }
}

/// The fixed part of a mapped set's file: everything before the pages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SetMemory {
    at: usize,
    nsems: u32,
}

impl SetMemory {
    /// The fixed part at address `at` of a set with `nsems` semaphores.
    ///
    /// # Safety
    ///
    /// - `at` is aligned to a page, and `SetMemory::bytes(nsems)` bytes are mapped readable there.
    /// - They stay mapped, by this file or by zeroed memory in its place.
    /// - If the caller writes through this value, they are mapped writable.
    pub unsafe fn new(at: usize, nsems: u32) -> SetMemory {
        SetMemory { at, nsems }
    }

    fn journal_at(nsems: u32) -> usize {
        size_of::<SetHeader>() + 8 * nsems as usize
    }

    fn values_at(nsems: u32) -> usize {
        SetMemory::journal_at(nsems) + size_of::<Change>() * MAX_CHANGES.min(nsems as usize)
    }

    /// Returns the size in bytes of the fixed part of a set with `nsems` semaphores.
    pub fn bytes(nsems: u32) -> u64 {
        (SetMemory::values_at(nsems) + 2 * nsems as usize).next_multiple_of(PAGE) as u64
    }

    /// The address of the mapping.
    pub fn address(self) -> usize {
        self.at
    }

    /// The number of semaphores, as checked when the set was mapped.
    pub fn nsems(self) -> u32 {
        self.nsems
    }

    /// Returns the header.
    #[inline]
    pub fn header(&self) -> &'static SetHeader {
        // SAFETY: mapped and aligned by the contract of `new`; the header has atomics only.
        unsafe { &*(self.at as *const SetHeader) }
    }

    /// Returns the word of a semaphore.
    #[inline]
    pub fn word(&self, num: u32) -> Option<&'static AtomicU64> {
        let at = self.at + size_of::<SetHeader>() + 8 * num as usize;
        // SAFETY: `num` is below `nsems`, so the word is within the mapping and aligned.
        (num < self.nsems).then(|| unsafe { &*(at as *const AtomicU64) })
    }

    /// Returns an entry of the journal.
    pub fn change(&self, nth: usize) -> Option<&'static Change> {
        let at = self.at + SetMemory::journal_at(self.nsems) + size_of::<Change>() * nth;
        // SAFETY: `nth` is below the length of the journal, which is within the mapping; atomics
        // only.
        (nth < MAX_CHANGES.min(self.nsems as usize)).then(|| unsafe { &*(at as *const Change) })
    }

    /// Returns the value that a `SETALL` under way sets.
    pub fn value(&self, num: u32) -> Option<&'static AtomicU16> {
        let at = self.at + SetMemory::values_at(self.nsems) + 2 * num as usize;
        // SAFETY: `num` is below `nsems`, so the value is within the mapping and aligned.
        (num < self.nsems).then(|| unsafe { &*(at as *const AtomicU16) })
    }
}

/// A page after the fixed part.
#[derive(Clone, Copy)]
pub struct Page(usize);

impl Page {
    /// The page at address `at`.
    ///
    /// # Safety
    ///
    /// As for [`SetMemory::new`], for 4096 bytes.
    pub unsafe fn new(at: usize) -> Page {
        Page(at)
    }

    /// The address of the mapping.
    pub fn address(&self) -> usize {
        self.0
    }

    fn header(&self) -> &'static PageHeader {
        // SAFETY: the page is mapped by the contract of `new`; atomics only.
        unsafe { &*(self.0 as *const PageHeader) }
    }

    /// Returns the use of the page. An illegal value is `Free`.
    pub fn kind(&self) -> PageKind {
        match self.header().kind.load(Acquire) {
            1 => PageKind::Waiters,
            2 => PageKind::Ops,
            3 => PageKind::Record,
            4 => PageKind::Cells,
            _ => PageKind::Free,
        }
    }

    /// Sets the use of the page. Release publishes the page's content with it.
    pub fn set_kind(&self, kind: PageKind) {
        self.header().kind.store(kind as u32, Release);
    }

    /// Zeroes everything after the page's header.
    pub fn clear(&self) {
        for at in (PAGE_HEADER..PAGE).step_by(8) {
            // SAFETY: `at` is within the page and aligned to 8 bytes.
            unsafe { &*((self.0 + at) as *const AtomicU64) }.store(0, Relaxed);
        }
    }

    /// Returns slot, incarnation and process id of the page's participant.
    pub fn owner(&self) -> (u32, u16, u32) {
        let header = self.header();
        (header.slot.load(Relaxed), header.incarnation.load(Relaxed) as u16, header.pid.load(Relaxed))
    }

    /// Sets the participant of the page and marks the record as not applied.
    pub fn set_owner(&self, slot: u32, incarnation: u16, pid: u32) {
        let header = self.header();
        header.slot.store(slot, Relaxed);
        header.incarnation.store(incarnation.into(), Relaxed);
        header.pid.store(pid, Relaxed);
        header.applied.store(0, Relaxed);
    }

    /// Returns `true` if the undo record was applied by its own process.
    pub fn is_applied(&self) -> bool {
        self.header().applied.load(Relaxed) != 0
    }

    /// Marks the undo record as applied.
    pub fn set_applied(&self) {
        self.header().applied.store(1, Relaxed);
    }

    /// Returns a blocked call. `nth` wraps at [`WAITERS_PER_PAGE`].
    pub fn waiter(&self, nth: u32) -> &'static Waiter {
        let at = self.0 + PAGE_HEADER + size_of::<Waiter>() * (nth % WAITERS_PER_PAGE) as usize;
        // SAFETY: within the page because of the modulus, and aligned; atomics only.
        unsafe { &*(at as *const Waiter) }
    }

    /// Returns an operation. `nth` wraps at [`MAX_OPS`].
    pub fn op(&self, nth: usize) -> &'static AtomicU64 {
        // SAFETY: within the page because of the modulus, and aligned.
        unsafe { &*((self.0 + PAGE_HEADER + 8 * (nth % MAX_OPS)) as *const AtomicU64) }
    }

    /// Returns 1 plus the number of the record's `nth` further page of cells, 0 for none.
    pub fn more(&self, nth: usize) -> &'static AtomicU32 {
        // SAFETY: within the page because of the modulus, and aligned.
        unsafe { &*((self.0 + PAGE_HEADER + 4 * (nth % MORE_PAGES)) as *const AtomicU32) }
    }

    /// Returns a cell of a record's first page.
    pub fn first_cell(&self, nth: u32) -> &'static AtomicI16 {
        // SAFETY: within the page because of the modulus, and aligned.
        unsafe { &*((self.0 + CELLS_AT + 2 * (nth % CELLS_INLINE) as usize) as *const AtomicI16) }
    }

    /// Returns a cell of a further page.
    pub fn cell(&self, nth: u32) -> &'static AtomicI16 {
        // SAFETY: within the page because of the modulus, and aligned.
        unsafe { &*((self.0 + PAGE_HEADER + 2 * (nth % CELLS_PER_PAGE) as usize) as *const AtomicI16) }
    }
}

impl Waiter {
    /// Returns an operation that is stored in the call itself.
    pub fn inline_op(&self, nth: usize) -> Option<&AtomicU64> {
        self.ops.get(nth)
    }

    /// Returns `true` if a call with `nops` operations needs no page for them.
    pub fn fits_inline(nops: usize) -> bool {
        nops <= OPS_INLINE
    }
}
