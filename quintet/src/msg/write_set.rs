//! What an operation on a queue is going to store, worked out first.
//!
//! Nothing of it is seen by anybody until it is committed: so an operation that finds halfway that it cannot be done, or that is interrupted by a signal
//! handler, has done nothing.

use crate::layout::{MAX_STORES, Slot};
use crate::msg::mapping::QueueView;
use crate::sys::rseq::{PlannedCopy, Store};
use crate::types::error::Errno;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

type Result<T> = std::result::Result<T, Errno>;

/// A message's header, its own bytes and those of so many further blocks are copied at once.
pub const MAX_COPIES: usize = 8;

/// The stores and copies of one operation.
pub struct WriteSet<'a> {
    queue: QueueView<'a>,
    stores: [MaybeUninit<Store>; MAX_STORES],
    store_count: usize,
    copies: [MaybeUninit<PlannedCopy>; MAX_COPIES],
    copy_count: usize,
    /// There were more than there is room for.
    overflown: bool,
    /// Something was stored to the heads of the free slots.
    pub heads_changed: bool,
}

impl<'a> WriteSet<'a> {
    #[inline(always)]
    pub fn new(queue: QueueView<'a>) -> WriteSet<'a> {
        WriteSet {
            queue,
            stores: [const { MaybeUninit::uninit() }; MAX_STORES],
            store_count: 0,
            copies: [const { MaybeUninit::uninit() }; MAX_COPIES],
            copy_count: 0,
            overflown: false,
            heads_changed: false,
        }
    }

    pub fn queue(&self) -> QueueView<'a> {
        self.queue
    }

    /// Stores a word of the header that nothing was stored to yet.
    #[inline(always)]
    pub fn put(&mut self, word: &'static AtomicU64, value: u64) {
        self.push(Store { at: word, place: self.queue.place_of(word), value });
    }

    /// Stores a word of a slot that nothing was stored to yet.
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
            None => self.overflown = true,
        }
    }

    /// What a word of the header will be.
    pub fn get(&self, word: &'static AtomicU64) -> u64 {
        self.pending(word).map_or_else(|| word.load(Relaxed), |store| store.value)
    }

    /// What a word of a slot will be.
    pub fn get_in(&self, slot: Slot, nth: usize) -> u64 {
        self.get(slot.word(nth))
    }

    /// Stores a word of the header, whatever was to be stored there.
    pub fn set(&mut self, word: &'static AtomicU64, value: u64) {
        match self.stores_mut().iter_mut().find(|store| std::ptr::eq(store.at, word)) {
            Some(store) => store.value = value,
            None => self.put(word, value),
        }
    }

    /// Stores a word of a slot, whatever was to be stored there.
    pub fn set_in(&mut self, slot: Slot, nth: usize, value: u64) {
        match self.stores_mut().iter_mut().find(|store| std::ptr::eq(store.at, slot.word(nth))) {
            Some(store) => store.value = value,
            None => self.put_in(slot, nth, value),
        }
    }

    fn pending(&self, word: &'static AtomicU64) -> Option<&Store> {
        self.stores().iter().find(|store| std::ptr::eq(store.at, word))
    }

    /// Copies bytes to where nobody looks before the draft is committed.
    #[inline(always)]
    pub fn fill(&mut self, to: *mut u8, from: *const u8, len: usize) {
        match self.copies.get_mut(self.copy_count) {
            Some(place) => {
                place.write(PlannedCopy { to, from, len });
                self.copy_count += 1;
            }
            None => self.overflown = true,
        }
    }

    #[inline(always)]
    pub fn stores(&self) -> &[Store] {
        #[allow(unsafe_code)]
        // SAFETY: the first `store_count` have been written.
        unsafe {
            std::slice::from_raw_parts(self.stores.as_ptr().cast(), self.store_count)
        }
    }

    fn stores_mut(&mut self) -> &mut [Store] {
        #[allow(unsafe_code)]
        // SAFETY: the first `store_count` have been written.
        unsafe {
            std::slice::from_raw_parts_mut(self.stores.as_mut_ptr().cast(), self.store_count)
        }
    }

    #[inline(always)]
    pub fn copies(&self) -> &[PlannedCopy] {
        #[allow(unsafe_code)]
        // SAFETY: the first `copy_count` have been written.
        unsafe {
            std::slice::from_raw_parts(self.copies.as_ptr().cast(), self.copy_count)
        }
    }

    /// `EINVAL`: it is more than any sound queue would need.
    #[inline(always)]
    pub fn check(&self) -> Result<()> {
        if self.overflown { Err(Errno::INVAL) } else { Ok(()) }
    }
}
