//! `semget`: finds a set, or creates one.

use crate::layout::{ObjectState, SetMemory, StoredPermissions};
use crate::object::create::is_live_at;
use crate::object::keys::no_memory;
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::object::registry::RegistryGuard;
use crate::sem::mapping::{SetView, Sets};
use crate::sync::word::Word;
use crate::sys::fd::Fd;
use crate::sys::{clock, credentials, file, ids};
use crate::types::error::Errno;
use crate::types::id::{Id, MAX_OBJECTS};
use crate::types::key::Key;
use crate::types::kind::Kind;
use crate::types::mechanism::Mechanism;
use rustix::fs::{self, Mode};
use std::sync::atomic::Ordering::*;

type Result<T> = std::result::Result<T, Errno>;

impl Sets {
    /// `semget`.
    pub fn semget(&self, key: Key, nsems: i32, flags: i32) -> Result<Id> {
        self.semget_with(key, nsems, flags, &[])
    }

    /// `semget` for a set with initial `values`. The checks have the kernel's order.
    ///
    /// A new set has the values, one for each semaphore, from its first instant. Its `sem_otime` is
    /// then the time of its creation. If `values` is empty, all values are 0.
    pub fn semget_with(&self, key: Key, nsems: i32, flags: i32, values: &[u16]) -> Result<Id> {
        let limits = self.core.limits()?;
        let nsems = u32::try_from(nsems).ok().filter(|nsems| *nsems <= limits.semmsl).ok_or(Errno::INVAL)?;
        let suits = |set: &SetView<'_>| if nsems > set.nsems() { Err(Errno::INVAL) } else { Ok(()) };
        self.core.find_or_create(self, key, flags, suits, |registry| self.create(registry, key, nsems, flags, values))
    }

    /// Creates a set at a free index, within the limits.
    fn create(&self, registry: &RegistryGuard<'_>, key: Key, nsems: u32, flags: i32, values: &[u16]) -> Result<Id> {
        let limits = self.core.limits()?;
        if nsems == 0 {
            return Err(Errno::INVAL);
        }
        let class = self.core.registry.class(Mechanism::Sem);
        if class.sum.load(Relaxed).saturating_add(nsems.into()) > limits.semmns.into() {
            return Err(Errno::NOSPC);
        }
        if class.in_use.load(Relaxed) >= limits.semmni.min(MAX_OBJECTS) {
            return Err(Errno::NOSPC);
        }
        self.core.create_at_free_index::<SetView<'_>>(self, registry, |id| {
            self.create_at(registry, id, key, nsems, flags as u32 & 0o777, values)
        })
    }

    /// Removes the file that an earlier set left at a free index. Returns `false` if another user
    /// owns the file, or if the set is live.
    #[inline(never)]
    fn clear_index(&self, index: u16) -> bool {
        if is_live_at::<SetView<'_>>(self, index) {
            return false;
        }
        if let Ok(Some(old)) = self.writable_at(index)
            && old.writable()
        {
            old.header().retire();
        }
        matches!(fs::unlink(self.path(index).c_str()), Ok(()) | Err(rustix::io::Errno::NOENT))
    }

    /// Creates the set `id` in an index that is free. The caller holds the registry's lock.
    #[inline(never)]
    fn create_at(&self, registry: &RegistryGuard<'_>, id: Id, key: Key, nsems: u32, mode: u32, values: &[u16]) -> Result<()> {
        let index = id.index();
        let path = self.path(index);
        // The file appears under its name as zeroes, which are no valid set. `map_new` makes it a
        // set in the state `Making`, which no call accepts. If the creator dies before the state is
        // `Live`, `repair` removes the file.
        let fd = match file::create(path.c_str()) {
            Err(Errno::EXIST) if self.clear_index(index) => file::create(path.c_str()),
            other => other,
        }
        .map_err(no_memory)?;
        let created = self.reserve_file(&fd, nsems, mode).and_then(|()| self.map_new(index, &fd, nsems)).and_then(|set| {
            let header = set.header();
            let (uid, gid) = (credentials::euid(), credentials::egid());
            set.set_head(id, ObjectState::Making);
            header.cuid.store(uid, Relaxed);
            header.cgid.store(gid, Relaxed);
            header.creator.store(registry.me.to_word(), Relaxed);
            header.set_permissions(StoredPermissions { uid, gid, mode, ctime: clock::now() });
            header.key.store(key.raw() as u32, Relaxed);
            if !values.is_empty() {
                store_values(&set, values);
            }
            if !key.is_private() {
                self.core.link_key(registry, Mechanism::Sem, key, id)?;
            }
            // All that a caller can see of the set is stored above. From this store on, the set
            // exists.
            set.set_head(id, ObjectState::Live);
            Ok(())
        });
        if let Err(e) = created {
            if let Ok(Some(set)) = self.at(id.index()) {
                set.header().retire();
            }
            let _ = fs::unlink(path.c_str());
            return Err(e);
        }
        self.core.registry.class(Mechanism::Sem).count(nsems.into());
        Ok(())
    }

    /// Sets the permissions of a new file, and allocates its space on the file system.
    fn reserve_file(&self, fd: &Fd, nsems: u32, mode: u32) -> Result<()> {
        let bytes = SetMemory::bytes(nsems);
        file::fits_file_limit(bytes)?;
        fs::fchmod(fd, Mode::from_raw_mode(self.file_mode(mode)))?;
        file::reserve(fd, bytes).map_err(no_memory)
    }

    /// Returns the mode of a set's file. Users with alter permission can write the file; all other
    /// users can read it.
    pub fn file_mode(&self, mode: u32) -> u32 {
        match self.core.kind() {
            Kind::Private => 0o600,
            Kind::Shared => 0o644 | mode & 0o022,
        }
    }
}

/// Stores the initial values of a set that is being created.
fn store_values(set: &SetView<'_>, values: &[u16]) {
    for (num, value) in (0..).zip(values).filter(|(_, value)| **value != 0) {
        if let Some(word) = set.memory().word(num) {
            word.store(Word::default().with_value(*value).with_pid(ids::pid()).0, Relaxed);
        }
    }
    set.stamp();
}
