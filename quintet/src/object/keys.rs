//! Keys: the names by which processes find objects.
//!
//! In a shared namespace a key is a symbolic link in the directory `key`. Its sticky bit lets only the
//! owner of a link remove it: no user can hide an object of another user, or put an own one in its
//! place. In a private namespace, a table in the registry does the same without a system call.

use crate::layout::Registry;
use crate::object::core::Core;
use crate::object::registry::RegistryGuard;
use crate::sys::path_buffer::PathBuffer;
use crate::sys::{fd_thread, file, memory};
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::kind::Kind;
use crate::types::mechanism::Mechanism;
use rustix::fs::{self, CWD};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering::*};

type Result<T> = std::result::Result<T, Errno>;

/// How many names a key may have at the most: see ``Core::key_path``.
const MOST_KEY_NAMES: u32 = 8;

/// An object that a key may lead to.
pub trait Keyed<'a>: Sized {
    /// The class of the object as this process has it: its table of mappings.
    type Class: 'static;
    const OF: Mechanism;

    /// Returns the object at `index`; `None` if none was ever there; `EINVAL` if it is damaged.
    fn at(class: &'a Self::Class, index: u16) -> Result<Option<Self>>;

    /// Returns the identifier, if the object has this key.
    fn id_by(&self, key: Key) -> Option<Id>;
}

const HINT_BITS: u32 = 15;
const HINTS: usize = Mechanism::ALL.len() << HINT_BITS;

/// The indexes where this process last found keys, plus 1, by a hash of the key: zeroed memory that costs nothing until touched.
pub struct Hints(usize);

impl Hints {
    pub fn new() -> Result<Hints> {
        memory::anonymous(size_of::<AtomicU64>() * HINTS).map(Hints)
    }
}

impl std::ops::Deref for Hints {
    type Target = [AtomicU64; HINTS];

    fn deref(&self) -> &Self::Target {
        #[allow(unsafe_code)]
        // SAFETY: mapped with this size, zeroed, never unmapped; atomics only.
        unsafe {
            &*(self.0 as *const [AtomicU64; HINTS])
        }
    }
}

/// What a key led to.
pub enum Found<T> {
    Object(T, Id),
    Nothing,
    /// A name is there, but no object has the key: its creator is at work, or has died.
    Unsure,
}

impl Core {
    /// The name of a key. The first is the rule; the others serve while an earlier one is in the way that only
    /// another user can take away.
    fn key_path(&self, of: Mechanism, key: Key, nth: u32) -> PathBuffer {
        let (class, raw) = (of.name(), key.raw());
        match nth {
            0 => PathBuffer::new(self.directory(), format_args!("/key/{class}.{raw:08x}")),
            nth => PathBuffer::new(self.directory(), format_args!("/key/{class}.{raw:08x}.{nth}")),
        }
    }

    /// The names that a key may have in this namespace.
    fn key_names(&self) -> std::ops::Range<u32> {
        0..self.registry.key_names.load(Relaxed).clamp(1, MOST_KEY_NAMES)
    }

    fn key_hint(&self, of: Mechanism, key: Key) -> &AtomicU64 {
        let hash = (key.raw() as u32).wrapping_mul(0x9e37_79b9) >> (32 - HINT_BITS);
        &self.hints[of as usize * (1 << HINT_BITS) + hash as usize]
    }

    /// Finds the object of a key where this process last found it.
    pub fn find_by_hint<'a, T: Keyed<'a>>(&self, class: &'a T::Class, key: Key) -> Found<T> {
        let hint = self.key_hint(T::OF, key).load(Relaxed);
        if hint != 0
            && let Ok(Some(object)) = T::at(class, (hint - 1) as u16)
            && let Some(id) = object.id_by(key)
        {
            return Found::Object(object, id);
        }
        Found::Unsure
    }

    /// Finds the object of a key, which is not `IPC_PRIVATE`.
    pub fn find<'a, T: Keyed<'a>>(&self, class: &'a T::Class, key: Key) -> Result<Found<T>> {
        if let found @ Found::Object(..) = self.find_by_hint(class, key) {
            return Ok(found);
        }
        match self.kind() {
            Kind::Private => match self.used_indexes(T::OF).find(|index| self.table_key(T::OF, *index) == key) {
                Some(index) => self.check_found(class, key, index, None),
                None => Ok(Found::Nothing),
            },
            Kind::Shared => {
                let mut found = Found::Nothing;
                for nth in self.key_names() {
                    if let Some(id) = self.read_key(T::OF, key, nth)? {
                        found = self.check_found(class, key, id.index(), Some(id))?;
                        if let Found::Object(..) = found {
                            break;
                        }
                    }
                }
                Ok(found)
            }
        }
    }

    /// What a key led to, if the object there (of this identifier, where one is known) has the key.
    fn check_found<'a, T: Keyed<'a>>(&self, class: &'a T::Class, key: Key, index: u16, id: Option<Id>) -> Result<Found<T>> {
        let object = match T::at(class, index) {
            Ok(Some(object)) => object,
            Ok(None) | Err(Errno::INVAL) => return Ok(Found::Unsure),
            Err(e) => return Err(e),
        };
        match object.id_by(key) {
            Some(found) if id.is_none_or(|id| id == found) => {
                self.key_hint(T::OF, key).store(u64::from(index) + 1, Relaxed);
                Ok(Found::Object(object, found))
            }
            _ => Ok(Found::Unsure),
        }
    }

    /// The key of an index in use, whose place in the table has been reserved.
    fn table_key(&self, of: Mechanism, index: u16) -> Key {
        Key::new(self.registry.keys(of)[usize::from(index)].load(Acquire) as i32)
    }

    /// Sees to it that an index's place in the key table is on the file system, before the index is marked as in use:
    /// a read, too, would otherwise be a SIGBUS when that is full.
    #[inline(never)]
    pub fn reserve_key(&self, of: Mechanism, index: u16) -> Result<()> {
        const PER_PAGE: u16 = 1024;
        let page = 1 << (index / PER_PAGE);
        if self.kind() == Kind::Private && self.key_pages[of as usize].load(Relaxed) & page == 0 {
            fd_thread::run(|| {
                let (fd, _) = file::open(self.registry_path(), true)?;
                let start = Registry::key_offset(of, index / PER_PAGE * PER_PAGE);
                file::reserve_range(&fd, start, 4 * u64::from(PER_PAGE)).map_err(no_memory)
            })?;
            self.key_pages[of as usize].fetch_or(page, Relaxed);
        }
        Ok(())
    }

    /// The identifier that a key's name says.
    #[inline(never)]
    fn read_key(&self, of: Mechanism, key: Key, nth: u32) -> Result<Option<Id>> {
        let mut text = [MaybeUninit::uninit(); 16];
        let path = self.key_path(of, key, nth);
        let (text, _) = match fs::readlinkat_raw(CWD, path.c_str(), &mut text) {
            Ok(read) => read,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            // Not a symbolic link: somebody put something else there.
            Err(rustix::io::Errno::INVAL) => return Ok(Some(Id::new(u16::MAX, 0x7fff))),
            Err(e) => return Err(e.into()),
        };
        let number = std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()).unwrap_or(i32::MAX);
        Ok(Some(Id::from_raw(number).unwrap_or(Id::new(u16::MAX, 0x7fff))))
    }

    /// Gives `id` the key, under the lock, when no object has it.
    #[inline(never)]
    pub fn link_key(&self, _held: &RegistryGuard<'_>, of: Mechanism, key: Key, id: Id) -> Result<()> {
        if self.kind() == Kind::Private {
            self.registry.keys(of)[usize::from(id.index())].store(key.raw() as u32, Release);
            return Ok(());
        }
        let number = PathBuffer::new(b"", format_args!("{id}"));
        for nth in 0..MOST_KEY_NAMES {
            let path = self.key_path(of, key, nth);
            let mut linked = fs::symlinkat(number.c_str(), CWD, path.c_str());
            // What a dead creator or remover left.
            if linked == Err(rustix::io::Errno::EXIST) && fs::unlink(path.c_str()).is_ok() {
                linked = fs::symlinkat(number.c_str(), CWD, path.c_str());
            }
            match linked {
                Err(rustix::io::Errno::EXIST) => {
                    self.registry.key_names.fetch_max(nth + 2, Relaxed);
                }
                other => return Ok(other?),
            }
        }
        Err(Errno::ACCES)
    }

    /// Takes the key from `id`, if it is its.
    #[inline(never)]
    pub fn unlink_key(&self, _held: &RegistryGuard<'_>, of: Mechanism, key: Key, id: Id) {
        if key.is_private() {
            return;
        }
        if self.kind() == Kind::Private {
            self.registry.keys(of)[usize::from(id.index())].store(0, Release);
            return;
        }
        // Among several users a control file's word on its key alone may be a lie.
        for nth in self.key_names().filter(|nth| self.read_key(of, key, *nth).ok().flatten() == Some(id)) {
            let _ = fs::unlink(self.key_path(of, key, nth).c_str());
        }
    }

    /// Takes away the names of a key that lead to no segment with it, as far as they are the caller's to take.
    #[inline(never)]
    pub fn drop_stale_names<'a, T: Keyed<'a>>(&self, class: &'a T::Class, _held: &RegistryGuard<'_>, key: Key) {
        for nth in self.key_names() {
            let Ok(Some(id)) = self.read_key(T::OF, key, nth) else { continue };
            if !matches!(self.check_found::<T>(class, key, id.index(), Some(id)), Ok(Found::Object(..))) {
                let _ = fs::unlink(self.key_path(T::OF, key, nth).c_str());
            }
        }
    }
}

/// A full file system is to a caller of `shmget` or `semget` what full memory is.
pub fn no_memory(errno: Errno) -> Errno {
    match errno {
        Errno::NOSPC | Errno::FBIG => Errno::NOMEM,
        other => other,
    }
}
