//! The queues' files, as this process has them mapped.
//!
//! The header and the nearer pages lie side by side, whether they are one file or two; further pages are mapped in ever larger pieces when they are first
//! asked for. All stays mapped, so that an operation asks the kernel for nothing. A file is never used for a second queue; when another one has
//! taken the index, zeroed memory takes the place of the old mapping: a thread that was interrupted in the middle of an operation finds a queue
//! that is not there any more.
//!
//! # Safety
//!
//! What is made a [`QueueHeader`] or a [`Slot`] was mapped here in its whole length, and is never unmapped, only replaced by zeroed memory.
#![allow(unsafe_code)]

use crate::layout::{QueueHeader, QueueState, Rights, Slot, UNIT};
use crate::object::core::Core;
use crate::object::create::CreatedInOneStep;
use crate::object::keys::{Keyed, no_memory};
use crate::object::permissions;
use crate::object::permissions::Remembered;
use crate::process::thread_lock::ThreadLock;
use crate::sync::redo;
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
use crate::types::kind::Kind;
use crate::types::mechanism::Mechanism;
use crate::types::msg::QueueStat;
use crate::types::permissions::Permissions;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

type Result<T> = std::result::Result<T, Errno>;

const PAGE: u64 = 4096;
const UNITS_PER_PAGE: u32 = (PAGE as usize / UNIT) as u32;
/// The header and the pages that every queue has.
pub const FIRST_PAGES: u32 = 5;
const FIRST_BYTES: u64 = FIRST_PAGES as u64 * PAGE;
/// So many pages are mapped in one piece, also those that the file does not have yet. (The address space of a queue that is gone is not used again.)
const NEAR_PAGES: u32 = 64;
const NEAR_BYTES: usize = NEAR_PAGES as usize * PAGE as usize;
/// The pages of the first further chunk; each one after has twice as many.
const FIRST_CHUNK: u32 = 64;
const CHUNKS: usize = 20;
/// More pages than this no queue has: 256 GiB.
const MOST_PAGES: u32 = NEAR_PAGES + FIRST_CHUNK * ((1 << CHUNKS) - 1);

/// What this process knows of one index.
#[repr(C)]
pub struct QueueEntry {
    /// Where the file is mapped: [`QueueMapping`]. 0: not yet.
    mapped: AtomicU64,
    /// What the calling thread may do, as last found out: [`QueueView::may`].
    rights: Remembered,
    /// How many pages the file is known to have, with the mapping's tag in the lowest 16 bits.
    pages: AtomicU64,
    /// The numbers of the file, and of that with the pages, on their file system.
    inode: AtomicU64,
    pages_inode: AtomicU64,
    /// The user id of the file's owner.
    owner: AtomicU32,
    /// The index's file is another user's: nothing can be created there.
    pub foreign: AtomicU32,
    /// Where further pages are mapped, each with the tag of the mapping.
    chunks: [AtomicU64; CHUNKS],
}

impl QueueEntry {
    /// Whether an address lies in what is mapped of this index.
    pub fn maps(&self, address: usize) -> bool {
        let near = QueueMapping::load(&self.mapped).map(QueueMapping::address);
        near.is_some_and(|at| (at..at + NEAR_BYTES).contains(&address))
            || self.chunks.iter().enumerate().any(|(chunk, known)| {
                let at = ((known.load(Acquire) >> 16) * PAGE) as usize;
                at != 0 && (at..at + chunk_bytes(chunk)).contains(&address)
            })
    }
}

// SAFETY: atomics only.
unsafe impl Zeroable for QueueEntry {}

/// The table of all indexes.
pub type QueueTable = Table<QueueEntry>;

/// A mapping in one word: page number, index, whether the header and whether the pages can be written. (So a view is two words, which the processor keeps in
/// registers.)
#[derive(Clone, Copy, PartialEq, Eq)]
struct QueueMapping(u64);

const WRITABLE: u64 = 1;
const PAGES: u64 = 2;

impl QueueMapping {
    fn new(at: usize, index: u16, writable: bool, pages: bool) -> QueueMapping {
        let allowed = if writable { WRITABLE } else { 0 } | if pages { PAGES } else { 0 };
        QueueMapping((at as u64 / PAGE) << 18 | u64::from(index) << 2 | allowed)
    }

    #[inline(always)]
    fn index(self) -> u16 {
        (self.0 >> 2) as u16
    }

    #[inline(always)]
    fn load(from: &AtomicU64) -> Option<QueueMapping> {
        let mapped = QueueMapping(from.load(Acquire));
        (mapped.0 != 0).then_some(mapped)
    }

    #[inline(always)]
    fn address(self) -> usize {
        ((self.0 >> 18) * PAGE) as usize
    }

    #[inline(always)]
    fn is_whole(self) -> bool {
        self.0 & (WRITABLE | PAGES) == WRITABLE | PAGES
    }

    /// Tells this mapping from the others that the index may have had.
    #[inline(always)]
    fn tag(self) -> u64 {
        self.0 >> 18 & 0xffff
    }
}

/// The queues of a namespace, as this process has them.
#[repr(C)]
pub struct Queues {
    pub core: &'static Core,
    pub table: QueueTable,
    /// Held while a queue's file is mapped in the place of another one.
    pub replacing: ThreadLock,
}

/// A queue's file that is mapped.
#[derive(Clone, Copy)]
pub struct QueueView<'a> {
    pub queues: &'a Queues,
    mapped: QueueMapping,
}

impl<'a> QueueView<'a> {
    #[inline(always)]
    pub fn header(&self) -> &'static QueueHeader {
        // SAFETY: only `put_in_place` makes a view, of what it has mapped; atomics only.
        unsafe { &*(self.mapped.address() as *const QueueHeader) }
    }

    #[inline(always)]
    pub fn index(&self) -> u16 {
        self.mapped.index()
    }

    #[inline(always)]
    pub fn entry(&self) -> &'a QueueEntry {
        &self.queues.table[usize::from(self.index() % MAX_OBJECTS as u16)]
    }

    /// Whether header and pages can be written: the caller may read or write the queue.
    #[inline(always)]
    pub fn is_whole(&self) -> bool {
        self.mapped.is_whole()
    }

    /// Whether the header can be written.
    pub fn writable(&self) -> bool {
        self.mapped.0 & WRITABLE != 0
    }

    /// The user id of the file's owner, which is the creator's whatever the content says.
    pub fn owner(&self) -> u32 {
        self.entry().owner.load(Relaxed)
    }

    pub fn head(&self) -> (Id, QueueState) {
        let head = self.header().head.load(Acquire);
        let state = match head as u32 {
            1 => QueueState::Live,
            2 => QueueState::Gone,
            _ => QueueState::Making,
        };
        // The index is where the file is, whatever its head says.
        (Id::new((head >> 47) as u16, self.index()), state)
    }

    pub fn set_head(&self, id: Id, state: QueueState) {
        self.header().head.store(head_word(id, state), SeqCst);
    }

    pub fn is_live(&self) -> bool {
        self.head().1 == QueueState::Live
    }

    #[inline(always)]
    pub fn is_live_as(&self, id: Id) -> bool {
        self.header().head.load(Acquire) == head_word(id, QueueState::Live)
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

    /// Which of the queue's rights are in force: another number after each change.
    pub fn rights_version(&self) -> u32 {
        self.header().current.load(Acquire)
    }

    /// Whether the calling thread may read (`write` false) or write the queue. What was found out is remembered until
    /// [`credentials::changed`] is told that it may be otherwise.
    #[inline(always)]
    pub fn may(&self, write: bool) -> bool {
        let version = self.header().current.load(Acquire);
        self.entry().rights.may(write, self.mapped.tag(), version, || self.permissions().0)
    }

    pub fn stat(&self, id: Id) -> QueueStat {
        use crate::layout::{Stamp, low};
        let header = self.header();
        let (perm, rights) = self.permissions();
        let words = [&header.bytes, &header.count, &header.sent, &header.received, &header.capacity];
        let look = || words.map(|word| word.load(Relaxed));
        let [bytes, count, sent, received, capacity] = redo::look(header.journals(), &header.changes, look);
        let (sent, received) = (Stamp::unpack(sent), Stamp::unpack(received));
        QueueStat {
            key: self.key(),
            id,
            perm,
            stime: sent.time as i64,
            rtime: received.time as i64,
            ctime: rights.ctime,
            bytes,
            messages: low(count).into(),
            capacity,
            lspid: sent.pid as i32,
            lrpid: received.pid as i32,
        }
    }

    /// How many pages the file says it has.
    pub fn pages(&self) -> u32 {
        self.header().pages.load(Acquire).min(MOST_PAGES)
    }

    /// The slot of a number. `EINVAL`: there is none.
    #[inline(always)]
    pub fn slot(&self, unit: u32) -> Result<Slot> {
        let page = unit / UNITS_PER_PAGE;
        if page.wrapping_sub(1) < FIRST_PAGES - 1 && self.mapped.0 & PAGES != 0 {
            // SAFETY: among the first pages, which are mapped.
            return Ok(unsafe { Slot::new(self.mapped.address() + unit as usize * UNIT, unit) });
        }
        if (FIRST_PAGES..NEAR_PAGES.min(self.known_pages())).contains(&page) {
            // SAFETY: mapped, and the file is known to have this page.
            return Ok(unsafe { Slot::new(self.mapped.address() + unit as usize * UNIT, unit) });
        }
        self.far_slot(unit)
    }

    #[inline(never)]
    fn far_slot(&self, unit: u32) -> Result<Slot> {
        let page = unit / UNITS_PER_PAGE;
        if page < FIRST_PAGES || self.mapped.0 & PAGES == 0 {
            return Err(Errno::INVAL);
        }
        if page >= self.known_pages() && (page >= self.pages() || page >= self.ask_pages()?) {
            return Err(Errno::INVAL);
        }
        if page < NEAR_PAGES {
            // SAFETY: as above.
            return Ok(unsafe { Slot::new(self.mapped.address() + unit as usize * UNIT, unit) });
        }
        let chunk = ((page - NEAR_PAGES) / FIRST_CHUNK + 1).ilog2() as usize;
        let at = match self.chunk(chunk) {
            Some(at) => at,
            None => self.map_chunk(chunk)?,
        };
        let within = unit as usize * UNIT - chunk_start(chunk) as usize * PAGE as usize;
        // SAFETY: the chunk was mapped, and the file is known to have this page of it.
        Ok(unsafe { Slot::new(at + within, unit) })
    }

    /// The pages that the file is known to have; a mapping without them knows of none.
    #[inline(always)]
    fn known_pages(&self) -> u32 {
        let known = self.entry().pages.load(Relaxed);
        if known & 0xffff == self.mapped.tag() { (known >> 16) as u32 } else { 0 }
    }

    /// How many slots there can be, whatever the header says.
    pub fn most_slots(&self) -> u32 {
        let known = self.known_pages().max(FIRST_PAGES);
        let pages = if self.pages() <= known { self.pages() } else { self.ask_pages().unwrap_or(known).min(self.pages()) };
        pages.saturating_mul(UNITS_PER_PAGE)
    }

    fn open_pages(&self) -> Result<(Fd, u64)> {
        let opened = file::open(self.queues.pages_path(self.index()).c_str(), true);
        let (fd, stat) = opened.map_err(|e| if e == Errno::NOENT { Errno::IDRM } else { e })?;
        if stat.st_ino as u64 != self.entry().pages_inode.load(Relaxed) {
            return Err(Errno::IDRM);
        }
        Ok((fd, stat.st_size as u64))
    }

    fn ask_pages(&self) -> Result<u32> {
        let size = fd_thread::run(|| Ok::<_, Errno>(self.open_pages()?.1))?;
        let pages = (size / PAGE).min(MOST_PAGES.into());
        self.entry().pages.store(pages << 16 | self.mapped.tag(), Relaxed);
        Ok(pages as u32)
    }

    fn chunk(&self, chunk: usize) -> Option<usize> {
        let known = self.entry().chunks[chunk].load(Acquire);
        (known != 0 && known & 0xffff == self.mapped.tag()).then_some(((known >> 16) * PAGE) as usize)
    }

    fn map_chunk(&self, chunk: usize) -> Result<usize> {
        let entry = &self.entry().chunks[chunk];
        let before = entry.load(Acquire);
        let len = chunk_bytes(chunk);
        let from = u64::from(chunk_start(chunk)) * PAGE;
        let at = fd_thread::run(|| memory::map_range(&self.open_pages()?.0, from, len, Access::WRITE))?;
        let known = (at as u64 / PAGE) << 16 | self.mapped.tag();
        match entry.compare_exchange(before, known, AcqRel, Acquire) {
            Ok(_) => Ok(at),
            Err(now) => {
                // Another thread was first.
                // SAFETY: just mapped, and nobody has seen it.
                let _ = unsafe { memory::unmap(at, len) };
                if now & 0xffff == self.mapped.tag() { Ok(((now >> 16) * PAGE) as usize) } else { Err(Errno::INVAL) }
            }
        }
    }

    /// Sees to it that the file has `more` further pages. The caller holds the queue's lock. `ENOMEM`: there is no room.
    pub fn grow(&self, more: u32) -> Result<()> {
        let pages = self.pages().checked_add(more).filter(|pages| *pages <= MOST_PAGES).ok_or(Errno::NOMEM)?;
        let bytes = u64::from(pages) * PAGE;
        fd_thread::run(|| {
            let (fd, len) = self.open_pages()?;
            file::fits_file_limit(bytes)?;
            file::reserve_again(&fd, len, bytes).map_err(no_memory)
        })?;
        self.header().pages.store(pages, Release);
        Ok(())
    }

    /// Gives the memory of all but the first pages back. The caller holds the queue's lock, and nothing is kept there.
    pub fn shrink(&self) {
        let (from, to) = (u64::from(FIRST_PAGES) * PAGE, u64::from(self.pages()) * PAGE);
        let _ = fd_thread::run(|| {
            let (fd, _) = self.open_pages()?;
            self.header().pages.store(FIRST_PAGES, Release);
            file::punch(&fd, from, to - from);
            Ok::<_, Errno>(())
        });
    }

    /// The word that a place names.
    pub fn word_at(&self, place: u64) -> Option<&'static AtomicU64> {
        const WORDS: u64 = PAGE / 8;
        if place < WORDS {
            let at = self.mapped.address() + 8 * place as usize;
            // SAFETY: within the header's page, which is mapped; atomics only.
            return Some(unsafe { &*(at as *const AtomicU64) });
        }
        let per_unit = UNIT as u64 / 8;
        let slot = self.slot(u32::try_from(place / per_unit).ok()?).ok()?;
        Some(slot.word((place % per_unit) as usize))
    }

    /// The place of a word of the header.
    #[inline(always)]
    pub fn place_of(&self, word: &'static AtomicU64) -> u64 {
        (std::ptr::from_ref(word) as usize).wrapping_sub(self.mapped.address()) as u64 / 8
    }
}

impl redo::JournalWords for QueueView<'_> {
    fn word(&self, place: u64) -> Option<&AtomicU64> {
        self.word_at(place)
    }
}

#[inline(always)]
fn head_word(id: Id, state: QueueState) -> u64 {
    (id.raw() as u64) << 32 | state as u64
}

/// The number of the first page of a chunk.
fn chunk_start(chunk: usize) -> u32 {
    NEAR_PAGES + FIRST_CHUNK * ((1 << chunk) - 1)
}

fn chunk_bytes(chunk: usize) -> usize {
    (FIRST_CHUNK as usize * PAGE as usize) << chunk
}

impl<'a> Keyed<'a> for QueueView<'a> {
    type Class = Queues;
    const OF: Mechanism = Mechanism::Msg;

    fn at(queues: &'a Queues, index: u16) -> Result<Option<QueueView<'a>>> {
        queues.at(index)
    }

    fn id_by(&self, key: Key) -> Option<Id> {
        let (id, state) = self.head();
        (state == QueueState::Live && self.key() == key).then_some(id)
    }
}

impl<'a> CreatedInOneStep<'a> for QueueView<'a> {
    fn permits(&self, flags: u32) -> bool {
        permissions::permits(&self.permissions().0, flags, credentials::euid)
    }

    fn is_live(&self) -> bool {
        self.is_live()
    }

    fn foreign(queues: &'a Queues, index: u16) -> &'a AtomicU32 {
        &queues.table[usize::from(index)].foreign
    }
}

impl Queues {
    pub fn new(core: &'static Core, near: &'static [QueueEntry; NEAR]) -> Result<Queues> {
        Ok(Queues { core, table: QueueTable::new(near, MAX_OBJECTS as usize)?, replacing: ThreadLock::new() })
    }

    /// Returns `true` if `address` lies in a mapping of a queue's file. Reads atomics only.
    pub fn maps(&self, address: usize) -> bool {
        self.table.iter().any(|entry| entry.maps(address))
    }

    /// Forgets what belongs to the parent, in a child.
    #[allow(unsafe_code)]
    // SAFETY: any section of code will do; see `backend/directory/hooks.rs`.
    #[unsafe(link_section = ".text.hot.quintet_fork")]
    pub fn after_fork_in_child(&self) {
        self.replacing.forget();
    }

    pub fn path(&self, index: u16) -> PathBuffer {
        PathBuffer::new(self.core.directory(), format_args!("/msg/{index}"))
    }

    /// Where the pages after the header are: in a shared namespace in a file of their own.
    pub fn pages_path(&self, index: u16) -> PathBuffer {
        match self.core.kind() {
            Kind::Private => self.path(index),
            Kind::Shared => PathBuffer::new(self.core.directory(), format_args!("/msg/{index}.data")),
        }
    }

    #[inline(always)]
    pub fn cached(&self, index: u16) -> Option<QueueView<'_>> {
        let mapped = QueueMapping::load(&self.table[usize::from(index)].mapped)?;
        Some(QueueView { queues: self, mapped })
    }

    /// The queue of an identifier, if it is at hand and its files can be written.
    #[inline(always)]
    pub fn hot(&self, id: i32) -> Option<QueueView<'_>> {
        let id = Id::from_raw(id).ok()?;
        self.cached(id.index()).filter(|queue| queue.is_live_as(id) && queue.is_whole())
    }

    /// The file of `index`; `None` if nothing was ever there.
    ///
    /// `EACCES`: the directory may not be searched; `EINVAL`: what is there is no queue.
    pub fn at(&self, index: u16) -> Result<Option<QueueView<'_>>> {
        match self.cached(index) {
            Some(view) if view.header().is_valid() => Ok(Some(view)),
            _ => self.map(index),
        }
    }

    /// As [`Queues::queue`], for a caller that will write: what could not be mapped is tried anew, rights may have come.
    #[inline(never)]
    pub fn writable_at(&self, index: u16) -> Result<Option<QueueView<'_>>> {
        match self.at(index)? {
            // As long as it may not be written the mapping stays what it is.
            Some(view) if !view.is_whole() => fd_thread::run(|| match file::open(self.pages_path(index).c_str(), true) {
                Err(Errno::ACCES | Errno::ROFS) => Ok(Some(view)),
                Err(Errno::MFILE) => Err(Errno::MFILE),
                _ => self.map(index),
            }),
            other => Ok(other),
        }
    }

    fn map(&self, index: u16) -> Result<Option<QueueView<'_>>> {
        fd_thread::run(|| self.open(index))
    }

    #[inline(never)]
    fn open(&self, index: u16) -> Result<Option<QueueView<'_>>> {
        let before = QueueMapping::load(&self.table[usize::from(index)].mapped);
        let path = self.path(index);
        let (opened, writable) = match file::open(path.c_str(), true) {
            Err(Errno::ACCES | Errno::ROFS) => (file::open(path.c_str(), false), false),
            other => (other, true),
        };
        let fd = match opened {
            Ok((fd, stat)) if stat.st_size as u64 >= PAGE => fd,
            Ok(_) | Err(Errno::NOENT) => return Ok(None),
            Err(Errno::BADMSG) => return Err(Errno::INVAL),
            Err(e) => return Err(e),
        };
        let pages = match self.core.kind() {
            Kind::Private => None,
            Kind::Shared => match file::open(self.pages_path(index).c_str(), true) {
                Err(e @ (Errno::MFILE | Errno::NFILE)) => return Err(e),
                opened => opened.ok().map(|(fd, _)| fd),
            },
        };
        let view = self.put_in_place(index, before, &fd, pages.as_ref(), writable)?;
        Ok(view.header().is_valid().then_some(view))
    }

    /// Maps a queue's files in the place of whatever was mapped at its index: the second one is that of the pages, if they are not in the first.
    pub fn map_new(&self, index: u16, fd: &Fd, pages: Option<&Fd>) -> Result<QueueView<'_>> {
        let before = QueueMapping::load(&self.table[usize::from(index)].mapped);
        let queue = self.put_in_place(index, before, fd, pages, true)?;
        queue.header().set_up();
        Ok(queue)
    }

    fn put_in_place(
        &self,
        index: u16,
        before: Option<QueueMapping>,
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
            // SAFETY: the range was just mapped, and nobody has seen it.
            mapped = unsafe { memory::map(pages, NEAR_BYTES, pages_access, Place::Over(at)) };
        }
        if pages.is_none() || self.core.kind() == Kind::Shared {
            // SAFETY: as above; the first page of a file of pages is nobody's.
            mapped = mapped.and_then(|_| unsafe { memory::map(fd, PAGE as usize, access, Place::Over(at)) });
        }
        let unmap = |e| {
            // SAFETY: just mapped, and nobody has seen it.
            let _ = unsafe { memory::unmap(at, NEAR_BYTES) };
            e
        };
        mapped.map_err(unmap)?;
        let mapped = QueueMapping::new(at, index, writable, pages.is_some() && (writable || self.core.kind() == Kind::Shared));
        if QueueMapping::load(&entry.mapped) != before {
            // Another thread was first.
            unmap(Errno::EXIST);
            return self.cached(index).ok_or(Errno::INVAL);
        }
        // The file of a queue that somebody may still be looking at, now with more rights, goes on being mapped.
        let same = entry.inode.load(Relaxed) == stat.st_ino as u64;
        entry.owner.store(stat.st_uid, Relaxed);
        entry.inode.store(stat.st_ino as u64, Relaxed);
        entry.pages_inode.store(pages_stat.st_ino as u64, Relaxed);
        // What was remembered is another queue's.
        entry.rights.forget();
        entry.pages.store(0, Relaxed);
        entry.mapped.store(mapped.0, Release);
        if let Some(before) = before.filter(|_| !same) {
            self.retire_mapping(index, before);
        }
        Ok(QueueView { queues: self, mapped })
    }

    /// Nobody looks at a mapping any more, but for a thread that was interrupted while it did.
    fn retire_mapping(&self, index: u16, old: QueueMapping) {
        // SAFETY: this index's own former mapping; a queue of zeroes is one that is not there.
        unsafe { memory::zeroed_over(old.address(), NEAR_BYTES) };
        for (chunk, known) in self.table[usize::from(index)].chunks.iter().enumerate() {
            let was = known.load(Acquire);
            if was != 0 && was & 0xffff == old.tag() && known.compare_exchange(was, 0, AcqRel, Relaxed).is_ok() {
                // SAFETY: mapped by `map_chunk`; slots of zeroes are free ones.
                unsafe { memory::zeroed_over(((was >> 16) * PAGE) as usize, chunk_bytes(chunk)) };
            }
        }
    }
}
