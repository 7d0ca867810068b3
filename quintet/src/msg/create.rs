//! `msgget`: finds a queue, or creates one.

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
    /// `msgget`. The checks have the kernel's order.
    pub fn msgget(&self, key: Key, flags: i32) -> Result<Id> {
        self.msgget_with(key, flags, None)
    }

    /// `msgget` for a queue with a capacity of `capacity` bytes.
    ///
    /// A new queue has this capacity from its first instant. `EPERM` means that it exceeds `msgmnb`
    /// and the caller is not privileged.
    pub fn msgget_with(&self, key: Key, flags: i32, capacity: Option<u64>) -> Result<Id> {
        let make = |registry: &RegistryGuard<'_>| self.create(registry, key, flags as u32 & 0o777, capacity);
        self.core.find_or_create::<QueueView<'_>>(self, key, flags, |_| Ok(()), make)
    }

    /// Creates a queue at a free index, within the limits.
    fn create(&self, registry: &RegistryGuard<'_>, key: Key, mode: u32, capacity: Option<u64>) -> Result<Id> {
        let limits = self.core.limits()?;
        let capacity = capacity.unwrap_or(limits.msgmnb.into());
        self.check_capacity(capacity)?;
        if self.core.registry.class(Mechanism::Msg).in_use.load(Relaxed) >= limits.msgmni.min(MAX_OBJECTS) {
            return Err(Errno::NOSPC);
        }
        self.core.create_at_free_index::<QueueView<'_>>(self, registry, |id| self.create_at(registry, id, key, mode, capacity))
    }

    /// Removes the files that an earlier queue left at a free index. Returns `false` if another
    /// user owns one of them.
    fn clear_index(&self, index: u16) -> bool {
        if let Ok(Some(old)) = self.at(index)
            && old.writable()
        {
            old.header().retire();
        }
        self.unlink_files(index)
    }

    /// Removes the files of a queue. Returns `false` if another user owns one of them.
    #[inline(never)]
    pub fn unlink_files(&self, index: u16) -> bool {
        let unlink = |path: PathBuffer| matches!(fs::unlink(path.c_str()), Ok(()) | Err(rustix::io::Errno::NOENT));
        let pages = self.core.kind() == Kind::Private || unlink(self.pages_path(index));
        unlink(self.path(index)) && pages
    }

    /// Creates the queue `id` in an index that is free. The caller holds the registry's lock.
    #[inline(never)]
    fn create_at(&self, registry: &RegistryGuard<'_>, id: Id, key: Key, mode: u32, capacity: u64) -> Result<()> {
        let index = id.index();
        let create = || -> Result<(Fd, Option<Fd>)> {
            // The files appear under their names as zeroes, which are no valid queue. `map_new`
            // makes them a queue in the state `Making`, which no call accepts. If the creator dies
            // before the state is `Live`, `repair` removes the files.
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
            header.creator.store(registry.me.to_word(), Relaxed);
            header.set_permissions(StoredPermissions { uid, gid, mode, ctime: clock::now() });
            header.key.store(key.raw() as u32, Relaxed);
            if !key.is_private() {
                self.core.link_key(registry, Mechanism::Msg, key, id)?;
            }
            // All that a caller can see of the queue is stored above. From this store on, the queue
            // exists.
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

    /// Sets the permissions of new files, and allocates their space on the file system.
    fn reserve_files(&self, header: &Fd, pages: Option<&Fd>, mode: u32) -> Result<()> {
        let bytes = u64::from(FIRST_PAGES) * PAGE;
        file::fits_file_limit(bytes)?;
        fs::fchmod(header, Mode::from_raw_mode(self.file_mode(mode)))?;
        file::reserve(header, if pages.is_none() { bytes } else { PAGE })?;
        let Some(pages) = pages else { return Ok(()) };
        fs::fchmod(pages, Mode::from_raw_mode(self.pages_mode(mode)))?;
        file::reserve(pages, bytes)
    }

    /// Returns the mode of a queue's file. Users with read or write permission for the queue can
    /// write the file; all other users can read it.
    pub fn file_mode(&self, mode: u32) -> u32 {
        match self.core.kind() {
            Kind::Private => 0o600,
            Kind::Shared => 0o644 | any_permission(mode) & 0o022,
        }
    }

    /// Returns the mode of the file of the pages. Only users with read or write permission for the
    /// queue can open it.
    pub fn pages_mode(&self, mode: u32) -> u32 {
        0o600 | any_permission(mode) & 0o066
    }
}

/// Returns a mode in which each class of users has both permissions if it has at least one of them
/// in `mode`. A process that only sends, or only receives, also changes the words that both need.
fn any_permission(mode: u32) -> u32 {
    let any = (mode >> 1 | mode) & 0o222;
    any | any << 1
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_permission_makes_a_user_of_the_queue() {
        for (mode, users) in [(0o000, 0), (0o640, 0o660), (0o602, 0o606), (0o664, 0o666), (0o610, 0o600)] {
            assert_eq!(super::any_permission(mode) & 0o066, users & 0o066, "{mode:o}");
        }
    }
}
