//! Cached mappings of data files.
//!
//! A process keeps a mapping of a small data file. A later `shmat` duplicates that mapping and need
//! not open the file.
//!
//! | serial | meaning | next |
//! |---|---|---|
//! | 0 | empty, or being replaced | n |
//! | n | maps the data file with this serial number | 0 |
//!
//! The address never changes once it is set, because a new file is mapped over the old one. A
//! thread that duplicates the mapping at that moment gets one of the two files. It compares the
//! serial before and after, and discards the duplicate if the serial changed.
//!
//! # Safety
//!
//! A cached mapping is `RECYCLED_BYTES` long. Only this module and `create::reuse` use its memory.
#![allow(unsafe_code)]

use crate::layout::RECYCLED_BYTES;
use crate::sys::fd::Fd;
use crate::sys::memory::{self, Access, Place};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};

const LEN: usize = RECYCLED_BYTES as usize;

/// One cached mapping. Zeroes are the empty state.
#[repr(C)]
pub struct CachedMapping {
    address: AtomicUsize,
    serial: AtomicU64,
    /// The size of the data file when it was mapped. A peer can falsify the size in the control
    /// file.
    size: AtomicUsize,
    /// The serial number of the data file that `shmat` opened last at this index.
    last_opened: AtomicU64,
}

impl CachedMapping {
    /// Returns the address, if the mapping is of the data file `serial` and the file has at least
    /// `len` bytes.
    pub fn address_for(&self, serial: u64, len: usize) -> Option<usize> {
        let at = self.address.load(Acquire);
        let matches = at != 0 && serial != 0 && self.serial.load(SeqCst) == serial && len <= self.size.load(Relaxed);
        matches.then_some(at)
    }

    /// Returns `true` if `address` lies in the mapping.
    pub fn maps(&self, address: usize) -> bool {
        let at = self.address.load(Acquire);
        at != 0 && (at..at + LEN).contains(&address)
    }

    /// Duplicates the first `len` bytes of the data file `serial`. Returns the address of the
    /// duplicate.
    pub fn duplicate(&self, serial: u64, len: usize) -> Option<usize> {
        let at = self.address_for(serial, len)?;
        let address = memory::duplicate(at, len).ok()?;
        if self.address_for(serial, len).is_some() {
            return Some(address);
        }
        // SAFETY: this call mapped it, and no other thread knows the address.
        let _ = unsafe { memory::unmap(address, len) };
        None
    }

    /// Returns `true` if `shmat` opens the same data file the second time in a row.
    pub fn is_reopened(&self, serial: u64) -> bool {
        self.last_opened.swap(serial, Relaxed) == serial && self.address_for(serial, 0).is_none()
    }

    /// Maps a data file in place of the previous one. Returns `false` on failure.
    pub fn replace(&self, fd: &Fd, serial: u64, write: bool) -> bool {
        let Ok(stat) = rustix::fs::fstat(fd) else { return false };
        let old = self.address.load(Acquire);
        let place = if old == 0 { Place::Anywhere } else { Place::Over(old) };
        self.serial.store(0, SeqCst);
        // SAFETY: `old` is the address of this cached mapping.
        let Ok(at) = (unsafe { memory::map(fd, LEN, Access { write, execute: false }, place) }) else { return false };
        if old == 0 && self.address.compare_exchange(0, at, AcqRel, Acquire).is_err() {
            // SAFETY: this call mapped it. Another thread stored its own mapping first.
            let _ = unsafe { memory::unmap(at, LEN) };
            return false;
        }
        self.size.store(stat.st_size as usize, Relaxed);
        self.serial.store(serial, SeqCst);
        true
    }

    /// Empties the cached mapping, so that it does not keep the memory of the file.
    pub fn clear(&self) {
        let at = self.address.load(Acquire);
        if at != 0 && self.serial.swap(0, SeqCst) != 0 {
            // SAFETY: `at` is the address of this cached mapping.
            unsafe { memory::make_inaccessible(at, LEN) };
        }
    }
}
