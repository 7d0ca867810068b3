//! The sets' files, as this process has them mapped.
//!
//! A set's file is mapped when its index is first asked for and stays mapped, so that an operation asks the kernel for nothing.
//! A file is never used for a second set; when another one has taken the index, zeroed memory takes the place of the old
//! mapping: a thread that was interrupted in the middle of an operation finds a set that is not there any more.
//!
//! # Safety
//!
//! What is made a [`SetMemory`] or a [`Page`] was mapped here in its whole length, and is never unmapped, only replaced by zeroed memory.
#![allow(unsafe_code)]

use crate::layout::{CELLS_INLINE, Page, SetHeader, SetMemory};
use crate::object::core::Core;
use crate::object::keys::no_memory;
use crate::object::mapping::{Chunks, MappedFile, MappedObject, MappingWord, ObjectFiles, PAGE};
use crate::process::thread_lock::ThreadLock;
use crate::sem::exec::InheritedUndo;
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

/// The pages of the first chunk; each further one has twice as many.
const FIRST_CHUNK: u32 = 4;
const CHUNKS: usize = 14;

/// What this process knows of one index.
#[repr(C)]
pub struct SetEntry {
    file: MappedFile,
    /// This process's undo record: [`SetView::own_record`].
    record: AtomicU64,
    /// Where its first page is mapped.
    record_page: AtomicUsize,
    /// Where the pages are mapped.
    chunks: Chunks<CHUNKS>,
}

impl SetEntry {
    /// Whether an address lies in what is mapped of this index.
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

/// The table of all indexes.
pub type SetTable = Table<SetEntry>;

/// The bits of a [`MappingWord`] for sets: the number of semaphores, and whether it is writable.
const NSEMS: u32 = 0x1ffff;
const WRITABLE: u32 = 1 << 17;

#[inline(always)]
fn memory_of(word: MappingWord) -> SetMemory {
    // SAFETY: only `put_in_place` makes these words, of what it has mapped.
    unsafe { SetMemory::new(word.address(), word.bits() & NSEMS) }
}

/// The sets of a namespace, as this process has them.
#[repr(C)]
pub struct Sets {
    pub core: &'static Core,
    pub table: SetTable,
    /// The undo records of the program before `exec` in this process that it could not make its own.
    pub inherited: Mutex<Vec<InheritedUndo>>,
    /// Held while a set's file is mapped in the place of another one.
    pub replacing: ThreadLock,
    /// The sets in which this process may have an undo record, a bit each.
    pub with_undo: &'static [AtomicU64; MAX_OBJECTS as usize / 64],
    /// Not 0 if any bit is set: looking at the bits costs a fork, or an exit, their pages.
    pub undo_noted: &'static AtomicU32,
}

/// A set's file that is mapped.
#[derive(Clone, Copy)]
pub struct SetView<'a> {
    pub sets: &'a Sets,
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
    #[inline(always)]
    pub fn memory(&self) -> SetMemory {
        memory_of(self.word)
    }

    #[inline(always)]
    pub fn nsems(&self) -> u32 {
        self.memory().nsems()
    }

    #[inline(always)]
    pub fn entry(&self) -> &'a SetEntry {
        &self.sets.table[usize::from(self.index)]
    }

    /// Whether the caller may write to the file.
    #[inline(always)]
    pub fn writable(&self) -> bool {
        self.word.bits() & WRITABLE != 0
    }

    pub fn stat(&self, id: Id) -> SetStat {
        let (perm, rights) = self.permissions();
        let header = self.header();
        let otime = header.otime.load(Relaxed) as i64;
        let ctime = rights.ctime.max(header.set_time.load(Relaxed) as i64);
        SetStat { key: self.key(), id, perm, otime, ctime, nsems: self.nsems() }
    }

    /// Notes that an operation was done.
    #[inline(always)]
    pub fn stamp(&self) {
        let (now, otime) = (clock::time() as u64, &self.header().otime);
        if now > otime.load(Relaxed) {
            otime.store(now, Relaxed);
        }
    }

    /// The word of a semaphore, once no operation on several is under way there. `EINVAL`: a peer has scribbled.
    #[inline]
    pub fn settle(&self, num: u32) -> Result<Word> {
        word::settle(self, num).ok_or(Errno::INVAL)
    }

    /// The number of this process's undo record, as `me` (a packed participant), if it is known to have one.
    #[inline]
    pub fn own_record(&self, me: u64) -> Option<u32> {
        let known = self.entry().record.load(Acquire);
        (known != 0 && known >> 14 == (self.word.tag() << 31 | me & 0x7fff_ffff)).then_some((known & 0x3fff) as u32)
    }

    /// Remembers it.
    pub fn set_own_record(&self, me: u64, record: u32) {
        let entry = self.entry();
        entry.record.store(0, Release);
        let first = self.page(record.wrapping_sub(1)).map_or(0, |page| page.address());
        entry.record_page.store(first, Relaxed);
        entry.record.store((self.word.tag() << 31 | me & 0x7fff_ffff) << 14 | u64::from(record), Release);
    }

    /// A cell of the record that [`SetView::own_record`] has just told.
    #[inline]
    pub fn own_cell(&self, record: u32, num: u32) -> Result<&'static AtomicI16> {
        let first = self.entry().record_page.load(Relaxed);
        if first != 0 && num < CELLS_INLINE {
            // SAFETY: stored by `set_own_record`, of a page that stays mapped, or has become zeroes.
            return Ok(unsafe { Page::new(first) }.first_cell(num));
        }
        self.record_cell(record, num)
    }

    /// How many pages the file says it has.
    pub fn pages(&self) -> u32 {
        self.header().pages.load(Acquire).min(chunk_start(CHUNKS))
    }

    /// Sees to it that all pages can be seen that the file has: if it says that it has more or fewer, it is put right. The caller holds the set's lock.
    /// `EACCES`: there are some that this process may not map; `EIDRM`: the file is not in its place any more.
    pub fn see_all_pages(&self) -> Result<()> {
        let sees = |pages| is_chunk_start(pages) && self.all_pages().count() as u32 >= pages;
        let says = self.pages();
        match self.pages_there() {
            Ok(there) => {
                if there != says {
                    self.header().pages.store(there, Release);
                }
                if sees(there) { Ok(()) } else { Err(Errno::ACCES) }
            }
            // What is mapped goes on working.
            Err(_) if sees(says) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// How many pages the file has, whatever it says.
    fn pages_there(&self) -> Result<u32> {
        let stat = match fd_thread::run(|| file::look(self.sets.path(self.index).c_str())) {
            Ok(stat) if self.file().is(&stat) => stat,
            Ok(_) | Err(Errno::NOENT) => return Err(Errno::IDRM),
            Err(e) => return Err(e),
        };
        let pages = (stat.st_size as u64).saturating_sub(SetMemory::bytes(self.nsems())) / PAGE;
        let chunks = (1..=CHUNKS).take_while(|chunks| u64::from(chunk_start(*chunks)) <= pages).count();
        Ok(chunk_start(chunks))
    }

    /// A page that has its place.
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
        // SAFETY: the chunk was mapped whole.
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

    /// Gives the file twice as many pages. The caller holds the set's lock. `ENOMEM`: there is no room.
    pub fn grow(&self) -> Result<()> {
        fd_thread::run(|| self.open_and_grow())
    }

    fn open_and_grow(&self) -> Result<()> {
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
        self.header().pages.store(more, Release);
        Ok(())
    }
}

/// Whether so many pages are a number of whole chunks.
fn is_chunk_start(pages: u32) -> bool {
    pages.is_multiple_of(FIRST_CHUNK) && (pages / FIRST_CHUNK + 1).is_power_of_two()
}

/// The number of the first page of a chunk.
fn chunk_start(chunk: usize) -> u32 {
    FIRST_CHUNK * ((1 << chunk) - 1)
}

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
        let (opened, writable) = match file::open(path.c_str(), true) {
            Err(Errno::ACCES | Errno::ROFS) => (file::open(path.c_str(), false), false),
            other => (other, true),
        };
        let (fd, stat) = match opened {
            Ok(opened) => opened,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::BADMSG) => return Err(Errno::INVAL),
            Err(e) => return Err(e),
        };
        let mut begin = [0u8; 8];
        let read = rustix::io::pread(&fd, &mut begin, 0)?;
        let nsems = u32::from_ne_bytes([begin[4], begin[5], begin[6], begin[7]]);
        if read < begin.len() || nsems == 0 || nsems > Limits::MAX_SEMMSL || begin != SetHeader::blank(nsems) {
            return Ok(None);
        }
        self.put_in_place(index, before, &fd, &stat, nsems, writable)
    }
}

impl Sets {
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

    /// Forgets what belongs to the parent, in a child.
    #[allow(unsafe_code)]
    // SAFETY: any section of code will do; see `backend/directory/hooks.rs`.
    #[unsafe(link_section = ".text.hot.quintet_fork")]
    pub fn after_fork_in_child(&self) {
        self.replacing.forget();
        self.forget_own_undo();
    }

    pub fn path(&self, index: u16) -> PathBuffer {
        PathBuffer::new(self.core.directory(), format_args!("/sem/{index}"))
    }

    /// The set with all its pages, to look at. Who had the right to write its file when he first came, and has it no more, cannot map
    /// further pages for writing: he goes on as one who may only read.
    pub fn to_look_at<'a>(&'a self, set: SetView<'a>) -> SetView<'a> {
        let seen = set.all_pages().count() as u32;
        if !set.writable() || seen == set.pages() || set.pages_there().is_ok_and(|there| seen >= there) {
            return set;
        }
        let mapped = fd_thread::run(|| {
            let (fd, stat) = file::open(self.path(set.index).c_str(), false)?;
            if !set.file().is(&stat) {
                return Ok(None);
            }
            self.put_in_place(set.index, Some(set.word), &fd, &stat, set.nsems(), false)
        });
        mapped.ok().flatten().unwrap_or(set)
    }

    /// Maps a file that was just made for a set of `nsems`, and is all zeroes.
    pub fn map_new(&self, index: u16, fd: &Fd, nsems: u32) -> Result<SetView<'_>> {
        let before = self.file(index).load();
        let set = self.put_in_place(index, before, fd, &rustix::fs::fstat(fd)?, nsems, true)?.ok_or(Errno::INVAL)?;
        set.header().begin(nsems);
        Ok(set)
    }

    /// Maps a set's file in the place of whatever was mapped at its index.
    fn put_in_place(
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
        // SAFETY: overlaps nothing.
        let at = unsafe { memory::map(fd, len as usize, access, Place::Anywhere) }?;
        // SAFETY: just mapped, and kept unless nobody has seen it.
        let memory = unsafe { SetMemory::new(at, nsems) };
        let word = MappingWord::new(memory.address(), nsems | if writable { WRITABLE } else { 0 });
        let entry = &self.table[usize::from(index)];
        if entry.file.load() != before {
            // Another thread was first.
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

    /// Overwrites a former mapping by zeroes. Only a thread that was interrupted while it looked at the
    /// set still uses it.
    fn retire_mapping(&self, index: u16, word: MappingWord) {
        let old = memory_of(word);
        // SAFETY: this index's own former mapping; a set of zeroes is one that is not live.
        unsafe { memory::replace_with_zeroes(old.address(), SetMemory::bytes(old.nsems()) as usize) };
        self.table[usize::from(index)].chunks.retire(word.tag(), chunk_bytes);
    }
}
