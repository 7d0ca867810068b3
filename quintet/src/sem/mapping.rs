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

use crate::layout::{CELLS_INLINE, Page, Rights, SetHeader, SetMemory, SetState};
use crate::object::core::Core;
use crate::object::create::CreatedInOneStep;
use crate::object::keys::{Keyed, no_memory};
use crate::object::permissions;
use crate::object::permissions::Remembered;
use crate::process::thread_lock::ThreadLock;
use crate::sem::exec::InheritedUndo;
use crate::sync::word;
use crate::sync::word::{Descriptor, SetWords, Word};
use crate::sys::clock;
use crate::sys::credentials;
use crate::sys::fd::Fd;
use crate::sys::fd_thread;
use crate::sys::file;
use crate::sys::memory;
use crate::sys::memory::{Access, Place};
use crate::sys::path_buffer::PathBuffer;
use crate::sys::table::NEAR;
use crate::sys::table::{Table, Zeroable};
use crate::types::error::Errno;
use crate::types::id::{Id, MAX_OBJECTS};
use crate::types::key::Key;
use crate::types::limits::Limits;
use crate::types::mechanism::Mechanism;
use crate::types::permissions::Permissions;
use crate::types::sem::SetStat;
use rustix::fs::Stat;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI16, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};

type Result<T> = std::result::Result<T, Errno>;

const PAGE: u64 = 4096;
/// The pages of the first chunk; each further one has twice as many.
const FIRST_CHUNK: u32 = 4;
const CHUNKS: usize = 14;

/// What this process knows of one index.
#[repr(C)]
pub struct SetEntry {
    /// Where the file is mapped: [`SetMapping`]. 0: not yet.
    mapped: AtomicU64,
    /// What the calling thread may do, as last found out: [`SetView::may`].
    rights: Remembered,
    /// This process's undo record: [`SetView::own_record`].
    record: AtomicU64,
    /// Where its first page is mapped.
    record_page: AtomicUsize,
    /// The user id of the file's owner.
    owner: AtomicU32,
    /// The index's file is another user's: nothing can be created there.
    pub foreign: AtomicU32,
    /// The number of the file on its file system.
    inode: AtomicU64,
    /// Where the pages are mapped, each with the tag of the file's mapping.
    chunks: [AtomicU64; CHUNKS],
}

impl SetEntry {
    /// Whether an address lies in what is mapped of this index.
    pub fn maps(&self, address: usize) -> bool {
        let fixed = SetMapping::load(&self.mapped).is_some_and(|mapped| {
            let memory = mapped.memory();
            (memory.address()..memory.address() + SetMemory::bytes(memory.nsems()) as usize).contains(&address)
        });
        fixed
            || self.chunks.iter().enumerate().any(|(chunk, known)| {
                let at = ((known.load(Acquire) >> 16) * PAGE) as usize;
                at != 0 && (at..at + ((FIRST_CHUNK as usize) << chunk) * PAGE as usize).contains(&address)
            })
    }
}

// SAFETY: atomics only.
unsafe impl Zeroable for SetEntry {}

/// The table of all indexes.
pub type SetTable = Table<SetEntry>;

/// A mapping in one word: page number, whether it is writable, number of semaphores.
#[derive(Clone, Copy, PartialEq, Eq)]
struct SetMapping(u64);

impl SetMapping {
    fn new(memory: SetMemory, writable: bool) -> SetMapping {
        SetMapping((memory.address() as u64 / PAGE) << 18 | u64::from(writable) << 17 | u64::from(memory.nsems()))
    }

    #[inline(always)]
    fn load(from: &AtomicU64) -> Option<SetMapping> {
        let mapped = SetMapping(from.load(Acquire));
        (mapped.0 != 0).then_some(mapped)
    }

    #[inline(always)]
    fn memory(self) -> SetMemory {
        let at = ((self.0 >> 18) * PAGE) as usize;
        // SAFETY: only `map` makes these, of what it has mapped.
        unsafe { SetMemory::new(at, (self.0 & 0x1ffff) as u32) }
    }

    #[inline(always)]
    fn writable(self) -> bool {
        self.0 >> 17 & 1 != 0
    }

    /// Tells this mapping from the others that the index may have had.
    #[inline(always)]
    fn tag(self) -> u64 {
        self.0 >> 18 & 0xffff
    }
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
    mapped: SetMapping,
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
        self.mapped.memory()
    }

    #[inline(always)]
    pub fn header(&self) -> &'static SetHeader {
        self.memory().header()
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
        self.mapped.writable()
    }

    /// The user id of the file's owner, which is the creator's whatever the content says.
    pub fn owner(&self) -> u32 {
        self.entry().owner.load(Relaxed)
    }

    pub fn head(&self) -> (Id, SetState) {
        let head = self.header().head.load(Acquire);
        let state = match head as u32 {
            1 => SetState::Live,
            2 => SetState::Gone,
            _ => SetState::Making,
        };
        // The index is where the file is, whatever its head says.
        (Id::new((head >> 47) as u16, self.index), state)
    }

    pub fn set_head(&self, id: Id, state: SetState) {
        self.header().head.store(head_word(id, state), SeqCst);
    }

    pub fn is_live(&self) -> bool {
        self.head().1 == SetState::Live
    }

    #[inline(always)]
    pub fn is_live_as(&self, id: Id) -> bool {
        self.header().head.load(Acquire) == head_word(id, SetState::Live)
    }

    pub fn key(&self) -> Key {
        Key::new(self.header().key.load(Relaxed) as i32)
    }

    pub fn permissions(&self) -> (Permissions, Rights) {
        let header = self.header();
        let rights = header.rights();
        let (cuid, cgid) = (self.owner(), header.cgid.load(Relaxed));
        (Permissions { uid: rights.uid, gid: rights.gid, cuid, cgid, mode: rights.mode }, rights)
    }

    /// Whether the calling thread may read (`alter` false) or alter the set. What was found out is remembered until
    /// [`credentials::changed`] is told that it may be otherwise.
    #[inline(always)]
    pub fn may(&self, alter: bool) -> bool {
        let version = self.header().current.load(Acquire);
        self.entry().rights.may(alter, self.mapped.tag(), version, || self.permissions().0)
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
        (known != 0 && known >> 14 == (self.mapped.tag() << 31 | me & 0x7fff_ffff)).then_some((known & 0x3fff) as u32)
    }

    /// Remembers it.
    pub fn set_own_record(&self, me: u64, record: u32) {
        let entry = self.entry();
        entry.record.store(0, Release);
        let first = self.page(record.wrapping_sub(1)).map_or(0, |page| page.address());
        entry.record_page.store(first, Relaxed);
        entry.record.store((self.mapped.tag() << 31 | me & 0x7fff_ffff) << 14 | u64::from(record), Release);
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
            Ok(stat) if stat.st_ino as u64 == self.entry().inode.load(Relaxed) => stat,
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
        let known = self.entry().chunks[chunk].load(Acquire);
        (known != 0 && known & 0xffff == self.mapped.tag()).then_some(((known >> 16) * PAGE) as usize)
    }

    fn map_chunk(&self, chunk: usize) -> Result<usize> {
        fd_thread::run(|| self.open_chunk(chunk))
    }

    fn open_chunk(&self, chunk: usize) -> Result<usize> {
        let entry = &self.entry().chunks[chunk];
        let before = entry.load(Acquire);
        let (fd, stat) = file::open(self.sets.path(self.index).c_str(), self.writable())?;
        let offset = SetMemory::bytes(self.nsems()) + u64::from(chunk_start(chunk)) * PAGE;
        let len = u64::from(FIRST_CHUNK << chunk) * PAGE;
        if stat.st_ino != self.entry().inode.load(Relaxed) || (stat.st_size as u64) < offset + len {
            return Err(Errno::INVAL);
        }
        let access = if self.writable() { Access::WRITE } else { Access::READ };
        let at = memory::map_range(&fd, offset, len as usize, access)?;
        let known = (at as u64 / PAGE) << 16 | self.mapped.tag();
        match entry.compare_exchange(before, known, AcqRel, Acquire) {
            Ok(_) => Ok(at),
            Err(now) => {
                // Another thread was first.
                // SAFETY: just mapped, and nobody has seen it.
                let _ = unsafe { memory::unmap(at, len as usize) };
                if now & 0xffff == self.mapped.tag() { Ok(((now >> 16) * PAGE) as usize) } else { Err(Errno::INVAL) }
            }
        }
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
        if stat.st_ino != self.entry().inode.load(Relaxed) {
            return Err(Errno::IDRM);
        }
        let bytes = SetMemory::bytes(self.nsems()) + u64::from(more) * PAGE;
        file::fits_file_limit(bytes)?;
        file::extend(&fd, stat.st_size as u64, bytes).map_err(no_memory)?;
        self.header().pages.store(more, Release);
        Ok(())
    }
}

#[inline(always)]
fn head_word(id: Id, state: SetState) -> u64 {
    (id.raw() as u64) << 32 | state as u64
}

/// Whether so many pages are a number of whole chunks.
fn is_chunk_start(pages: u32) -> bool {
    pages.is_multiple_of(FIRST_CHUNK) && (pages / FIRST_CHUNK + 1).is_power_of_two()
}

/// The number of the first page of a chunk.
fn chunk_start(chunk: usize) -> u32 {
    FIRST_CHUNK * ((1 << chunk) - 1)
}

impl<'a> Keyed<'a> for SetView<'a> {
    type Class = Sets;
    const OF: Mechanism = Mechanism::Sem;

    fn at(sets: &'a Sets, index: u16) -> Result<Option<SetView<'a>>> {
        sets.at(index)
    }

    fn id_by(&self, key: Key) -> Option<Id> {
        let (id, state) = self.head();
        (state == SetState::Live && self.key() == key).then_some(id)
    }
}

impl<'a> CreatedInOneStep<'a> for SetView<'a> {
    fn permits(&self, flags: u32) -> bool {
        permissions::permits(&self.permissions().0, flags, credentials::euid)
    }

    fn is_live(&self) -> bool {
        self.is_live()
    }

    fn foreign(sets: &'a Sets, index: u16) -> &'a AtomicU32 {
        &sets.table[usize::from(index)].foreign
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

    #[inline(always)]
    pub fn cached(&self, index: u16) -> Option<SetView<'_>> {
        let mapped = SetMapping::load(&self.table[usize::from(index)].mapped)?;
        Some(SetView { sets: self, index, mapped })
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
            if stat.st_ino as u64 != set.entry().inode.load(Relaxed) {
                return Ok(None);
            }
            self.put_in_place(set.index, Some(set.mapped), &fd, &stat, set.nsems(), false)
        });
        mapped.ok().flatten().unwrap_or(set)
    }

    /// The set of an identifier, if it is at hand and its file can be written.
    #[inline(always)]
    pub fn hot(&self, id: i32) -> Option<SetView<'_>> {
        let id = Id::from_raw(id).ok()?;
        self.cached(id.index()).filter(|set| set.is_live_as(id) && set.writable())
    }

    /// The file of `index`; `None` if nothing was ever there.
    ///
    /// `EACCES`: the directory may not be searched; `EINVAL`: what is there is no set.
    pub fn at(&self, index: u16) -> Result<Option<SetView<'_>>> {
        match self.cached(index) {
            Some(view) if view.header().is_valid() => Ok(Some(view)),
            _ => self.map(index),
        }
    }

    /// As [`Sets::set`], for a caller that will write: a read-only mapping is tried anew, rights may have come.
    #[inline(never)]
    pub fn writable_at(&self, index: u16) -> Result<Option<SetView<'_>>> {
        match self.at(index)? {
            // As long as it may not be written the mapping stays what it is.
            Some(view) if !view.writable() => fd_thread::run(|| match file::open(self.path(index).c_str(), true) {
                Err(Errno::ACCES | Errno::ROFS) => Ok(Some(view)),
                Err(Errno::MFILE) => Err(Errno::MFILE),
                _ => self.map(index),
            }),
            other => Ok(other),
        }
    }

    fn map(&self, index: u16) -> Result<Option<SetView<'_>>> {
        fd_thread::run(|| self.open(index))
    }

    #[inline(never)]
    fn open(&self, index: u16) -> Result<Option<SetView<'_>>> {
        let entry = &self.table[usize::from(index)];
        let before = SetMapping::load(&entry.mapped);
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
        if read < begin.len() || nsems == 0 || nsems > Limits::MOST_SEMMSL || begin != SetHeader::blank(nsems) {
            return Ok(None);
        }
        self.put_in_place(index, before, &fd, &stat, nsems, writable)
    }

    /// Maps a file that was just made for a set of `nsems`, and is all zeroes.
    pub fn map_new(&self, index: u16, fd: &Fd, nsems: u32) -> Result<SetView<'_>> {
        let before = SetMapping::load(&self.table[usize::from(index)].mapped);
        let set = self.put_in_place(index, before, fd, &rustix::fs::fstat(fd)?, nsems, true)?.ok_or(Errno::INVAL)?;
        set.header().begin(nsems);
        Ok(set)
    }

    /// Maps a set's file in the place of whatever was mapped at its index.
    fn put_in_place(
        &self,
        index: u16,
        before: Option<SetMapping>,
        fd: &Fd,
        stat: &Stat,
        nsems: u32,
        writable: bool,
    ) -> Result<Option<SetView<'_>>> {
        let entry = &self.table[usize::from(index)];
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
        let mapped = SetMapping::new(memory, writable);
        if SetMapping::load(&entry.mapped) != before {
            // Another thread was first.
            // SAFETY: just mapped, and nobody has seen it.
            let _ = unsafe { memory::unmap(at, len as usize) };
            return Ok(self.cached(index));
        }
        // The file of a set that somebody may still be looking at, now with more rights, goes on being mapped.
        let same = entry.inode.load(Relaxed) == stat.st_ino as u64;
        entry.owner.store(stat.st_uid, Relaxed);
        entry.inode.store(stat.st_ino as u64, Relaxed);
        // What was remembered is another set's.
        entry.rights.forget();
        entry.record.store(0, Relaxed);
        entry.mapped.store(mapped.0, Release);
        if let Some(before) = before.filter(|_| !same) {
            self.retire_mapping(index, before.memory(), before.tag());
        }
        Ok(Some(SetView { sets: self, index, mapped }))
    }

    /// Nobody looks at a mapping any more, but for a thread that was interrupted while it did.
    fn retire_mapping(&self, index: u16, old: SetMemory, tag: u64) {
        // SAFETY: this index's own former mapping; a set of zeroes is one that is not there.
        unsafe { memory::zeroed_over(old.address(), SetMemory::bytes(old.nsems()) as usize) };
        for (chunk, known) in self.table[usize::from(index)].chunks.iter().enumerate() {
            let was = known.load(Acquire);
            if was != 0 && was & 0xffff == tag && known.compare_exchange(was, 0, AcqRel, Relaxed).is_ok() {
                let (at, len) = ((was >> 16) * PAGE, u64::from(FIRST_CHUNK << chunk) * PAGE);
                // SAFETY: mapped by `map_chunk`; free pages are what zeroes are.
                unsafe { memory::zeroed_over(at as usize, len as usize) };
            }
        }
    }
}
