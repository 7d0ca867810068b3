//! The list of this process's attachments: address, length and segment.
//!
//! The list consists of chunks and only grows. A thread takes or returns an entry by one
//! compare-and-swap. The list needs neither a lock nor an allocator, so that a signal handler may
//! attach and detach.
//!
//! | address of an entry | meaning | next |
//! |---|---|---|
//! | 0 | free | `BUSY`, set by the thread that reserves it |
//! | `BUSY` | owned by the thread that fills it or detaches it | an address, or 0 |
//! | other | an attachment | `BUSY`, set by the thread that detaches it |
//!
//! # Safety
//!
//! A chunk is zeroed memory of sufficient size. It contains only atomics, and nothing unmaps it.
#![allow(unsafe_code)]

use crate::sys::memory;
use crate::types::error::Errno;
use crate::types::id::Id;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::*};

const BUSY: usize = 1;
const PER_CHUNK: usize = 1024;

/// The number of entries before the first chunk. They lie with the other memory that a fork copies.
pub const FIRST: usize = 32;

#[repr(C)]
pub struct Entry {
    address: AtomicUsize,
    len: AtomicUsize,
    id: AtomicU32,
    torn: AtomicU32,
}

#[repr(C)]
struct Chunk {
    entries: [Entry; PER_CHUNK],
    next: AtomicUsize,
}

/// One attachment of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AttachedRange {
    pub address: usize,
    pub len: usize,
    pub id: Id,
    /// `true` if the program unmapped or replaced a part of it.
    pub torn: bool,
}

impl AttachedRange {
    /// Returns `true` if the range shares a byte with `address..address + len`.
    pub fn overlaps(&self, address: usize, len: usize) -> bool {
        self.address < address.saturating_add(len) && address < self.address.saturating_add(self.len)
    }

    /// Returns `true` if the range lies within `address..address + len`.
    pub fn within(&self, address: usize, len: usize) -> bool {
        address <= self.address && self.address.saturating_add(self.len) <= address.saturating_add(len)
    }
}

/// A `BUSY` entry, which belongs to the calling thread.
#[derive(Clone, Copy)]
pub struct OwnedEntry(&'static Entry);

impl OwnedEntry {
    /// Stores an attachment in the entry and publishes it.
    pub fn fill(self, mapped: AttachedRange) {
        self.0.len.store(mapped.len, Relaxed);
        self.0.id.store(mapped.id.raw() as u32, Relaxed);
        self.0.torn.store(u32::from(mapped.torn), Relaxed);
        self.0.address.store(mapped.address, Release);
    }

    /// Marks the entry as free.
    pub fn free(self) {
        self.0.address.store(0, Release);
    }
}

/// The list of attachments.
pub struct Attachments {
    near: &'static [Entry; FIRST],
    more: AtomicUsize,
    /// An upper bound of the number of attachments. It includes reserved entries.
    count: AtomicUsize,
    /// 1 plus the highest position ever reserved.
    high: AtomicUsize,
}

impl Attachments {
    /// Creates an empty list with the given first entries.
    pub const fn new(near: &'static [Entry; FIRST]) -> Attachments {
        Attachments { near, more: AtomicUsize::new(0), count: AtomicUsize::new(0), high: AtomicUsize::new(0) }
    }

    /// Returns `true` if `address` lies in an attachment.
    pub fn maps(&self, address: usize) -> bool {
        self.entries().any(|entry| {
            let at = entry.address.load(Acquire);
            at > BUSY && (at..at.saturating_add(entry.len.load(Relaxed))).contains(&address)
        })
    }

    /// Returns `true` if there is no attachment and no reserved entry.
    pub fn is_empty(&self) -> bool {
        self.count.load(Acquire) == 0
    }

    /// Returns the entries that are not free.
    fn entries(&self) -> impl Iterator<Item = &'static Entry> {
        let chunks = std::iter::successors(chunk_at(self.more.load(Acquire)), |chunk| chunk_at(chunk.next.load(Acquire)));
        let all = self.near.iter().chain(chunks.flat_map(|chunk| &chunk.entries));
        all.take(self.high.load(Acquire)).filter(|entry| entry.address.load(Acquire) != 0)
    }

    /// Reserves an entry for a mapping that the caller is about to create.
    pub fn reserve(&self) -> Result<OwnedEntry, Errno> {
        self.count.fetch_add(1, AcqRel);
        if let Some(owned) = self.reserve_among(self.near, 0) {
            return Ok(owned);
        }
        let mut link = &self.more;
        let mut before = FIRST;
        loop {
            let chunk = match chunk_at(link.load(Acquire)) {
                Some(chunk) => chunk,
                None => match add_chunk(link) {
                    Ok(chunk) => chunk,
                    Err(e) => {
                        self.count.fetch_sub(1, AcqRel);
                        return Err(e);
                    }
                },
            };
            if let Some(owned) = self.reserve_among(&chunk.entries, before) {
                return Ok(owned);
            }
            before += PER_CHUNK;
            link = &chunk.next;
        }
    }

    fn reserve_among(&self, entries: &'static [Entry], before: usize) -> Option<OwnedEntry> {
        let free =
            |entry: &Entry| entry.address.load(Relaxed) == 0 && entry.address.compare_exchange(0, BUSY, Acquire, Relaxed).is_ok();
        let position = entries.iter().position(free)?;
        self.high.fetch_max(before + position + 1, AcqRel);
        Some(OwnedEntry(&entries[position]))
    }

    /// Frees an entry of the calling thread.
    pub fn free(&self, owned: OwnedEntry) {
        owned.free();
        self.count.fetch_sub(1, AcqRel);
    }

    /// Takes the first attachment that `matches` accepts out of the list.
    ///
    /// The entry then belongs to the caller, which unmaps the range.
    pub fn take(&self, matches: impl Fn(&AttachedRange) -> bool) -> Option<(OwnedEntry, AttachedRange)> {
        for entry in self.entries() {
            let Some(candidate) = read(entry).filter(&matches) else { continue };
            if entry.address.compare_exchange(candidate.address, BUSY, AcqRel, Relaxed).is_err() {
                continue;
            }
            // The entry now belongs to this thread. Another attachment at the same address may have
            // taken the entry just before, so the details are read again.
            match details(entry, candidate.address).filter(&matches) {
                Some(mapped) => return Some((OwnedEntry(entry), mapped)),
                None => entry.address.store(candidate.address, Release),
            }
        }
        None
    }

    /// Marks the attachments that `matches` accepts as torn.
    pub fn mark_torn(&self, matches: impl Fn(&AttachedRange) -> bool) {
        for entry in self.entries() {
            if read(entry).is_some_and(|mapped| matches(&mapped)) {
                entry.torn.store(1, Release);
            }
        }
    }

    /// Calls `f` with each attachment.
    pub fn for_each(&self, mut f: impl FnMut(AttachedRange)) {
        self.entries().filter_map(read).for_each(&mut f);
    }
}

fn read(entry: &Entry) -> Option<AttachedRange> {
    let address = entry.address.load(Acquire);
    let mapped = details(entry, address)?;
    (address > BUSY && entry.address.load(Acquire) == address).then_some(mapped)
}

fn details(entry: &Entry, address: usize) -> Option<AttachedRange> {
    let id = Id::from_raw(entry.id.load(Relaxed) as i32).ok()?;
    let (len, torn) = (entry.len.load(Relaxed), entry.torn.load(Relaxed) != 0);
    Some(AttachedRange { address, len, id, torn })
}

fn chunk_at(address: usize) -> Option<&'static Chunk> {
    // SAFETY: the address is 0 or that of a chunk, which nothing unmaps.
    unsafe { (address as *const Chunk).as_ref() }
}

fn add_chunk(link: &AtomicUsize) -> Result<&'static Chunk, Errno> {
    let at = memory::anonymous(size_of::<Chunk>())?;
    let address = match link.compare_exchange(0, at, AcqRel, Acquire) {
        Ok(_) => at,
        Err(other) => {
            // SAFETY: this call mapped it, and no other thread knows the address.
            let _ = unsafe { memory::unmap(at, size_of::<Chunk>()) };
            other
        }
    };
    chunk_at(address).ok_or(Errno::NOMEM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(address: usize) -> AttachedRange {
        AttachedRange { address, len: 4096, id: Id::new(0, 1), torn: false }
    }

    #[test]
    fn take_returns_filled_entries() {
        static NEAR: [Entry; FIRST] = [const {
            Entry { address: AtomicUsize::new(0), len: AtomicUsize::new(0), id: AtomicU32::new(0), torn: AtomicU32::new(0) }
        }; FIRST];
        let list = Attachments::new(&NEAR);
        for i in 1..=3000 {
            list.reserve().unwrap().fill(mapped(i * 8192));
        }
        let mut sum = 0;
        list.for_each(|m| sum += m.address / 8192);
        assert_eq!(sum, 3000 * 3001 / 2);
        for i in 1..=3000 {
            let (owned, got) = list.take(|m| m.address == i * 8192).unwrap();
            assert_eq!(got, mapped(i * 8192));
            list.free(owned);
        }
        assert!(list.is_empty());
        assert!(list.take(|_| true).is_none());
    }

    #[test]
    fn overlap_and_containment() {
        let m = mapped(8192);
        assert!(m.overlaps(8192, 1) && m.overlaps(0, 8193) && m.overlaps(12287, 100));
        assert!(!m.overlaps(0, 8192) && !m.overlaps(12288, 1));
        assert!(m.within(8192, 4096) && m.within(0, usize::MAX) && !m.within(8193, 4096) && !m.within(8192, 4095));
    }
}
