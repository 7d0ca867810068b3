//! The stores that an operation on a queue is about to make.
//!
//! An operation first stages all its stores and copies here; the queue does not change meanwhile. A
//! commit then makes them through a journal (`sync::redo`). An operation that fails while it
//! stages, or that a signal handler interrupts, has therefore changed nothing.

use crate::layout::{MAX_STORES, Slot};
use crate::msg::mapping::QueueView;
use crate::sys::rseq::{PlannedCopy, Store};
use crate::types::error::Errno;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

type Result<T> = std::result::Result<T, Errno>;

/// The greatest number of copies: the header of a message, the bytes in its own slot, and those in
/// six further blocks.
pub const MAX_COPIES: usize = 8;

/// The stores and copies of one operation. Each word is stored at most once.
pub struct WriteSet<'a> {
    queue: QueueView<'a>,
    stores: [MaybeUninit<Store>; MAX_STORES],
    store_count: usize,
    copies: [MaybeUninit<PlannedCopy>; MAX_COPIES],
    copy_count: usize,
    /// `true` if there were more stores or copies than fit.
    overflowed: bool,
    /// `true` if a store to the head of a list of free slots is staged.
    pub heads_changed: bool,
}

impl<'a> WriteSet<'a> {
    /// Creates an empty write set for a queue.
    #[inline(always)]
    pub fn new(queue: QueueView<'a>) -> WriteSet<'a> {
        WriteSet {
            queue,
            stores: [const { MaybeUninit::uninit() }; MAX_STORES],
            store_count: 0,
            copies: [const { MaybeUninit::uninit() }; MAX_COPIES],
            copy_count: 0,
            overflowed: false,
            heads_changed: false,
        }
    }

    /// Returns the queue.
    pub fn queue(&self) -> QueueView<'a> {
        self.queue
    }

    /// Stages a store to a word of the header. No store to this word is staged yet.
    #[inline(always)]
    pub fn put(&mut self, word: &'static AtomicU64, value: u64) {
        self.push(Store { at: word, place: self.queue.place_of(word), value });
    }

    /// Stages a store to a word of a slot. No store to this word is staged yet.
    #[inline(always)]
    pub fn put_in(&mut self, slot: Slot, nth: usize, value: u64) {
        self.push(Store { at: slot.word(nth), place: slot.place(nth), value });
    }

    #[inline(always)]
    fn push(&mut self, store: Store) {
        match self.stores.get_mut(self.store_count) {
            Some(place) => {
                place.write(store);
                self.store_count += 1;
            }
            None => self.overflowed = true,
        }
    }

    /// Returns the value that a word of the header has after the commit.
    pub fn get(&self, word: &'static AtomicU64) -> u64 {
        self.pending(word).map_or_else(|| word.load(Relaxed), |store| store.value)
    }

    /// Returns the value that a word of a slot has after the commit.
    pub fn get_in(&self, slot: Slot, nth: usize) -> u64 {
        self.get(slot.word(nth))
    }

    /// Stages a store to a word of the header. Replaces the staged one, if there is one.
    pub fn set(&mut self, word: &'static AtomicU64, value: u64) {
        match self.stores_mut().iter_mut().find(|store| std::ptr::eq(store.at, word)) {
            Some(store) => store.value = value,
            None => self.put(word, value),
        }
    }

    /// Stages a store to a word of a slot. Replaces the staged one, if there is one.
    pub fn set_in(&mut self, slot: Slot, nth: usize, value: u64) {
        match self.stores_mut().iter_mut().find(|store| std::ptr::eq(store.at, slot.word(nth))) {
            Some(store) => store.value = value,
            None => self.put_in(slot, nth, value),
        }
    }

    fn pending(&self, word: &'static AtomicU64) -> Option<&Store> {
        self.stores().iter().find(|store| std::ptr::eq(store.at, word))
    }

    /// Stages a copy of bytes into a slot.
    ///
    /// The copies are made before the commit decides. They must go to slots that are free until
    /// then, so no process reads them if the commit fails.
    #[inline(always)]
    pub fn copy(&mut self, to: *mut u8, from: *const u8, len: usize) {
        match self.copies.get_mut(self.copy_count) {
            Some(place) => {
                place.write(PlannedCopy { to, from, len });
                self.copy_count += 1;
            }
            None => self.overflowed = true,
        }
    }

    /// Returns the staged stores.
    #[inline(always)]
    pub fn stores(&self) -> &[Store] {
        #[allow(unsafe_code)]
        // SAFETY: the first `store_count` elements are initialised.
        unsafe {
            std::slice::from_raw_parts(self.stores.as_ptr().cast(), self.store_count)
        }
    }

    fn stores_mut(&mut self) -> &mut [Store] {
        #[allow(unsafe_code)]
        // SAFETY: the first `store_count` elements are initialised.
        unsafe {
            std::slice::from_raw_parts_mut(self.stores.as_mut_ptr().cast(), self.store_count)
        }
    }

    /// Returns the staged copies.
    #[inline(always)]
    pub fn copies(&self) -> &[PlannedCopy] {
        #[allow(unsafe_code)]
        // SAFETY: the first `copy_count` elements are initialised.
        unsafe {
            std::slice::from_raw_parts(self.copies.as_ptr().cast(), self.copy_count)
        }
    }

    /// Checks that everything fits. `EINVAL` means that it does not. No operation on a sound queue
    /// needs more room.
    #[inline(always)]
    pub fn check(&self) -> Result<()> {
        if self.overflowed { Err(Errno::INVAL) } else { Ok(()) }
    }
}
