//! Keys, by which processes find objects.
//!
//! In a shared namespace, a key is a symbolic link in the directory `key`. The sticky bit of the
//! directory lets only the owner remove a link. A user therefore cannot hide or replace an object
//! of another user. In a private namespace, a table in the registry holds the keys, and a lookup
//! needs no system call.

use crate::layout::Registry;
use crate::object::core::Core;
use crate::object::hints::HINT_BITS;
use crate::object::registry::RegistryGuard;
use crate::sys::path_buffer::PathBuffer;
use crate::sys::{fd_thread, file};
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::kind::Kind;
use crate::types::mechanism::Mechanism;
use rustix::fs::{self, CWD};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering::*};

type Result<T> = std::result::Result<T, Errno>;

/// The maximum number of names of a key. See [`Core::key_path`].
const MAX_KEY_NAMES: u32 = 8;

/// An object that can have a key.
pub trait Keyed<'a>: Sized {
    /// The class of the object, with this process's table of mappings.
    type Class: 'static;
    const OF: Mechanism;

    /// Returns the object at `index`, or `None` if the index was never used. Fails with `EINVAL` if
    /// the object is damaged.
    fn at(class: &'a Self::Class, index: u16) -> Result<Option<Self>>;

    /// Returns the identifier if the object is live and has this key.
    fn id_by(&self, key: Key) -> Option<Id>;
}

/// The result of looking for a key.
pub enum Found<T> {
    Object(T, Id),
    /// No name exists.
    Nothing,
    /// A name may exist, but no object with the key was found. Its creator may still be at work, or
    /// it exited too early.
    Unknown,
}

impl Core {
    /// Returns the path of the `nth` name of a key.
    ///
    /// The first name is the usual one. A later name serves while an earlier one leads elsewhere
    /// and only another user may remove it.
    fn key_path(&self, of: Mechanism, key: Key, nth: u32) -> PathBuffer {
        let (class, raw) = (of.name(), key.raw());
        match nth {
            0 => PathBuffer::new(self.directory(), format_args!("/key/{class}.{raw:08x}")),
            nth => PathBuffer::new(self.directory(), format_args!("/key/{class}.{raw:08x}.{nth}")),
        }
    }

    /// Returns the numbers of the names that a key may have in this namespace.
    fn key_names(&self) -> std::ops::Range<u32> {
        0..self.registry.key_names.load(Relaxed).clamp(1, MAX_KEY_NAMES)
    }

    fn key_hint(&self, of: Mechanism, key: Key) -> &AtomicU64 {
        let hash = (key.raw() as u32).wrapping_mul(0x9e37_79b9) >> (32 - HINT_BITS);
        &self.hints[of as usize * (1 << HINT_BITS) + hash as usize]
    }

    /// Looks for the object of a key at the index where this process last found it.
    pub fn find_by_hint<'a, T: Keyed<'a>>(&self, class: &'a T::Class, key: Key) -> Found<T> {
        let hint = self.key_hint(T::OF, key).load(Relaxed);
        if hint != 0
            && let Ok(Some(object)) = T::at(class, (hint - 1) as u16)
            && let Some(id) = object.id_by(key)
        {
            return Found::Object(object, id);
        }
        Found::Unknown
    }

    /// Finds the object of a key other than `IPC_PRIVATE`.
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

    /// Checks that the object at `index` has the key and, if `id` is given, that identifier.
    fn check_found<'a, T: Keyed<'a>>(&self, class: &'a T::Class, key: Key, index: u16, id: Option<Id>) -> Result<Found<T>> {
        let object = match T::at(class, index) {
            Ok(Some(object)) => object,
            Ok(None) | Err(Errno::INVAL) => return Ok(Found::Unknown),
            Err(e) => return Err(e),
        };
        match object.id_by(key) {
            Some(found) if id.is_none_or(|id| id == found) => {
                self.key_hint(T::OF, key).store(u64::from(index) + 1, Relaxed);
                Ok(Found::Object(object, found))
            }
            _ => Ok(Found::Unknown),
        }
    }

    /// Returns the key of an index in use. [`Core::reserve_key`] has reserved its place in the
    /// table.
    fn table_key(&self, of: Mechanism, index: u16) -> Key {
        Key::new(self.registry.keys(of)[usize::from(index)].load(Acquire) as i32)
    }

    /// Allocates the blocks of an index's place in the key table. The caller marks the index as in
    /// use afterwards. Without the blocks, an access raises SIGBUS when the file system is full.
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

    /// Returns the identifier that the `nth` name of a key leads to. `None` if the name is missing.
    #[inline(never)]
    fn read_key(&self, of: Mechanism, key: Key, nth: u32) -> Result<Option<Id>> {
        let mut text = [MaybeUninit::uninit(); 16];
        let path = self.key_path(of, key, nth);
        let (text, _) = match fs::readlinkat_raw(CWD, path.c_str(), &mut text) {
            Ok(read) => read,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            // Not a symbolic link: another program put a file there.
            Err(rustix::io::Errno::INVAL) => return Ok(Some(Id::new(u16::MAX, 0x7fff))),
            Err(e) => return Err(e.into()),
        };
        let number = std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()).unwrap_or(i32::MAX);
        Ok(Some(Id::from_raw(number).unwrap_or(Id::new(u16::MAX, 0x7fff))))
    }

    /// Gives the key to `id`. The caller has checked under the lock that no object has the key.
    #[inline(never)]
    pub fn link_key(&self, _guard: &RegistryGuard<'_>, of: Mechanism, key: Key, id: Id) -> Result<()> {
        if self.kind() == Kind::Private {
            self.registry.keys(of)[usize::from(id.index())].store(key.raw() as u32, Release);
            return Ok(());
        }
        let number = PathBuffer::new(b"", format_args!("{id}"));
        for nth in 0..MAX_KEY_NAMES {
            let path = self.key_path(of, key, nth);
            let mut linked = fs::symlinkat(number.c_str(), CWD, path.c_str());
            // A process that exited left a stale link.
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

    /// Removes the key of `id`. Does nothing if the key leads to another object.
    #[inline(never)]
    pub fn unlink_key(&self, _guard: &RegistryGuard<'_>, of: Mechanism, key: Key, id: Id) {
        if key.is_private() {
            return;
        }
        if self.kind() == Kind::Private {
            self.registry.keys(of)[usize::from(id.index())].store(0, Release);
            return;
        }
        // The object's file may claim the key of another object, so the links decide.
        for nth in self.key_names().filter(|nth| self.read_key(of, key, *nth).ok().flatten() == Some(id)) {
            let _ = fs::unlink(self.key_path(of, key, nth).c_str());
        }
    }

    /// Removes the names of a key that lead to no object with it. Skips names that the caller may
    /// not remove.
    #[inline(never)]
    pub fn drop_stale_names<'a, T: Keyed<'a>>(&self, class: &'a T::Class, _guard: &RegistryGuard<'_>, key: Key) {
        for nth in self.key_names() {
            let Ok(Some(id)) = self.read_key(T::OF, key, nth) else { continue };
            if !matches!(self.check_found::<T>(class, key, id.index(), Some(id)), Ok(Found::Object(..))) {
                let _ = fs::unlink(self.key_path(T::OF, key, nth).c_str());
            }
        }
    }
}

/// Converts the errors of a full file system to `ENOMEM`, which `shmget` and `semget` return.
pub fn no_memory(errno: Errno) -> Errno {
    match errno {
        Errno::NOSPC | Errno::FBIG => Errno::NOMEM,
        other => other,
    }
}
