//! The files of queues, as this process has them mapped.
//!
//! The header and the near pages lie side by side, whether they are one file or two. Further pages
//! are mapped in chunks of growing size when they are first used. A mapping stays, so that an
//! operation makes no system call.
//!
//! A file is never used for a second queue. When another file has taken the index, zeroed memory
//! takes the place of the old mapping. A thread that was interrupted in the middle of an operation
//! then finds a queue that is not live.
//!
//! # Safety
//!
//! A [`QueueHeader`] or [`Slot`] lies in a mapping that was made here in its whole length. The
//! mapping is never unmapped, only replaced by zeroed memory.
#![allow(unsafe_code)]

use crate::layout::{Header, QueueHeader, Shared, Slot, UNIT};
use crate::object::core::Core;
use crate::object::keys::no_memory;
use crate::object::mapping::{Chunks, MappedFile, MappedObject, MappingWord, ObjectFiles, PAGE, open_object};
use crate::process::thread_lock::ThreadLock;
use crate::sync::redo;
use crate::sys::fd::Fd;
use crate::sys::memory::{self, Access, Place};
use crate::sys::path_buffer::PathBuffer;
use crate::sys::table::{NEAR, Table, Zeroable};
use crate::sys::{fd_thread, file};
use crate::types::error::Errno;
use crate::types::id::{Id, MAX_OBJECTS};
use crate::types::kind::Kind;
use crate::types::mechanism::Mechanism;
use crate::types::msg::QueueStat;
use std::sync::atomic::{AtomicU64, Ordering::*};

type Result<T> = std::result::Result<T, Errno>;

const UNITS_PER_PAGE: u32 = (PAGE as usize / UNIT) as u32;
/// The number of pages that every queue has, with the header.
pub const FIRST_PAGES: u32 = 5;
const FIRST_BYTES: u64 = FIRST_PAGES as u64 * PAGE;
/// The number of pages that are mapped in one piece, whether the file has them yet or not.
///
/// The address space of a queue that is gone is not used again.
const NEAR_PAGES: u32 = 64;
const NEAR_BYTES: usize = NEAR_PAGES as usize * PAGE as usize;
/// The number of pages in the first chunk. Each further chunk has twice as many as the one before.
const FIRST_CHUNK: u32 = 64;
/// The number of chunks.
const CHUNKS: usize = 20;
/// The greatest number of pages: 256 GiB.
const MAX_PAGES: u32 = NEAR_PAGES + FIRST_CHUNK * ((1 << CHUNKS) - 1);

/// What this process knows of the queue at one index.
#[repr(C)]
pub struct QueueEntry {
    file: MappedFile,
    /// The number of pages that the file is known to have. The lowest 16 bits are the tag of the
    /// mapping.
    pages: AtomicU64,
    /// The inode number of the file with the pages.
    pages_inode: AtomicU64,
    /// The chunks in which further pages are mapped.
    chunks: Chunks<CHUNKS>,
}

impl QueueEntry {
    /// Returns `true` if the address lies in a mapping of this index.
    pub fn maps(&self, address: usize) -> bool {
        let near = self.file.load().map(MappingWord::address);
        near.is_some_and(|at| (at..at + NEAR_BYTES).contains(&address)) || self.chunks.contain(address, chunk_bytes)
    }
}

// SAFETY: atomics only.
unsafe impl Zeroable for QueueEntry {}

/// The entries of all indexes.
pub type QueueTable = Table<QueueEntry>;

/// The bits of a [`MappingWord`] for queues: the header can be written, the pages can be written.
/// The index is above them, so that a view is two words, which the compiler keeps in registers.
const WRITABLE: u32 = 1;
const PAGES: u32 = 2;
const INDEX_SHIFT: u32 = 2;

/// The queues of a namespace, as this process has them mapped.
#[repr(C)]
pub struct Queues {
    /// The registry and the participants.
    pub core: &'static Core,
    /// A copy of the core's, so that `msgsnd` reads a limit with one load less.
    pub header: Shared<Header>,
    /// What this process knows of each index.
    pub table: QueueTable,
    /// Held while one mapping replaces another.
    pub replacing: ThreadLock,
}

/// A mapped queue.
#[derive(Clone, Copy)]
pub struct QueueView<'a> {
    /// The queues of its namespace.
    pub queues: &'a Queues,
    word: MappingWord,
}

impl<'a> QueueView<'a> {
    /// Returns what this process knows of the queue.
    #[inline(always)]
    pub fn entry(&self) -> &'a QueueEntry {
        &self.queues.table[usize::from(self.index() % MAX_OBJECTS as u16)]
    }

    /// Returns `true` if header and pages are mapped writable: the caller has read or write
    /// permission.
    #[inline(always)]
    pub fn is_fully_mapped(&self) -> bool {
        self.word.bits() & (WRITABLE | PAGES) == WRITABLE | PAGES
    }

    /// Returns `true` if the header is mapped writable.
    pub fn writable(&self) -> bool {
        self.word.bits() & WRITABLE != 0
    }

    /// Returns the state that `IPC_STAT` reports, as of one instant.
    pub fn stat(&self, id: Id) -> QueueStat {
        use crate::layout::{Stamp, low};
        let header = self.header();
        let (perm, stored) = self.permissions();
        let words = [&header.bytes, &header.count, &header.sent, &header.received, &header.capacity];
        let read = || words.map(|word| word.load(Relaxed));
        let [bytes, count, sent, received, capacity] = redo::snapshot(header.journals(), &header.changes, read);
        let (sent, received) = (Stamp::unpack(sent), Stamp::unpack(received));
        QueueStat {
            key: self.key(),
            id,
            perm,
            stime: sent.time as i64,
            rtime: received.time as i64,
            ctime: stored.ctime,
            bytes,
            messages: low(count).into(),
            capacity,
            lspid: sent.pid as i32,
            lrpid: received.pid as i32,
        }
    }

    /// Returns the number of pages that the header records. A peer can write any number there.
    pub fn pages(&self) -> u32 {
        self.header().pages.load(Acquire).min(MAX_PAGES)
    }

    /// Returns the slot with this unit. `EINVAL` means that the file has no such page, or that the
    /// pages are not mapped.
    #[inline(always)]
    pub fn slot(&self, unit: u32) -> Result<Slot> {
        let page = unit / UNITS_PER_PAGE;
        if page.wrapping_sub(1) < FIRST_PAGES - 1 && self.word.bits() & PAGES != 0 {
            // SAFETY: the page is one of the first pages, which are mapped.
            return Ok(unsafe { Slot::new(self.word.address() + unit as usize * UNIT, unit) });
        }
        if (FIRST_PAGES..NEAR_PAGES.min(self.known_pages())).contains(&page) {
            // SAFETY: the page is mapped, and the file is known to have it.
            return Ok(unsafe { Slot::new(self.word.address() + unit as usize * UNIT, unit) });
        }
        self.far_slot(unit)
    }

    #[inline(never)]
    fn far_slot(&self, unit: u32) -> Result<Slot> {
        let page = unit / UNITS_PER_PAGE;
        if page < FIRST_PAGES || self.word.bits() & PAGES == 0 {
            return Err(Errno::INVAL);
        }
        if page >= self.known_pages() && (page >= self.pages() || page >= self.query_pages()?) {
            return Err(Errno::INVAL);
        }
        if page < NEAR_PAGES {
            // SAFETY: as in `slot`.
            return Ok(unsafe { Slot::new(self.word.address() + unit as usize * UNIT, unit) });
        }
        let chunk = ((page - NEAR_PAGES) / FIRST_CHUNK + 1).ilog2() as usize;
        let at = match self.chunk(chunk) {
            Some(at) => at,
            None => self.map_chunk(chunk)?,
        };
        let within = unit as usize * UNIT - chunk_start(chunk) as usize * PAGE as usize;
        // SAFETY: the chunk is mapped, and the file is known to have this page of it.
        Ok(unsafe { Slot::new(at + within, unit) })
    }

    /// Returns the number of pages that the file is known to have; 0 for a mapping without pages.
    #[inline(always)]
    fn known_pages(&self) -> u32 {
        let known = self.entry().pages.load(Relaxed);
        if known & 0xffff == self.word.tag() { (known >> 16) as u32 } else { 0 }
    }

    /// Returns the greatest number of slots, whatever the header records. A walk through a list
    /// makes no more steps than this.
    pub fn max_slots(&self) -> u32 {
        let known = self.known_pages().max(FIRST_PAGES);
        let pages = if self.pages() <= known { self.pages() } else { self.query_pages().unwrap_or(known).min(self.pages()) };
        pages.saturating_mul(UNITS_PER_PAGE)
    }

    /// Opens the file with the pages, and returns its size in bytes. `EIDRM` means that it is not
    /// the file that was mapped.
    fn open_pages(&self) -> Result<(Fd, u64)> {
        let opened = file::open(self.queues.pages_path(self.index()).c_str(), true);
        let (fd, stat) = opened.map_err(|e| if e == Errno::NOENT { Errno::IDRM } else { e })?;
        if stat.st_ino as u64 != self.entry().pages_inode.load(Relaxed) {
            return Err(Errno::IDRM);
        }
        Ok((fd, stat.st_size as u64))
    }

    /// Returns the number of pages that the file has, and remembers it.
    fn query_pages(&self) -> Result<u32> {
        let size = fd_thread::run(|| Ok::<_, Errno>(self.open_pages()?.1))?;
        let pages = (size / PAGE).min(MAX_PAGES.into());
        self.entry().pages.store(pages << 16 | self.word.tag(), Relaxed);
        Ok(pages as u32)
    }

    fn chunk(&self, chunk: usize) -> Option<usize> {
        self.entry().chunks.get(chunk, self.word.tag())
    }

    fn map_chunk(&self, chunk: usize) -> Result<usize> {
        let (len, from) = (chunk_bytes(chunk), u64::from(chunk_start(chunk)) * PAGE);
        self.entry().chunks.map(chunk, self.word.tag(), len, || {
            fd_thread::run(|| memory::map_range(&self.open_pages()?.0, from, len, Access::WRITE))
        })
    }

    /// Adds `more` pages to the file. The caller holds the queue lock. `ENOMEM` means that there is
    /// no room.
    pub fn grow(&self, more: u32) -> Result<()> {
        let pages = self.pages().checked_add(more).filter(|pages| *pages <= MAX_PAGES).ok_or(Errno::NOMEM)?;
        let bytes = u64::from(pages) * PAGE;
        fd_thread::run(|| {
            let (fd, len) = self.open_pages()?;
            file::fits_file_limit(bytes)?;
            file::reserve_up_to(&fd, len, bytes).map_err(no_memory)
        })?;
        // The file gets the pages before the header records them. A crash in between leaves pages
        // that no process uses, and the next growth reserves them again.
        self.header().pages.store(pages, Release);
        Ok(())
    }

    /// Frees the memory of all but the first pages. The caller holds the queue lock, and no slot
    /// there is in use.
    pub fn shrink(&self) {
        let (from, to) = (u64::from(FIRST_PAGES) * PAGE, u64::from(self.pages()) * PAGE);
        let _ = fd_thread::run(|| {
            let (fd, _) = self.open_pages()?;
            // The header forgets the pages before their memory is freed. The file keeps its length,
            // so a peer that uses an old number of pages reads zeroes.
            self.header().pages.store(FIRST_PAGES, Release);
            file::punch(&fd, from, to - from);
            Ok::<_, Errno>(())
        });
    }

    /// Returns the word of a place, as a journal names it. Journals are shared memory, so any place
    /// can occur.
    pub fn word_at(&self, place: u64) -> Option<&'static AtomicU64> {
        const WORDS: u64 = PAGE / 8;
        if place < WORDS {
            let at = self.word.address() + 8 * place as usize;
            // SAFETY: the word lies in the page of the header, which is mapped. It is only used as
            // an atomic.
            return Some(unsafe { &*(at as *const AtomicU64) });
        }
        let per_unit = UNIT as u64 / 8;
        let slot = self.slot(u32::try_from(place / per_unit).ok()?).ok()?;
        Some(slot.word((place % per_unit) as usize))
    }

    /// Returns the place of a word of the header.
    #[inline(always)]
    pub fn place_of(&self, word: &'static AtomicU64) -> u64 {
        (std::ptr::from_ref(word) as usize).wrapping_sub(self.word.address()) as u64 / 8
    }
}

impl redo::JournalWords for QueueView<'_> {
    fn word(&self, place: u64) -> Option<&AtomicU64> {
        self.word_at(place)
    }
}

/// Returns the number of the first page of a chunk.
fn chunk_start(chunk: usize) -> u32 {
    NEAR_PAGES + FIRST_CHUNK * ((1 << chunk) - 1)
}

/// Returns the size of a chunk in bytes.
fn chunk_bytes(chunk: usize) -> usize {
    (FIRST_CHUNK as usize * PAGE as usize) << chunk
}

impl<'a> MappedObject<'a> for QueueView<'a> {
    type Files = Queues;
    type Header = QueueHeader;

    #[inline(always)]
    fn files(&self) -> &'a Queues {
        self.queues
    }

    #[inline(always)]
    fn index(&self) -> u16 {
        (self.word.bits() >> INDEX_SHIFT) as u16 % MAX_OBJECTS as u16
    }

    #[inline(always)]
    fn mapping(&self) -> MappingWord {
        self.word
    }

    #[inline(always)]
    fn header(&self) -> &'static QueueHeader {
        // SAFETY: a view is only made of a mapping that `replace_mapping` has made. The header has
        // only atomics.
        unsafe { &*(self.word.address() as *const QueueHeader) }
    }

    #[inline(always)]
    fn is_writable(&self) -> bool {
        self.is_fully_mapped()
    }
}

impl ObjectFiles for Queues {
    const OF: Mechanism = Mechanism::Msg;
    type View<'a> = QueueView<'a>;

    #[inline(always)]
    fn file(&self, index: u16) -> &MappedFile {
        &self.table[usize::from(index)].file
    }

    #[inline(always)]
    fn view(&self, _index: u16, word: MappingWord) -> QueueView<'_> {
        QueueView { queues: self, word }
    }

    fn written_path(&self, index: u16) -> PathBuffer {
        self.pages_path(index)
    }

    #[inline(never)]
    fn open(&self, index: u16) -> Result<Option<QueueView<'_>>> {
        let before = self.file(index).load();
        let path = self.path(index);
        let Some((fd, stat, writable)) = open_object(&path)? else { return Ok(None) };
        if (stat.st_size as u64) < PAGE {
            return Ok(None);
        }
        let pages = match self.core.kind() {
            Kind::Private => None,
            Kind::Shared => match file::open(self.pages_path(index).c_str(), true) {
                Err(e @ (Errno::MFILE | Errno::NFILE)) => return Err(e),
                opened => opened.ok().map(|(fd, _)| fd),
            },
        };
        let view = self.replace_mapping(index, before, &fd, pages.as_ref(), writable)?;
        Ok(view.header().is_valid().then_some(view))
    }
}

impl Queues {
    /// Creates the empty tables of a namespace. `near` is the part of the table that lies in the
    /// fork page.
    pub fn new(core: &'static Core, near: &'static [QueueEntry; NEAR]) -> Result<Queues> {
        Ok(Queues {
            core,
            header: core.header,
            table: QueueTable::new(near, MAX_OBJECTS as usize)?,
            replacing: ThreadLock::new(),
        })
    }

    /// Returns `true` if `address` lies in a mapping of a queue's file. Reads atomics only.
    pub fn maps(&self, address: usize) -> bool {
        self.table.iter().any(|entry| entry.maps(address))
    }

    /// Clears what belongs to the parent, in a forked child.
    #[allow(unsafe_code)]
    // SAFETY: a function may lie in any section of code; see `backend/directory/hooks.rs`.
    #[unsafe(link_section = ".text.hot.quintet_fork")]
    pub fn after_fork_in_child(&self) {
        self.replacing.forget();
    }

    /// Returns the path of a queue's file.
    pub fn path(&self, index: u16) -> PathBuffer {
        PathBuffer::new(self.core.directory(), format_args!("/msg/{index}"))
    }

    /// Returns the path of the file with the pages. In a private namespace this is the file with
    /// the header.
    pub fn pages_path(&self, index: u16) -> PathBuffer {
        match self.core.kind() {
            Kind::Private => self.path(index),
            Kind::Shared => PathBuffer::new(self.core.directory(), format_args!("/msg/{index}.data")),
        }
    }

    /// Maps the zeroed files of a new queue, and makes it valid. `pages` is the file of the pages,
    /// if they have one of their own.
    pub fn map_new(&self, index: u16, fd: &Fd, pages: Option<&Fd>) -> Result<QueueView<'_>> {
        let before = self.file(index).load();
        let queue = self.replace_mapping(index, before, fd, pages, true)?;
        queue.header().set_up();
        Ok(queue)
    }

    /// Maps a queue's files in place of the mapping `before`. Returns the current view if another
    /// thread has replaced `before` meanwhile.
    fn replace_mapping(
        &self,
        index: u16,
        before: Option<MappingWord>,
        fd: &Fd,
        pages: Option<&Fd>,
        writable: bool,
    ) -> Result<QueueView<'_>> {
        let entry = &self.table[usize::from(index)];
        let stat = rustix::fs::fstat(fd)?;
        let whole = |stat: &rustix::fs::Stat| stat.st_size as u64 >= FIRST_BYTES;
        let (pages, pages_stat) = match (self.core.kind(), pages) {
            (Kind::Private, _) => (whole(&stat).then_some(fd), stat),
            (Kind::Shared, None) => (None, stat),
            (Kind::Shared, Some(pages)) => {
                let stat = rustix::fs::fstat(pages)?;
                (whole(&stat).then_some(pages), stat)
            }
        };
        let access = if writable { Access::WRITE } else { Access::READ };
        let _mapping = self.replacing.lock();
        let at = memory::anonymous(NEAR_BYTES)?;
        let mut mapped = Ok(at);
        if let Some(pages) = pages {
            let pages_access = if self.core.kind() == Kind::Shared { Access::WRITE } else { access };
            // SAFETY: the range was just mapped, and no thread has seen it.
            mapped = unsafe { memory::map(pages, NEAR_BYTES, pages_access, Place::Over(at)) };
        }
        if pages.is_none() || self.core.kind() == Kind::Shared {
            // SAFETY: as above. The first page of a file of pages is not used.
            mapped = mapped.and_then(|_| unsafe { memory::map(fd, PAGE as usize, access, Place::Over(at)) });
        }
        let unmap = |e| {
            // SAFETY: just mapped, and no thread has seen it.
            let _ = unsafe { memory::unmap(at, NEAR_BYTES) };
            e
        };
        mapped.map_err(unmap)?;
        let pages_writable = pages.is_some() && (writable || self.core.kind() == Kind::Shared);
        let bits = u32::from(index) << INDEX_SHIFT | if writable { WRITABLE } else { 0 } | if pages_writable { PAGES } else { 0 };
        let word = MappingWord::new(at, bits);
        if entry.file.load() != before {
            // Another thread has replaced the mapping meanwhile.
            unmap(Errno::EXIST);
            return self.cached(index).ok_or(Errno::INVAL);
        }
        let same = entry.file.replace(word, &stat, || {
            entry.pages_inode.store(pages_stat.st_ino as u64, Relaxed);
            entry.pages.store(0, Relaxed);
        });
        if let Some(before) = before.filter(|_| !same) {
            self.retire_mapping(index, before);
        }
        Ok(QueueView { queues: self, word })
    }

    /// Replaces a former mapping by zeroes. Only a thread that was interrupted while it used the
    /// queue still accesses it.
    fn retire_mapping(&self, index: u16, word: MappingWord) {
        // SAFETY: the range is a former mapping of this index. Zeroed memory is a queue that is not
        // live.
        unsafe { memory::replace_with_zeroes(word.address(), NEAR_BYTES) };
        self.table[usize::from(index)].chunks.retire(word.tag(), chunk_bytes);
    }
}
