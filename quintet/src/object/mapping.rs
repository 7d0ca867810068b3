//! The mapped files of sets and queues.
//!
//! The first lookup of an index maps its file, and the mapping stays. An operation therefore makes
//! no system call. A file never serves a second object. When another file takes the index, zeroed
//! memory replaces the old mapping. A thread that was in the middle of an operation then finds an
//! object that is not live.
//!
//! The first pages of a file are one mapping, which a [`MappedFile`] describes. Further pages are
//! mapped in [`Chunks`].
//!
//! # Safety
//!
//! An address in a [`MappedFile`] or in [`Chunks`] belongs to a mapping that its class made in full
//! length. Nothing unmaps it; zeroed memory may replace it.
#![allow(unsafe_code)]

use crate::layout::{ObjectState, QueueHeader, SetHeader, StoredPermissions};
use crate::object::keys::Keyed;
use crate::object::permissions::{self, PermissionCache};
use crate::sys::fd::Fd;
use crate::sys::path_buffer::PathBuffer;
use crate::sys::{credentials, fd_thread, file, memory};
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::mechanism::Mechanism;
use crate::types::permissions::Permissions;
use rustix::fs::Stat;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

type Result<T> = std::result::Result<T, Errno>;

pub const PAGE: u64 = 4096;

/// A mapping in one word: the number of its first page, and 18 bits that the class defines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MappingWord(u64);

impl MappingWord {
    /// Packs the mapping at `address` with the 18 bits in `bits`.
    pub fn new(address: usize, bits: u32) -> MappingWord {
        MappingWord((address as u64 / PAGE) << 18 | u64::from(bits))
    }

    #[inline(always)]
    pub fn address(self) -> usize {
        ((self.0 >> 18) * PAGE) as usize
    }

    /// Returns the bits of the class in the lowest 18 bits. The bits above belong to the address.
    #[inline(always)]
    pub fn bits(self) -> u32 {
        self.0 as u32
    }

    /// Returns 16 bits that distinguish this mapping from earlier mappings of the index.
    #[inline(always)]
    pub fn tag(self) -> u64 {
        self.0 >> 18 & 0xffff
    }
}

/// The mapped file of one index.
#[repr(C)]
pub struct MappedFile {
    /// The [`MappingWord`], or 0 if no file is mapped.
    word: AtomicU64,
    permissions: PermissionCache,
    /// The user id of the file's owner.
    owner: AtomicU32,
    /// 1 if another user's file occupies the index, so that nothing can be created there.
    pub foreign: AtomicU32,
    /// The file's inode number.
    inode: AtomicU64,
}

impl MappedFile {
    /// Returns the mapping, or `None` if no file is mapped.
    #[inline(always)]
    pub fn load(&self) -> Option<MappingWord> {
        let word = self.word.load(Acquire);
        (word != 0).then_some(MappingWord(word))
    }

    /// Returns `true` if `stat` describes the mapped file.
    pub fn is(&self, stat: &Stat) -> bool {
        self.inode.load(Relaxed) == stat.st_ino as u64
    }

    /// Stores a new mapping. `forget` clears what the class cached of the previous object.
    ///
    /// Returns `true` if the new mapping is of the same file, now with more permissions. Threads
    /// may then still use the old mapping.
    pub fn replace(&self, word: MappingWord, stat: &Stat, forget: impl FnOnce()) -> bool {
        let same = self.is(stat);
        self.owner.store(stat.st_uid, Relaxed);
        self.inode.store(stat.st_ino as u64, Relaxed);
        self.permissions.forget();
        forget();
        self.word.store(word.0, Release);
        same
    }
}

/// The addresses of the further pages of a file, one word for each chunk. A word also holds the tag
/// of the file's mapping.
#[repr(transparent)]
pub struct Chunks<const N: usize>([AtomicU64; N]);

impl<const N: usize> Chunks<N> {
    /// Returns the address of a chunk, if it belongs to the mapping with this tag.
    pub fn get(&self, chunk: usize, tag: u64) -> Option<usize> {
        let known = self.0[chunk].load(Acquire);
        (known != 0 && known & 0xffff == tag).then_some(((known >> 16) * PAGE) as usize)
    }

    /// Maps a chunk of `len` bytes by `map` and stores its address. Returns the address of the
    /// chunk, which another thread may have mapped first.
    ///
    /// Fails with `EINVAL` if the index has another mapping by now.
    pub fn map(&self, chunk: usize, tag: u64, len: usize, map: impl FnOnce() -> Result<usize>) -> Result<usize> {
        let before = self.0[chunk].load(Acquire);
        let at = map()?;
        let known = (at as u64 / PAGE) << 16 | tag;
        match self.0[chunk].compare_exchange(before, known, AcqRel, Acquire) {
            Ok(_) => Ok(at),
            Err(now) => {
                // SAFETY: this call mapped it, and no other thread knows the address.
                let _ = unsafe { memory::unmap(at, len) };
                if now & 0xffff == tag { Ok(((now >> 16) * PAGE) as usize) } else { Err(Errno::INVAL) }
            }
        }
    }

    /// Replaces the chunks of the mapping with this tag by zeroed memory. `len` returns the size of
    /// a chunk in bytes.
    pub fn retire(&self, tag: u64, len: impl Fn(usize) -> usize) {
        for (chunk, known) in self.0.iter().enumerate() {
            let was = known.load(Acquire);
            if was != 0 && was & 0xffff == tag && known.compare_exchange(was, 0, AcqRel, Relaxed).is_ok() {
                // SAFETY: `map` stored the address of a mapping of this length. Zeroes are valid
                // content: free pages.
                unsafe { memory::replace_with_zeroes(((was >> 16) * PAGE) as usize, len(chunk)) };
            }
        }
    }

    /// Returns `true` if `address` lies in a chunk. Only reads atomics, so a signal handler may
    /// call it.
    pub fn contain(&self, address: usize, len: impl Fn(usize) -> usize) -> bool {
        self.0.iter().enumerate().any(|(chunk, known)| {
            let at = ((known.load(Acquire) >> 16) * PAGE) as usize;
            at != 0 && (at..at + len(chunk)).contains(&address)
        })
    }
}

/// The fields that the headers of sets and queues have in common.
pub trait ObjectHeader: 'static {
    fn head(&self) -> &AtomicU64;
    fn key(&self) -> &AtomicU32;
    fn creator_group(&self) -> &AtomicU32;
    fn permissions_version(&self) -> &AtomicU32;
    fn permissions(&self) -> StoredPermissions;
    fn is_valid(&self) -> bool;
}

macro_rules! object_header {
    ($header:ty) => {
        impl ObjectHeader for $header {
            #[inline(always)]
            fn head(&self) -> &AtomicU64 {
                &self.head
            }

            fn key(&self) -> &AtomicU32 {
                &self.key
            }

            fn creator_group(&self) -> &AtomicU32 {
                &self.cgid
            }

            #[inline(always)]
            fn permissions_version(&self) -> &AtomicU32 {
                &self.current
            }

            fn permissions(&self) -> StoredPermissions {
                self.stored_permissions()
            }

            fn is_valid(&self) -> bool {
                self.is_valid()
            }
        }
    };
}

object_header!(SetHeader);
object_header!(QueueHeader);

/// A set or queue with its mapped file.
pub trait MappedObject<'a>: Copy {
    type Files: ObjectFiles<View<'a> = Self>;
    type Header: ObjectHeader;

    fn files(&self) -> &'a Self::Files;
    fn index(&self) -> u16;
    fn mapping(&self) -> MappingWord;
    fn header(&self) -> &'static Self::Header;

    /// Returns `true` if all files of the object are mapped writable.
    fn is_writable(&self) -> bool;

    #[inline(always)]
    fn file(&self) -> &'a MappedFile {
        self.files().file(self.index())
    }

    /// Returns the user id of the file's owner. It is the creator's, because the file's content
    /// cannot change it.
    fn owner(&self) -> u32 {
        self.file().owner.load(Relaxed)
    }

    /// Returns the identifier and the state. The index comes from the file's name, not from its
    /// content.
    fn head(&self) -> (Id, ObjectState) {
        let (sequence, state) = ObjectState::unpack(self.header().head().load(Acquire));
        (Id::new(sequence, self.index()), state)
    }

    fn set_head(&self, id: Id, state: ObjectState) {
        self.header().head().store(state.head(id), SeqCst);
    }

    fn is_live(&self) -> bool {
        self.head().1 == ObjectState::Live
    }

    /// Returns `true` if the object is live and has this identifier.
    #[inline(always)]
    fn is_live_as(&self, id: Id) -> bool {
        self.header().head().load(Acquire) == ObjectState::Live.head(id)
    }

    fn key(&self) -> Key {
        Key::new(self.header().key().load(Relaxed) as i32)
    }

    fn permissions(&self) -> (Permissions, StoredPermissions) {
        let header = self.header();
        let stored = header.permissions();
        let (cuid, cgid) = (self.owner(), header.creator_group().load(Relaxed));
        (Permissions { uid: stored.uid, gid: stored.gid, cuid, cgid, mode: stored.mode }, stored)
    }

    /// Returns `true` if the calling thread has the access that `flags` names.
    fn permits(&self, flags: u32) -> bool {
        permissions::permits(&self.permissions().0, flags, credentials::euid)
    }

    /// Returns a number that each change of the permissions changes.
    fn permissions_version(&self) -> u32 {
        self.header().permissions_version().load(Acquire)
    }

    /// Returns `true` if the calling thread may write the object, or read it if `write` is `false`.
    /// Caches the answer until [`credentials::changed`] invalidates it.
    #[inline(always)]
    fn may(&self, write: bool) -> bool {
        let version = self.header().permissions_version().load(Acquire);
        self.file().permissions.allows(write, self.mapping().tag(), version, || self.permissions().0)
    }
}

/// Opens the file of an object, read-only if the caller may not write it. The last value is `true`
/// if the file is open for writing. Returns `None` if there is no file.
///
/// | error | cause |
/// |---|---|
/// | `EACCES` | the caller may neither write nor read the file |
/// | `EINVAL` | the path is not a regular file |
pub fn open_object(path: &PathBuffer) -> Result<Option<(Fd, Stat, bool)>> {
    let (opened, writable) = match file::open(path.c_str(), true) {
        Err(Errno::ACCES | Errno::ROFS) => (file::open(path.c_str(), false), false),
        other => (other, true),
    };
    match opened {
        Ok((fd, stat)) => Ok(Some((fd, stat, writable))),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::BADMSG) => Err(Errno::INVAL),
        Err(e) => Err(e),
    }
}

/// A class of objects with mapped files: the sets or the queues.
pub trait ObjectFiles: Sized + 'static {
    const OF: Mechanism;
    type View<'a>: MappedObject<'a, Files = Self>;

    fn file(&self, index: u16) -> &MappedFile;
    fn view(&self, index: u16, word: MappingWord) -> Self::View<'_>;

    /// Returns the path of the file that a process may write if it may change the object.
    fn written_path(&self, index: u16) -> PathBuffer;

    /// Maps the object's files and replaces the previous mapping of the index. Returns `None` if
    /// there is no object.
    fn open(&self, index: u16) -> Result<Option<Self::View<'_>>>;

    /// Returns the object at `index` if it is mapped.
    #[inline(always)]
    fn cached(&self, index: u16) -> Option<Self::View<'_>> {
        let word = self.file(index).load()?;
        Some(self.view(index, word))
    }

    /// Returns the live object of an identifier if it is mapped writable.
    #[inline(always)]
    fn hot(&self, id: i32) -> Option<Self::View<'_>> {
        let id = Id::from_raw(id).ok()?;
        self.cached(id.index()).filter(|object| object.is_live_as(id) && object.is_writable())
    }

    /// Returns the object at `index`, or `None` if the index was never used.
    ///
    /// | error | cause |
    /// |---|---|
    /// | `EACCES` | the caller may not search the directory |
    /// | `EINVAL` | the file is not an object of this class |
    fn at(&self, index: u16) -> Result<Option<Self::View<'_>>> {
        match self.cached(index) {
            Some(object) if object.header().is_valid() => Ok(Some(object)),
            _ => self.map(index),
        }
    }

    /// Returns the object at `index` for a caller that writes it. Tries to replace a read-only
    /// mapping, because the process may have gained permissions.
    #[inline(never)]
    fn writable_at(&self, index: u16) -> Result<Option<Self::View<'_>>> {
        match self.at(index)? {
            // The mapping stays as it is while the process may not write the file.
            Some(object) if !object.is_writable() => {
                fd_thread::run(|| match file::open(self.written_path(index).c_str(), true) {
                    Err(Errno::ACCES | Errno::ROFS) => Ok(Some(object)),
                    Err(Errno::MFILE) => Err(Errno::MFILE),
                    _ => self.map(index),
                })
            }
            other => Ok(other),
        }
    }

    fn map(&self, index: u16) -> Result<Option<Self::View<'_>>> {
        fd_thread::run(|| self.open(index))
    }

    /// Returns the live object of an identifier.
    fn live(&self, id: i32) -> Result<Self::View<'_>> {
        let id = Id::from_raw(id)?;
        match self.cached(id.index()) {
            Some(object) if object.is_live_as(id) => Ok(object),
            _ => self.live_slow(id),
        }
    }

    #[cold]
    fn live_slow(&self, id: Id) -> Result<Self::View<'_>> {
        self.at(id.index())?.filter(|object| object.is_live_as(id)).ok_or(Errno::INVAL)
    }

    /// Returns `e`, the error of a call without permission. If the object is gone by now, returns
    /// the error of [`ObjectFiles::live`] instead.
    #[cold]
    fn denied<T>(&self, id: i32, e: Errno) -> Result<T> {
        self.live(id).and(Err(e))
    }

    /// Returns the live object of an identifier, writable, for commands that only owner, creator
    /// and privileged processes may call. Fails with `EPERM` for other callers.
    fn controllable(&self, id: i32) -> Result<Self::View<'_>> {
        let object = self.live(id)?;
        if permissions::may_control(&object.permissions().0)
            && let Some(object) = self.writable_at(object.index())?.filter(MappedObject::is_writable)
        {
            return Ok(object);
        }
        self.denied(id, Errno::PERM)
    }
}

impl<'a, V: MappedObject<'a>> Keyed<'a> for V {
    type Class = V::Files;
    const OF: Mechanism = V::Files::OF;

    fn at(files: &'a V::Files, index: u16) -> Result<Option<V>> {
        files.at(index)
    }

    fn id_by(&self, key: Key) -> Option<Id> {
        let (id, state) = self.head();
        (state == ObjectState::Live && self.key() == key).then_some(id)
    }
}
