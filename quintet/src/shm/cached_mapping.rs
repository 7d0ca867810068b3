//! Templates: a few pages of a data file that this process keeps mapped, so that it can attach the
//! segment again by duplicating the mapping instead of opening the file.
//!
//! | serial | meaning | next |
//! |---|---|---|
//! | 0 | no template, or one being put in place | n |
//! | n | a view of the data file of that number | 0 |
//!
//! The address never changes once set: a successor is mapped over it, so that who duplicates it at
//! that moment gets one file or the other, and sees by the serial which.
//!
//! # Safety
//!
//! A template is `RECYCLED_BYTES` long, mapped here, and used by this module and `create::reuse` alone.
#![allow(unsafe_code)]

use crate::layout::RECYCLED_BYTES;
use crate::shm::mapping::{SegmentView, Segments};
use crate::sys::fd::Fd;
use crate::sys::memory::{self, Access, Place};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};

const LEN: usize = RECYCLED_BYTES as usize;

/// One template; all zeroes at first.
#[repr(C)]
pub struct CachedMapping {
    address: AtomicUsize,
    serial: AtomicU64,
    /// The data file's size when it was mapped: what a control file says of it may be a lie.
    size: AtomicUsize,
    /// The number of the data file that was last attached here by opening it.
    seen: AtomicU64,
}

impl CachedMapping {
    /// Its address, if it is a view of the data file `serial`, which has `len` bytes.
    pub fn serves(&self, serial: u64, len: usize) -> Option<usize> {
        let at = self.address.load(Acquire);
        let serves = at != 0 && serial != 0 && self.serial.load(SeqCst) == serial && len <= self.size.load(Relaxed);
        serves.then_some(at)
    }

    pub fn maps(&self, address: usize) -> bool {
        let at = self.address.load(Acquire);
        at != 0 && (at..at + LEN).contains(&address)
    }

    /// Maps the data file `serial`, `len` bytes of it.
    pub fn duplicate(&self, serial: u64, len: usize) -> Option<usize> {
        let at = self.serves(serial, len)?;
        let address = memory::duplicate(at, len).ok()?;
        if self.serves(serial, len).is_some() {
            return Some(address);
        }
        // SAFETY: just mapped.
        let _ = unsafe { memory::unmap(address, len) };
        None
    }

    /// Whether the data file is opened for attaching a second time in a row.
    pub fn is_seen_again(&self, serial: u64) -> bool {
        self.seen.swap(serial, Relaxed) == serial && self.serves(serial, 0).is_none()
    }

    fn put(&self, fd: &Fd, serial: u64, write: bool) -> bool {
        let Ok(stat) = rustix::fs::fstat(fd) else { return false };
        let old = self.address.load(Acquire);
        let place = if old == 0 { Place::Anywhere } else { Place::Over(old) };
        self.serial.store(0, SeqCst);
        // SAFETY: `old` is this template's own mapping.
        let Ok(at) = (unsafe { memory::map(fd, LEN, Access { write, execute: false }, place) }) else { return false };
        if old == 0 && self.address.compare_exchange(0, at, AcqRel, Acquire).is_err() {
            // SAFETY: just mapped; another thread's is in use.
            let _ = unsafe { memory::unmap(at, LEN) };
            return false;
        }
        self.size.store(stat.st_size as usize, Relaxed);
        self.serial.store(serial, SeqCst);
        true
    }

    fn drop_view(&self) {
        let at = self.address.load(Acquire);
        if at != 0 && self.serial.swap(0, SeqCst) != 0 {
            // SAFETY: this template's own mapping.
            unsafe { memory::make_inaccessible(at, LEN) };
        }
    }
}

impl Segments {
    /// Keeps a view of a segment's data file, and says so in its control file.
    pub fn cache_mapping(&self, view: &SegmentView, index: u16, slot: u32, fd: &Fd, write: bool) {
        let serial = view.data_serial.load(Relaxed);
        if self.table[usize::from(index)].cached_mapping(write).put(fd, serial, write) {
            let mine = slot + 1;
            if view.cached_mappings.compare_exchange(0, mine, SeqCst, SeqCst).is_err_and(|other| other != mine) {
                view.cached_mappings.store(u32::MAX, SeqCst);
            }
        }
    }

    /// Forgets the views of a segment that is gone, so that they do not keep its memory.
    pub fn drop_cached_mappings(&self, index: u16) {
        let entry = &self.table[usize::from(index)];
        entry.cached_mapping(false).drop_view();
        entry.cached_mapping(true).drop_view();
    }
}
