//! The mapped files of sets and queues: finding one by its index or identifier, its permissions, and
//! the chunks in which further pages are mapped.
//!
//! A file is mapped when its index is first asked for and stays mapped, so that an operation makes no
//! system call. A file is never used for a second object. When another file has taken the index,
//! zeroed memory takes the place of the old mapping: a thread that was interrupted in the middle of an
//! operation finds an object that is not live.
//!
//! # Safety
//!
//! An address in a [`MappedFile`] or in [`Chunks`] is that of a mapping that its class made in its
//! whole length. It is never unmapped, only replaced by zeroed memory.
#![allow(unsafe_code)]

use crate::layout::{ObjectState, QueueHeader, SetHeader, StoredPermissions};
use crate::object::keys::Keyed;
use crate::object::permissions::{self, Remembered};
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

/// A mapping in one word: the number of its first page, and 18 bits that its class defines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MappingWord(u64);

impl MappingWord {
    /// Packs the mapping at `address`. `bits` has 18 bits.
    pub fn new(address: usize, bits: u32) -> MappingWord {
        MappingWord((address as u64 / PAGE) << 18 | u64::from(bits))
    }

    #[inline(always)]
    pub fn address(self) -> usize {
        ((self.0 >> 18) * PAGE) as usize
    }

    /// Returns the bits of the class, with address bits above the lowest 18.
    #[inline(always)]
    pub fn bits(self) -> u32 {
        self.0 as u32
    }

    /// Tells this mapping from the others that the index may have had.
    #[inline(always)]
    pub fn tag(self) -> u64 {
        self.0 >> 18 & 0xffff
    }
}

/// What this process knows of the file of one index.
#[repr(C)]
pub struct MappedFile {
    /// A [`MappingWord`]; 0 if the file is not mapped yet.
    word: AtomicU64,
    permissions: Remembered,
    /// The user id of the file's owner.
    owner: AtomicU32,
    /// Not 0 if the file belongs to another user, so that nothing can be created there.
    pub foreign: AtomicU32,
    /// The file's number on its file system.
    inode: AtomicU64,
}

impl MappedFile {
    #[inline(always)]
    pub fn load(&self) -> Option<MappingWord> {
        let word = self.word.load(Acquire);
        (word != 0).then_some(MappingWord(word))
    }

    /// Returns `true` if this is the file that is mapped.
    pub fn is(&self, stat: &Stat) -> bool {
        self.inode.load(Relaxed) == stat.st_ino as u64
    }

    /// Enters a new mapping. `forget` clears what the class remembers of the object before. Returns
    /// `true` if it is the same file as before, now with more permissions: then the old mapping goes
    /// on being used by threads that look at it.
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

/// Where the further pages of a file are mapped, each chunk with the tag of the file's mapping.
#[repr(transparent)]
pub struct Chunks<const N: usize>([AtomicU64; N]);

impl<const N: usize> Chunks<N> {
    /// Returns the address of a chunk of the mapping with this tag.
    pub fn get(&self, chunk: usize, tag: u64) -> Option<usize> {
        let known = self.0[chunk].load(Acquire);
        (known != 0 && known & 0xffff == tag).then_some(((known >> 16) * PAGE) as usize)
    }

    /// Maps a chunk of `len` bytes by `map` and enters it. Returns its address, or that of another
    /// thread which was first. `EINVAL`: the index has another mapping by now.
    pub fn map(&self, chunk: usize, tag: u64, len: usize, map: impl FnOnce() -> Result<usize>) -> Result<usize> {
        let before = self.0[chunk].load(Acquire);
        let at = map()?;
        let known = (at as u64 / PAGE) << 16 | tag;
        match self.0[chunk].compare_exchange(before, known, AcqRel, Acquire) {
            Ok(_) => Ok(at),
            Err(now) => {
                // SAFETY: just mapped, and no thread has seen it.
                let _ = unsafe { memory::unmap(at, len) };
                if now & 0xffff == tag { Ok(((now >> 16) * PAGE) as usize) } else { Err(Errno::INVAL) }
            }
        }
    }

    /// Overwrites the chunks of the mapping with this tag by zeroes. `len`: the bytes of a chunk.
    pub fn retire(&self, tag: u64, len: impl Fn(usize) -> usize) {
        for (chunk, known) in self.0.iter().enumerate() {
            let was = known.load(Acquire);
            if was != 0 && was & 0xffff == tag && known.compare_exchange(was, 0, AcqRel, Relaxed).is_ok() {
                // SAFETY: entered by `map`, of this length; zeroes are free pages.
                unsafe { memory::replace_with_zeroes(((was >> 16) * PAGE) as usize, len(chunk)) };
            }
        }
    }

    /// Returns `true` if `address` lies in a chunk. Reads atomics only.
    pub fn contain(&self, address: usize, len: impl Fn(usize) -> usize) -> bool {
        self.0.iter().enumerate().any(|(chunk, known)| {
            let at = ((known.load(Acquire) >> 16) * PAGE) as usize;
            at != 0 && (at..at + len(chunk)).contains(&address)
        })
    }
}

/// The words that the headers of sets and queues have alike.
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

/// An object whose file is mapped.
pub trait MappedObject<'a>: Copy {
    type Files: ObjectFiles<View<'a> = Self>;
    type Header: ObjectHeader;

    fn files(&self) -> &'a Self::Files;
    fn index(&self) -> u16;
    fn mapping(&self) -> MappingWord;
    fn header(&self) -> &'static Self::Header;

    /// Returns `true` if the caller may write all of the object's files.
    fn is_writable(&self) -> bool;

    #[inline(always)]
    fn file(&self) -> &'a MappedFile {
        self.files().file(self.index())
    }

    /// Returns the user id of the file's owner, which is the creator's whatever the content says.
    fn owner(&self) -> u32 {
        self.file().owner.load(Relaxed)
    }

    /// Returns identifier and state. The index is that of the file, whatever its head says.
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
        let rights = header.permissions();
        let (cuid, cgid) = (self.owner(), header.creator_group().load(Relaxed));
        (Permissions { uid: rights.uid, gid: rights.gid, cuid, cgid, mode: rights.mode }, rights)
    }

    /// Returns `true` if the calling thread has the access that `flags` names.
    fn permits(&self, flags: u32) -> bool {
        permissions::permits(&self.permissions().0, flags, credentials::euid)
    }

    /// Returns a number that differs after each change of the permissions.
    fn permissions_version(&self) -> u32 {
        self.header().permissions_version().load(Acquire)
    }

    /// Returns `true` if the calling thread may read (`write` false) or write the object. The answer is
    /// remembered until [`credentials::changed`] says that it may differ.
    #[inline(always)]
    fn may(&self, write: bool) -> bool {
        let version = self.header().permissions_version().load(Acquire);
        self.file().permissions.may(write, self.mapping().tag(), version, || self.permissions().0)
    }
}

/// A class of objects, each of which is mapped from its file.
pub trait ObjectFiles: Sized + 'static {
    const OF: Mechanism;
    type View<'a>: MappedObject<'a, Files = Self>;

    fn file(&self, index: u16) -> &MappedFile;
    fn view(&self, index: u16, word: MappingWord) -> Self::View<'_>;

    /// Returns the file that a process may write if it may change the object.
    fn written_path(&self, index: u16) -> PathBuffer;

    /// Maps the object's files in the place of whatever was mapped at its index. `None` if there is
    /// no object.
    fn open(&self, index: u16) -> Result<Option<Self::View<'_>>>;

    #[inline(always)]
    fn cached(&self, index: u16) -> Option<Self::View<'_>> {
        let word = self.file(index).load()?;
        Some(self.view(index, word))
    }

    /// Returns the object of an identifier, if it is mapped and its files can be written.
    #[inline(always)]
    fn hot(&self, id: i32) -> Option<Self::View<'_>> {
        let id = Id::from_raw(id).ok()?;
        self.cached(id.index()).filter(|object| object.is_live_as(id) && object.is_writable())
    }

    /// Returns the object at `index`; `None` if none was ever there.
    ///
    /// `EACCES`: the directory may not be searched; `EINVAL`: the file is no such object.
    fn at(&self, index: u16) -> Result<Option<Self::View<'_>>> {
        match self.cached(index) {
            Some(object) if object.header().is_valid() => Ok(Some(object)),
            _ => self.map(index),
        }
    }

    /// Returns the same for a caller that will write. A read-only mapping is tried again, because the
    /// process may have got permissions since.
    #[inline(never)]
    fn writable_at(&self, index: u16) -> Result<Option<Self::View<'_>>> {
        match self.at(index)? {
            // As long as the file may not be written, the mapping stays what it is.
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
            _ => self.look_for(id),
        }
    }

    #[cold]
    fn look_for(&self, id: Id) -> Result<Self::View<'_>> {
        self.at(id.index())?.filter(|object| object.is_live_as(id)).ok_or(Errno::INVAL)
    }

    /// Returns the error of a call without permission: that of `live` if the object has gone meanwhile.
    #[cold]
    fn denied<T>(&self, id: i32, e: Errno) -> Result<T> {
        self.live(id).and(Err(e))
    }

    /// Returns the object of an identifier, for commands of owner, creator and privileged processes.
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
