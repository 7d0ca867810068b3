//! The attachments of this process: which address is which segment.
//!
//! A list of chunks that only grows, of entries that are taken and given back by one
//! compare-and-swap each: no lock, no allocator, so that a signal handler may attach and detach.
//!
//! | address of an entry | meaning | next |
//! |---|---|---|
//! | 0 | free | `BUSY` by whoever takes it |
//! | `BUSY` | being filled in, or being detached | an address; 0 |
//! | other | a mapping | `BUSY` by whoever detaches it |
//!
//! # Safety
//!
//! A chunk is zeroed memory of its own, large enough, and never unmapped; it holds atomics only.
#![allow(unsafe_code)]

use crate::sys::memory;
use crate::types::error::Errno;
use crate::types::id::Id;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::*};

const BUSY: usize = 1;
const PER_CHUNK: usize = 1024;

/// The first entries, where the process keeps what a fork copies.
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

/// One mapping of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AttachedRange {
    pub address: usize,
    pub len: usize,
    pub id: Id,
    /// The program has unmapped a part of it by itself.
    pub torn: bool,
}

impl AttachedRange {
    /// Whether it shares a byte with `address..address + len`.
    pub fn overlaps(&self, address: usize, len: usize) -> bool {
        self.address < address.saturating_add(len) && address < self.address.saturating_add(self.len)
    }

    /// Whether it lies within `address..address + len`.
    pub fn within(&self, address: usize, len: usize) -> bool {
        address <= self.address && self.address.saturating_add(self.len) <= address.saturating_add(len)
    }
}

/// An entry that has been reserved, or taken out.
#[derive(Clone, Copy)]
pub struct Taken(&'static Entry);

impl Taken {
    /// Puts a mapping in.
    pub fn fill(self, mapped: AttachedRange) {
        self.0.len.store(mapped.len, Relaxed);
        self.0.id.store(mapped.id.raw() as u32, Relaxed);
        self.0.torn.store(u32::from(mapped.torn), Relaxed);
        self.0.address.store(mapped.address, Release);
    }

    /// Gives the entry back.
    pub fn free(self) {
        self.0.address.store(0, Release);
    }
}

/// The list.
pub struct Attachments {
    near: &'static [Entry; FIRST],
    more: AtomicUsize,
    /// How many there are, at least; more while one is being made.
    count: AtomicUsize,
    /// One more than the greatest place ever taken.
    high: AtomicUsize,
}

impl Attachments {
    /// An empty list with room for the first entries.
    pub const fn new(near: &'static [Entry; FIRST]) -> Attachments {
        Attachments { near, more: AtomicUsize::new(0), count: AtomicUsize::new(0), high: AtomicUsize::new(0) }
    }

    /// Whether an address lies in an attachment.
    pub fn maps(&self, address: usize) -> bool {
        self.entries().any(|entry| {
            let at = entry.address.load(Acquire);
            at > BUSY && (at..at.saturating_add(entry.len.load(Relaxed))).contains(&address)
        })
    }

    pub fn is_empty(&self) -> bool {
        self.count.load(Acquire) == 0
    }

    /// The entries that are, or have been, in use.
    fn entries(&self) -> impl Iterator<Item = &'static Entry> {
        let chunks = std::iter::successors(chunk_at(self.more.load(Acquire)), |chunk| chunk_at(chunk.next.load(Acquire)));
        let all = self.near.iter().chain(chunks.flat_map(|chunk| &chunk.entries));
        all.take(self.high.load(Acquire)).filter(|entry| entry.address.load(Acquire) != 0)
    }

    /// Reserves an entry for a mapping about to be made.
    pub fn reserve(&self) -> Result<Taken, Errno> {
        self.count.fetch_add(1, AcqRel);
        if let Some(taken) = self.reserve_among(self.near, 0) {
            return Ok(taken);
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
            if let Some(taken) = self.reserve_among(&chunk.entries, before) {
                return Ok(taken);
            }
            before += PER_CHUNK;
            link = &chunk.next;
        }
    }

    fn reserve_among(&self, entries: &'static [Entry], before: usize) -> Option<Taken> {
        let free =
            |entry: &Entry| entry.address.load(Relaxed) == 0 && entry.address.compare_exchange(0, BUSY, Acquire, Relaxed).is_ok();
        let place = entries.iter().position(free)?;
        self.high.fetch_max(before + place + 1, AcqRel);
        Some(Taken(&entries[place]))
    }

    /// Gives a reserved or taken entry back.
    pub fn free(&self, taken: Taken) {
        taken.free();
        self.count.fetch_sub(1, AcqRel);
    }

    /// Takes out the first mapping that `wanted` accepts: it is the caller's to unmap.
    pub fn take(&self, wanted: impl Fn(&AttachedRange) -> bool) -> Option<(Taken, AttachedRange)> {
        for entry in self.entries() {
            let Some(seen) = read(entry).filter(&wanted) else { continue };
            if entry.address.compare_exchange(seen.address, BUSY, AcqRel, Relaxed).is_err() {
                continue;
            }
            // Nobody else changes it from now on; but it may have been given back, and another one put in at the same address, just before.
            match details(entry, seen.address).filter(&wanted) {
                Some(mapped) => return Some((Taken(entry), mapped)),
                None => entry.address.store(seen.address, Release),
            }
        }
        None
    }

    /// Marks mappings of which the program has unmapped a part.
    pub fn tear(&self, torn: impl Fn(&AttachedRange) -> bool) {
        for entry in self.entries() {
            if read(entry).is_some_and(|mapped| torn(&mapped)) {
                entry.torn.store(1, Release);
            }
        }
    }

    /// Calls `f` with each mapping.
    pub fn each(&self, mut f: impl FnMut(AttachedRange)) {
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
    // SAFETY: see the module: 0, or a chunk that is never unmapped.
    unsafe { (address as *const Chunk).as_ref() }
}

fn add_chunk(link: &AtomicUsize) -> Result<&'static Chunk, Errno> {
    let at = memory::anonymous(size_of::<Chunk>())?;
    let here = match link.compare_exchange(0, at, AcqRel, Acquire) {
        Ok(_) => at,
        Err(other) => {
            // SAFETY: just mapped, and nobody has seen it.
            let _ = unsafe { memory::unmap(at, size_of::<Chunk>()) };
            other
        }
    };
    chunk_at(here).ok_or(Errno::NOMEM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(address: usize) -> AttachedRange {
        AttachedRange { address, len: 4096, id: Id::new(0, 1), torn: false }
    }

    #[test]
    fn takes_out_what_was_put_in() {
        static NEAR: [Entry; FIRST] = [const {
            Entry { address: AtomicUsize::new(0), len: AtomicUsize::new(0), id: AtomicU32::new(0), torn: AtomicU32::new(0) }
        }; FIRST];
        let list = Attachments::new(&NEAR);
        for i in 1..=3000 {
            list.reserve().unwrap().fill(mapped(i * 8192));
        }
        let mut sum = 0;
        list.each(|m| sum += m.address / 8192);
        assert_eq!(sum, 3000 * 3001 / 2);
        for i in 1..=3000 {
            let (taken, got) = list.take(|m| m.address == i * 8192).unwrap();
            assert_eq!(got, mapped(i * 8192));
            list.free(taken);
        }
        assert!(list.is_empty());
        assert!(list.take(|_| true).is_none());
    }

    #[test]
    fn ranges() {
        let m = mapped(8192);
        assert!(m.overlaps(8192, 1) && m.overlaps(0, 8193) && m.overlaps(12287, 100));
        assert!(!m.overlaps(0, 8192) && !m.overlaps(12288, 1));
        assert!(m.within(8192, 4096) && m.within(0, usize::MAX) && !m.within(8193, 4096) && !m.within(8192, 4095));
    }
}
