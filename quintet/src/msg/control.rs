//! `msgctl` except for `IPC_RMID`.

use crate::layout::StoredPermissions;
use crate::msg::mapping::{QueueView, Queues};
use crate::msg::waiters::{RETRY, Side};
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::object::permissions;
use crate::process::acquire::Patience;
use crate::process::fork::Inside;
use crate::sys::clock;
use crate::sys::credentials::capable;
use crate::sys::file::{self, Acl};
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::kind::Kind;
use crate::types::msg::QueueStat;
use crate::types::permissions::Permissions;
use rustix::thread::CapabilitySet;
use std::sync::atomic::Ordering::*;

type Result<T> = std::result::Result<T, Errno>;

impl Queues {
    /// `IPC_STAT`.
    pub fn msg_stat(&self, id: i32) -> Result<QueueStat> {
        let queue = self.live(id)?;
        if !queue.may(false) {
            return self.denied(id, Errno::ACCES);
        }
        Ok(queue.stat(Id::from_raw(id)?))
    }

    /// `MSG_STAT` and, for `any`, `MSG_STAT_ANY`. Like the kernel, uses only the low bits of the
    /// index.
    pub fn msg_stat_index(&self, index: i32, any: bool) -> Result<QueueStat> {
        let index = Id::from_raw(index)?.index();
        let queue = self.at(index)?.filter(QueueView::is_live).ok_or(Errno::INVAL)?;
        let (id, _) = queue.head();
        if !any && !queue.permits(permissions::READ) {
            return self.denied(id.raw(), Errno::ACCES);
        }
        if queue.is_live_as(id) { Ok(queue.stat(id)) } else { Err(Errno::INVAL) }
    }

    /// Checks the capacity of a queue in bytes. `EPERM` means that it exceeds `msgmnb` and the
    /// caller is not privileged.
    pub fn check_capacity(&self, capacity: u64) -> Result<()> {
        let within = capacity <= self.core.header.msgmnb.load(Relaxed).into();
        if within || capable(CapabilitySet::SYS_RESOURCE) { Ok(()) } else { Err(Errno::PERM) }
    }

    /// `IPC_SET`.
    pub fn msg_set(&self, id: i32, uid: u32, gid: u32, mode: u32, capacity: u64) -> Result<()> {
        let _inside = Inside::enter();
        let queue = self.controllable(id)?;
        self.check_capacity(capacity)?;
        if uid == u32::MAX || gid == u32::MAX {
            return Err(Errno::INVAL);
        }
        let _registry = self.core.lock()?;
        let guard = self.lock(queue, Patience::Endless)?;
        if !guard.queue.is_live_as(Id::from_raw(id)?) {
            return Err(Errno::INVAL);
        }
        let (perm, old) = queue.permissions();
        let new = StoredPermissions { uid, gid, mode: mode & 0o777, ctime: clock::now() };
        let same = (old.uid, old.gid, old.mode) == (new.uid, new.gid, new.mode);
        if !same && self.core.kind() == Kind::Shared {
            let requested = Permissions { uid, gid, mode: new.mode, ..perm };
            self.set_file_permissions(queue.index(), &requested).map_err(|e| {
                // One of the files may have changed already.
                let _ = self.set_file_permissions(queue.index(), &perm);
                file::not_permitted(e)
            })?;
        }
        let version = queue.permissions_version();
        // The files change before the header. A crash in between leaves permissions that disagree;
        // `repair` sets the files back.
        queue.header().set_permissions(new);
        queue.header().capacity.store(capacity, Relaxed);
        if same {
            // The permissions say the same as before, so blocked calls stay blocked.
            guard.revalidate(version, queue.permissions_version());
        } else {
            // Each blocked receiver checks its permission again. `admit_senders` asks a sender to
            // do so by the version of the permissions.
            guard.answer_all(Side::Receivers, RETRY)?;
        }
        guard.admit_senders()
    }

    /// Gives the queue's files the permissions of the queue, because the file system guards the
    /// messages.
    pub fn set_file_permissions(&self, index: u16, perm: &Permissions) -> Result<()> {
        let further = |id: u32, first: u32| (id != first).then_some(id);
        let acl = |mode| Acl { mode, user: further(perm.uid, perm.cuid), group: further(perm.gid, perm.cgid) };
        file::set_acl(self.pages_path(index).c_str(), acl(self.pages_mode(perm.mode)))?;
        file::set_acl(self.path(index).c_str(), acl(self.file_mode(perm.mode)))
    }
}
