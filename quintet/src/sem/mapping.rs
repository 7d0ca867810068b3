//! The mapped files of sets.
//!
//! A set's file is mapped when its index is first used and stays mapped, so that an operation makes
//! no system call. A file is never used for a second set. When another set has taken the index,
//! zeroed memory replaces the old mapping. A thread that was interrupted in the middle of an
//! operation then finds a set that is not live.
//!
//! # Safety
//!
//! Each [`SetMemory`] and each [`Page`] names a range that this module mapped in full. Such a range
//! is never unmapped, only replaced by zeroed memory.
#![allow(unsafe_code)]

use crate::layout::{CELLS_INLINE, Page, SetHeader, SetMemory};
use crate::object::core::Core;
use crate::object::keys::no_memory;
use crate::object::mapping::{Chunks, MappedFile, MappedObject, MappingWord, ObjectFiles, PAGE, open_object};
use crate::process::thread_lock::ThreadLock;
use crate::sync::attach_count::ParticipantId;
use crate::sync::word::{self, Descriptor, SetWords, Word};
use crate::sys::fd::Fd;
use crate::sys::memory::{self, Access, Place};
use crate::sys::path_buffer::PathBuffer;
use crate::sys::table::{NEAR, Table, Zeroable};
use crate::sys::{clock, fd_thread, file};
use crate::types::error::Errno;
use crate::types::id::{Id, MAX_OBJECTS};
use crate::types::limits::Limits;
use crate::types::mechanism::Mechanism;
use crate::types::sem::SetStat;
use rustix::fs::Stat;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI16, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};

type Result<T> = std::result::Result<T, Errno>;

/// The number of pages in the first chunk. Each further chunk has twice as many as the one before.
const FIRST_CHUNK: u32 = 4;
/// The greatest number of chunks.
const CHUNKS: usize = 14;

/// What this process knows of the set at one index.
#[repr(C)]
pub struct SetEntry {
    file: MappedFile,
    /// The number of this process's undo record: see [`SetView::cached_record`].
    record: AtomicU64,
    /// The address of that record's first page; 0 if it is not mapped.
    record_page: AtomicUsize,
    /// The addresses of the mapped pages.
    chunks: Chunks<CHUNKS>,
}

impl SetEntry {
    /// Returns `true` if `address` lies in a mapping of this index.
    pub fn maps(&self, address: usize) -> bool {
        let fixed = self.file.load().is_some_and(|word| {
            let memory = memory_of(word);
            (memory.address()..memory.address() + SetMemory::bytes(memory.nsems()) as usize).contains(&address)
        });
        fixed || self.chunks.contain(address, chunk_bytes)
    }
}

// SAFETY: atomics only.
unsafe impl Zeroable for SetEntry {}

/// The entries of all indexes.
pub type SetTable = Table<SetEntry>;

/// The bits that sets define in a [`MappingWord`]: the number of semaphores, and whether the
/// mapping is writable.
const NSEMS: u32 = 0x1ffff;
const WRITABLE: u32 = 1 << 17;

#[inline(always)]
fn memory_of(word: MappingWord) -> SetMemory {
    // SAFETY: only `replace_mapping` creates these words, each for a mapping that it has made.
    unsafe { SetMemory::new(word.address(), word.bits() & NSEMS) }
}

/// The undo records of a participant that this process could not take over, because it may no
/// longer alter the set.
///
/// A mapping keeps the participant's lock, on the byte with this number (0 or 1 in
/// [`Registry::EXEC_LOCKS`]).
#[derive(Clone, Copy)]
pub struct InheritedUndo {
    pub owner: ParticipantId,
    pub byte: usize,
}

/// The sets of a namespace, as this process has them mapped.
#[repr(C)]
pub struct Sets {
    /// What the three classes share.
    pub core: &'static Core,
    /// The entries of all indexes.
    pub table: SetTable,
    /// The undo records of the program before `exec` that this process could not take over.
    pub inherited: Mutex<Vec<InheritedUndo>>,
    /// Held while one mapping replaces another.
    pub replacing: ThreadLock,
    /// The sets in which this process may have an undo record, one bit each.
    pub with_undo: &'static [AtomicU64; MAX_OBJECTS as usize / 64],
    /// Not 0 if a bit of `with_undo` may be set. A fork or an exit then need not touch the pages of
    /// the bits.
    pub undo_noted: &'static AtomicU32,
}

/// A set that is mapped from its file.
#[derive(Clone, Copy)]
pub struct SetView<'a> {
    /// The sets that it belongs to.
    pub sets: &'a Sets,
    /// Its index.
    pub index: u16,
    word: MappingWord,
}

impl SetWords for SetView<'_> {
    #[inline]
    fn word(&self, num: u32) -> Option<&AtomicU64> {
        self.memory().word(num)
    }

    fn descriptor(&self, nth: usize) -> Option<&Descriptor> {
        self.header().descriptors.get(nth)
    }
}

impl<'a> SetView<'a> {
    /// Returns the fixed part of the file.
    #[inline(always)]
    pub fn memory(&self) -> SetMemory {
        memory_of(self.word)
    }

    /// Returns the number of semaphores.
    #[inline(always)]
    pub fn nsems(&self) -> u32 {
        self.memory().nsems()
    }

    /// Returns what this process knows of the set.
    #[inline(always)]
    pub fn entry(&self) -> &'a SetEntry {
        &self.sets.table[usize::from(self.index)]
    }

    /// Returns `true` if the file is mapped writable.
    #[inline(always)]
    pub fn writable(&self) -> bool {
        self.word.bits() & WRITABLE != 0
    }

    /// Returns the state that `IPC_STAT` reports.
    pub fn stat(&self, id: Id) -> SetStat {
        let (perm, stored) = self.permissions();
        let header = self.header();
        let otime = header.otime.load(Relaxed) as i64;
        let ctime = stored.ctime.max(header.set_time.load(Relaxed) as i64);
        SetStat { key: self.key(), id, perm, otime, ctime, nsems: self.nsems() }
    }

    /// Sets `sem_otime` to the current time, because an operation was performed.
    #[inline(always)]
    pub fn stamp(&self) {
        let (now, otime) = (clock::time() as u64, &self.header().otime);
        if now > otime.load(Relaxed) {
            otime.store(now, Relaxed);
        }
    }

    /// Returns the word of a semaphore, plain or slow. Completes the operation of an MCAS marker
    /// that is in its place. `EINVAL` means that a peer has forged the marker.
    #[inline]
    pub fn settle(&self, num: u32) -> Result<Word> {
        word::settle(self, num).ok_or(Errno::INVAL)
    }

    /// Returns the number of the caller's undo record if it is cached. `me` is the caller as a
    /// packed participant.
    #[inline]
    pub fn cached_record(&self, me: u64) -> Option<u32> {
        let known = self.entry().record.load(Acquire);
        // The entry holds the mapping's tag (16 bits), the low 31 bits of the participant, and the
        // record (14 bits). A record of an earlier set at this index, or of the parent of a forked
        // child, does not match.
        (known != 0 && known >> 14 == (self.word.tag() << 31 | me & 0x7fff_ffff)).then_some((known & 0x3fff) as u32)
    }

    /// Caches the number of the caller's undo record, and the address of its first page.
    pub fn cache_record(&self, me: u64, record: u32) {
        let entry = self.entry();
        // No record is cached while the address changes. The Release store of the record below
        // publishes the address to a thread that loads the record with Acquire.
        entry.record.store(0, Release);
        let first = self.page(record.wrapping_sub(1)).map_or(0, |page| page.address());
        entry.record_page.store(first, Relaxed);
        entry.record.store((self.word.tag() << 31 | me & 0x7fff_ffff) << 14 | u64::from(record), Release);
    }

    /// Returns the cell of a semaphore in the record that [`SetView::cached_record`] has returned.
    #[inline]
    pub fn cached_cell(&self, record: u32, num: u32) -> Result<&'static AtomicI16> {
        let first = self.entry().record_page.load(Relaxed);
        if first != 0 && num < CELLS_INLINE {
            // SAFETY: `cache_record` stored the address of a page. The page stays mapped, or zeroed
            // memory replaces it.
            return Ok(unsafe { Page::new(first) }.first_cell(num));
        }
        self.record_cell(record, num)
    }

    /// Returns the number of pages that the header records. A peer can write any number there.
    pub fn pages(&self) -> u32 {
        self.header().pages.load(Acquire).min(chunk_start(CHUNKS))
    }

    /// Corrects the recorded number of pages if it differs from the file, and checks that all pages
    /// can be mapped. The caller holds the set's lock.
    ///
    /// `EACCES` means that this process may not map some pages. `EIDRM` means that the file is no
    /// longer in its place.
    pub fn check_pages(&self) -> Result<()> {
        let can_map = |pages| is_chunk_start(pages) && self.all_pages().count() as u32 >= pages;
        let recorded = self.pages();
        match self.pages_in_file() {
            Ok(actual) => {
                // They differ if a process died in `grow` after the file grew, or if a peer
                // overwrote the number. The pages beyond the recorded number are still free.
                if actual != recorded {
                    self.header().pages.store(actual, Release);
                }
                if can_map(actual) { Ok(()) } else { Err(Errno::ACCES) }
            }
            // The file cannot be examined, but all recorded pages are mapped, so the set goes on
            // working.
            Err(_) if can_map(recorded) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Returns the number of pages that the file has, whatever its header records.
    fn pages_in_file(&self) -> Result<u32> {
        let stat = match fd_thread::run(|| file::stat(self.sets.path(self.index).c_str())) {
            Ok(stat) if self.file().is(&stat) => stat,
            Ok(_) | Err(Errno::NOENT) => return Err(Errno::IDRM),
            Err(e) => return Err(e),
        };
        let pages = (stat.st_size as u64).saturating_sub(SetMemory::bytes(self.nsems())) / PAGE;
        let chunks = (1..=CHUNKS).take_while(|chunks| u64::from(chunk_start(*chunks)) <= pages).count();
        Ok(chunk_start(chunks))
    }

    /// Returns a page, which is mapped if necessary. `EINVAL` means that the file has no such page.
    pub fn page(&self, number: u32) -> Result<Page> {
        if number >= self.pages() {
            return Err(Errno::INVAL);
        }
        let chunk = (number / FIRST_CHUNK + 1).ilog2() as usize;
        let within = u64::from(number - chunk_start(chunk)) * PAGE;
        let at = match self.chunk(chunk) {
            Some(at) => at,
            None => self.map_chunk(chunk)?,
        };
        // SAFETY: the whole chunk is mapped, and the page lies in it.
        Ok(unsafe { Page::new(at + within as usize) })
    }

    fn chunk(&self, chunk: usize) -> Option<usize> {
        self.entry().chunks.get(chunk, self.word.tag())
    }

    fn map_chunk(&self, chunk: usize) -> Result<usize> {
        let len = chunk_bytes(chunk);
        self.entry().chunks.map(chunk, self.word.tag(), len, || {
            fd_thread::run(|| {
                let (fd, stat) = file::open(self.sets.path(self.index).c_str(), self.writable())?;
                let offset = SetMemory::bytes(self.nsems()) + u64::from(chunk_start(chunk)) * PAGE;
                if !self.file().is(&stat) || (stat.st_size as u64) < offset + len as u64 {
                    return Err(Errno::INVAL);
                }
                let access = if self.writable() { Access::WRITE } else { Access::READ };
                memory::map_range(&fd, offset, len, access)
            })
        })
    }

    /// Adds one chunk of pages to the file. The caller holds the set's lock. `ENOMEM` means that
    /// there is no room.
    pub fn grow(&self) -> Result<()> {
        fd_thread::run(|| self.grow_inner())
    }

    fn grow_inner(&self) -> Result<()> {
        let pages = self.pages();
        let chunk = (pages / FIRST_CHUNK + 1).ilog2() as usize;
        if chunk >= CHUNKS || chunk_start(chunk) != pages {
            return Err(Errno::NOMEM);
        }
        let more = chunk_start(chunk + 1);
        let (fd, stat) = file::open(self.sets.path(self.index).c_str(), true)?;
        if !self.file().is(&stat) {
            return Err(Errno::IDRM);
        }
        let bytes = SetMemory::bytes(self.nsems()) + u64::from(more) * PAGE;
        file::fits_file_limit(bytes)?;
        file::extend(&fd, stat.st_size as u64, bytes).map_err(no_memory)?;
        // The file gets the pages before the header records them. A crash before this store leaves
        // pages that no process uses; `check_pages` finds them.
        self.header().pages.store(more, Release);
        Ok(())
    }
}

/// Returns `true` if `pages` is the number of pages in a whole number of chunks.
fn is_chunk_start(pages: u32) -> bool {
    pages.is_multiple_of(FIRST_CHUNK) && (pages / FIRST_CHUNK + 1).is_power_of_two()
}

/// Returns the number of the first page of a chunk.
fn chunk_start(chunk: usize) -> u32 {
    FIRST_CHUNK * ((1 << chunk) - 1)
}

/// Returns the size of a chunk in bytes.
fn chunk_bytes(chunk: usize) -> usize {
    ((FIRST_CHUNK as usize) << chunk) * PAGE as usize
}

impl<'a> MappedObject<'a> for SetView<'a> {
    type Files = Sets;
    type Header = SetHeader;

    #[inline(always)]
    fn files(&self) -> &'a Sets {
        self.sets
    }

    #[inline(always)]
    fn index(&self) -> u16 {
        self.index
    }

    #[inline(always)]
    fn mapping(&self) -> MappingWord {
        self.word
    }

    #[inline(always)]
    fn header(&self) -> &'static SetHeader {
        self.memory().header()
    }

    #[inline(always)]
    fn is_writable(&self) -> bool {
        self.writable()
    }
}

impl ObjectFiles for Sets {
    const OF: Mechanism = Mechanism::Sem;
    type View<'a> = SetView<'a>;

    #[inline(always)]
    fn file(&self, index: u16) -> &MappedFile {
        &self.table[usize::from(index)].file
    }

    #[inline(always)]
    fn view(&self, index: u16, word: MappingWord) -> SetView<'_> {
        SetView { sets: self, index, word }
    }

    fn written_path(&self, index: u16) -> PathBuffer {
        self.path(index)
    }

    #[inline(never)]
    fn open(&self, index: u16) -> Result<Option<SetView<'_>>> {
        let before = self.file(index).load();
        let path = self.path(index);
        let Some((fd, stat, writable)) = open_object(&path)? else { return Ok(None) };
        let mut begin = [0u8; 8];
        let read = rustix::io::pread(&fd, &mut begin, 0)?;
        let nsems = u32::from_ne_bytes([begin[4], begin[5], begin[6], begin[7]]);
        if read < begin.len() || nsems == 0 || nsems > Limits::MAX_SEMMSL || begin != SetHeader::blank(nsems) {
            return Ok(None);
        }
        self.replace_mapping(index, before, &fd, &stat, nsems, writable)
    }
}

impl Sets {
    /// Creates the empty tables of a namespace. `near` is the part of the table that lies in the
    /// fork page.
    pub fn new(
        core: &'static Core,
        near: &'static [SetEntry; NEAR],
        with_undo: &'static [AtomicU64; MAX_OBJECTS as usize / 64],
        undo_noted: &'static AtomicU32,
    ) -> Result<Sets> {
        let table = SetTable::new(near, MAX_OBJECTS as usize)?;
        Ok(Sets { core, table, inherited: Mutex::new(Vec::new()), replacing: ThreadLock::new(), with_undo, undo_noted })
    }

    /// Returns `true` if `address` lies in a mapping of a set's file. Reads atomics only.
    pub fn maps(&self, address: usize) -> bool {
        self.table.iter().any(|entry| entry.maps(address))
    }

    /// Clears what belongs to the parent, in a forked child.
    #[allow(unsafe_code)]
    // SAFETY: a function may lie in any section of code; see `backend/directory/hooks.rs`.
    #[unsafe(link_section = ".text.hot.quintet_fork")]
    pub fn after_fork_in_child(&self) {
        self.replacing.forget();
        self.forget_own_undo();
    }

    /// Returns the path of a set's file.
    pub fn path(&self, index: u16) -> PathBuffer {
        PathBuffer::new(self.core.directory(), format_args!("/sem/{index}"))
    }

    /// Returns a view of the set that can map all pages, for reading.
    ///
    /// A process that has lost write permission since it mapped the file cannot map further pages
    /// as writable. It gets a read-only mapping instead.
    pub fn with_all_pages<'a>(&'a self, set: SetView<'a>) -> SetView<'a> {
        let mapped = set.all_pages().count() as u32;
        if !set.writable() || mapped == set.pages() || set.pages_in_file().is_ok_and(|pages| mapped >= pages) {
            return set;
        }
        let read_only = fd_thread::run(|| {
            let (fd, stat) = file::open(self.path(set.index).c_str(), false)?;
            if !set.file().is(&stat) {
                return Ok(None);
            }
            self.replace_mapping(set.index, Some(set.word), &fd, &stat, set.nsems(), false)
        });
        read_only.ok().flatten().unwrap_or(set)
    }

    /// Maps the zeroed file of a new set with `nsems` semaphores, and makes it valid.
    pub fn map_new(&self, index: u16, fd: &Fd, nsems: u32) -> Result<SetView<'_>> {
        let before = self.file(index).load();
        let set = self.replace_mapping(index, before, fd, &rustix::fs::fstat(fd)?, nsems, true)?.ok_or(Errno::INVAL)?;
        set.header().set_up(nsems);
        Ok(set)
    }

    /// Maps a set's file in place of the mapping `before`. Returns the current view if another
    /// thread has replaced `before` meanwhile.
    fn replace_mapping(
        &self,
        index: u16,
        before: Option<MappingWord>,
        fd: &Fd,
        stat: &Stat,
        nsems: u32,
        writable: bool,
    ) -> Result<Option<SetView<'_>>> {
        let len = SetMemory::bytes(nsems);
        if (stat.st_size as u64) < len {
            return Err(Errno::INVAL);
        }
        let access = if writable { Access::WRITE } else { Access::READ };
        let _mapping = self.replacing.lock();
        // SAFETY: the kernel chooses the address, so nothing is overlapped.
        let at = unsafe { memory::map(fd, len as usize, access, Place::Anywhere) }?;
        // SAFETY: just mapped in full. It is unmapped below only if no thread has seen it.
        let memory = unsafe { SetMemory::new(at, nsems) };
        let word = MappingWord::new(memory.address(), nsems | if writable { WRITABLE } else { 0 });
        let entry = &self.table[usize::from(index)];
        if entry.file.load() != before {
            // Another thread has replaced the mapping meanwhile.
            // SAFETY: just mapped, and no thread has seen it.
            let _ = unsafe { memory::unmap(at, len as usize) };
            return Ok(self.cached(index));
        }
        let same = entry.file.replace(word, stat, || entry.record.store(0, Relaxed));
        if let Some(before) = before.filter(|_| !same) {
            self.retire_mapping(index, before);
        }
        Ok(Some(SetView { sets: self, index, word }))
    }

    /// Replaces a former mapping by zeroes. Only a thread that was interrupted while it used the
    /// set still accesses it.
    fn retire_mapping(&self, index: u16, word: MappingWord) {
        let old = memory_of(word);
        // SAFETY: the range is a former mapping of this index. Zeroed memory is a set that is not
        // live.
        unsafe { memory::replace_with_zeroes(old.address(), SetMemory::bytes(old.nsems()) as usize) };
        self.table[usize::from(index)].chunks.retire(word.tag(), chunk_bytes);
    }
}
