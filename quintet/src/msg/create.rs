//! `msgget`: finding a queue, or making one.

use crate::layout::{ObjectState, StoredPermissions};
use crate::msg::mapping::{FIRST_PAGES, QueueView, Queues};
use crate::object::create::is_live_at;
use crate::object::keys::no_memory;
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::object::registry::RegistryGuard;
use crate::sys::fd::Fd;
use crate::sys::path_buffer::PathBuffer;
use crate::sys::{clock, credentials, file};
use crate::types::error::Errno;
use crate::types::id::{Id, MAX_OBJECTS};
use crate::types::key::Key;
use crate::types::kind::Kind;
use crate::types::mechanism::Mechanism;
use rustix::fs::{self, Mode};
use std::sync::atomic::Ordering::*;

type Result<T> = std::result::Result<T, Errno>;

const PAGE: u64 = 4096;

impl Queues {
    /// `msgget`, in the order in which the kernel checks.
    pub fn msgget(&self, key: Key, flags: i32) -> Result<Id> {
        self.msgget_with(key, flags, None)
    }

    /// The same; a new queue takes so many bytes from its first instant. `EPERM`: it is more than `msgmnb`, and the caller is not privileged.
    pub fn msgget_with(&self, key: Key, flags: i32, capacity: Option<u64>) -> Result<Id> {
        let make = |held: &RegistryGuard<'_>| self.create(held, key, flags as u32 & 0o777, capacity);
        self.core.find_or_create::<QueueView<'_>>(self, key, flags, |_| Ok(()), make)
    }

    fn create(&self, held: &RegistryGuard<'_>, key: Key, mode: u32, capacity: Option<u64>) -> Result<Id> {
        let limits = self.core.limits()?;
        let capacity = capacity.unwrap_or(limits.msgmnb.into());
        self.check_capacity(capacity)?;
        if self.core.registry.class(Mechanism::Msg).in_use.load(Relaxed) >= limits.msgmni.min(MAX_OBJECTS) {
            return Err(Errno::NOSPC);
        }
        self.core.create_at_free_index::<QueueView<'_>>(self, held, |id| self.create_at(held, id, key, mode, capacity))
    }

    /// Takes away what an earlier queue has left at a free index. `false`: it is another user's.
    fn clear_index(&self, index: u16) -> bool {
        if let Ok(Some(old)) = self.at(index)
            && old.writable()
        {
            old.header().retire();
        }
        self.unlink_files(index)
    }

    /// `false`: a file of it is another user's to remove.
    #[inline(never)]
    pub fn unlink_files(&self, index: u16) -> bool {
        let unlink = |path: PathBuffer| matches!(fs::unlink(path.c_str()), Ok(()) | Err(rustix::io::Errno::NOENT));
        let pages = self.core.kind() == Kind::Private || unlink(self.pages_path(index));
        unlink(self.path(index)) && pages
    }

    #[inline(never)]
    fn create_at(&self, held: &RegistryGuard<'_>, id: Id, key: Key, mode: u32, capacity: u64) -> Result<()> {
        let index = id.index();
        let create = || -> Result<(Fd, Option<Fd>)> {
            // Under its name it is no queue yet, but nothing; then one that is being made.
            let header = file::create(self.path(index).c_str())?;
            let pages = match self.core.kind() {
                Kind::Private => None,
                Kind::Shared => Some(file::create(self.pages_path(index).c_str())?),
            };
            Ok((header, pages))
        };
        let created = match create() {
            Err(Errno::EXIST) if !is_live_at::<QueueView<'_>>(self, index) && self.clear_index(index) => create(),
            other => other,
        };
        let made = created.and_then(|(header, pages)| {
            self.reserve_files(&header, pages.as_ref(), mode)?;
            let queue = self.map_new(index, &header, pages.as_ref())?;
            let header = queue.header();
            let (uid, gid) = (credentials::euid(), credentials::egid());
            queue.set_head(id, ObjectState::Making);
            header.pages.store(FIRST_PAGES, Relaxed);
            header.capacity.store(capacity, Relaxed);
            header.cuid.store(uid, Relaxed);
            header.cgid.store(gid, Relaxed);
            header.creator.store(held.me.to_word(), Relaxed);
            header.set_permissions(StoredPermissions { uid, gid, mode, ctime: clock::now() });
            header.key.store(key.raw() as u32, Relaxed);
            if !key.is_private() {
                self.core.link_key(held, Mechanism::Msg, key, id)?;
            }
            queue.set_head(id, ObjectState::Live);
            Ok(())
        });
        match made {
            Ok(()) => self.core.registry.class(Mechanism::Msg).count(0),
            Err(Errno::EXIST) => return Err(Errno::EXIST),
            Err(e) => {
                self.clear_index(index);
                return Err(no_memory(e));
            }
        }
        Ok(())
    }

    /// Gives new files their rights, and their place on the file system.
    fn reserve_files(&self, header: &Fd, pages: Option<&Fd>, mode: u32) -> Result<()> {
        let bytes = u64::from(FIRST_PAGES) * PAGE;
        file::fits_file_limit(bytes)?;
        fs::fchmod(header, Mode::from_raw_mode(self.file_mode(mode)))?;
        file::reserve(header, if pages.is_none() { bytes } else { PAGE })?;
        let Some(pages) = pages else { return Ok(()) };
        fs::fchmod(pages, Mode::from_raw_mode(self.pages_mode(mode)))?;
        file::reserve(pages, bytes)
    }

    /// The mode of a queue's file: whoever may read or write the queue writes it; all others may look at it.
    pub fn file_mode(&self, mode: u32) -> u32 {
        match self.core.kind() {
            Kind::Private => 0o600,
            Kind::Shared => 0o644 | users_of(mode) & 0o022,
        }
    }

    /// The mode of the file of its pages: nobody else may look at the messages.
    pub fn pages_mode(&self, mode: u32) -> u32 {
        0o600 | users_of(mode) & 0o066
    }
}

/// All bits of whoever has one of them: also who only sends, or only receives, changes what both need.
fn users_of(mode: u32) -> u32 {
    let any = (mode >> 1 | mode) & 0o222;
    any | any << 1
}

#[cfg(test)]
mod tests {
    #[test]
    fn who_may_do_anything_is_a_user_of_the_queue() {
        for (mode, users) in [(0o000, 0), (0o640, 0o660), (0o602, 0o606), (0o664, 0o666), (0o610, 0o600)] {
            assert_eq!(super::users_of(mode) & 0o066, users & 0o066, "{mode:o}");
        }
    }
}
