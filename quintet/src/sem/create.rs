//! `semget`: finding a set, or making one.

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

    /// `semget`, in the order in which the kernel checks. If there are `values`, one for each semaphore, a new set has them from its first instant,
    /// and a time of the last operation, as if one had given it them; else they are 0.
    pub fn semget_with(&self, key: Key, nsems: i32, flags: i32, values: &[u16]) -> Result<Id> {
        let limits = self.core.limits()?;
        let nsems = u32::try_from(nsems).ok().filter(|nsems| *nsems <= limits.semmsl).ok_or(Errno::INVAL)?;
        let suits = |set: &SetView<'_>| if nsems > set.nsems() { Err(Errno::INVAL) } else { Ok(()) };
        self.core.find_or_create(self, key, flags, suits, |held| self.create(held, key, nsems, flags, values))
    }

    fn create(&self, held: &RegistryGuard<'_>, key: Key, nsems: u32, flags: i32, values: &[u16]) -> Result<Id> {
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
        self.core.create_at_free_index::<SetView<'_>>(self, held, |id| {
            self.create_at(held, id, key, nsems, flags as u32 & 0o777, values)
        })
    }

    /// Takes away what an earlier set has left at a free index. `false`: it is another user's, or a set that is there all the same.
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

    #[inline(never)]
    fn create_at(&self, held: &RegistryGuard<'_>, id: Id, key: Key, nsems: u32, mode: u32, values: &[u16]) -> Result<()> {
        let index = id.index();
        let path = self.path(index);
        // Under its name it is no set yet, but nothing; then one that is being made.
        let fd = match file::create(path.c_str()) {
            Err(Errno::EXIST) if self.clear_index(index) => file::create(path.c_str()),
            other => other,
        }
        .map_err(no_memory)?;
        let made = self.reserve_file(&fd, nsems, mode).and_then(|()| self.map_new(index, &fd, nsems)).and_then(|set| {
            let header = set.header();
            let (uid, gid) = (credentials::euid(), credentials::egid());
            set.set_head(id, ObjectState::Making);
            header.cuid.store(uid, Relaxed);
            header.cgid.store(gid, Relaxed);
            header.creator.store(held.me.to_word(), Relaxed);
            header.set_permissions(StoredPermissions { uid, gid, mode, ctime: clock::now() });
            header.key.store(key.raw() as u32, Relaxed);
            if !values.is_empty() {
                give(&set, values);
            }
            if !key.is_private() {
                self.core.link_key(held, Mechanism::Sem, key, id)?;
            }
            set.set_head(id, ObjectState::Live);
            Ok(())
        });
        if let Err(e) = made {
            if let Ok(Some(set)) = self.at(id.index()) {
                set.header().retire();
            }
            let _ = fs::unlink(path.c_str());
            return Err(e);
        }
        self.core.registry.class(Mechanism::Sem).count(nsems.into());
        Ok(())
    }

    /// Gives a new file its rights, and its place on the file system.
    fn reserve_file(&self, fd: &Fd, nsems: u32, mode: u32) -> Result<()> {
        let bytes = SetMemory::bytes(nsems);
        file::fits_file_limit(bytes)?;
        fs::fchmod(fd, Mode::from_raw_mode(self.file_mode(mode)))?;
        file::reserve(fd, bytes).map_err(no_memory)
    }

    /// The mode of a set's file: whoever may alter the set writes it; all others may look at it.
    pub fn file_mode(&self, mode: u32) -> u32 {
        match self.core.kind() {
            Kind::Private => 0o600,
            Kind::Shared => 0o644 | mode & 0o022,
        }
    }
}

/// Gives a set that is being made its values.
fn give(set: &SetView<'_>, values: &[u16]) {
    for (num, value) in (0..).zip(values).filter(|(_, value)| **value != 0) {
        if let Some(word) = set.memory().word(num) {
            word.store(Word::default().with_value(*value).with_pid(ids::pid()).0, Relaxed);
        }
    }
    set.stamp();
}
