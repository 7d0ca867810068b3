//! `shmctl` except `IPC_RMID`: state, permissions and locking.

use crate::layout::StoredPermissions;
use crate::object::permissions::READ;
use crate::process::fork::Inside;
use crate::shm::mapping::{PAGE, SegmentView, Segments};
use crate::sys::credentials::{self, capable};
use crate::sys::file::{self, Acl};
use crate::sys::{clock, memory};
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::kind::Kind;
use crate::types::permissions::Permissions;
use crate::types::shm::SegmentStat;
use rustix::process::{Resource, getrlimit};
use rustix::thread::CapabilitySet;
use std::sync::atomic::Ordering::*;

type Result<T> = std::result::Result<T, Errno>;

impl Segments {
    /// `IPC_STAT`.
    pub fn shm_stat(&self, id: i32) -> Result<SegmentStat> {
        let id = Id::from_raw(id)?;
        let view = if self.core.rmid_forced() { self.live_after_reap(id)? } else { self.live(id)? };
        if !view.permits(READ) {
            // The segment may have been destroyed with its last attachment.
            return self.live_after_reap(id).and(Err(Errno::ACCES));
        }
        self.checked_stat(&view, id)
    }

    /// `SHM_STAT` and, with `any`, `SHM_STAT_ANY`. As in the kernel, only the low bits of `index`
    /// count.
    pub fn shm_stat_index(&self, index: i32, any: bool) -> Result<SegmentStat> {
        let index = Id::from_raw(index)?.index();
        let view = self.at(index)?.ok_or(Errno::INVAL)?;
        let head = view.head();
        if !head.is_live() {
            return Err(Errno::INVAL);
        }
        if !any && !view.permits(READ) {
            return self.live_after_reap(head.id).and(Err(Errno::ACCES));
        }
        self.checked_stat(&view, head.id)
    }

    fn checked_stat(&self, view: &SegmentView, id: Id) -> Result<SegmentStat> {
        let probe = self.core.participants.probe(Some(view));
        let nattch = view.attach_count().attached(self.core.participants.me_if_joined(), &probe);
        if nattch == 0 && (view.head().is_dest() || self.core.rmid_forced()) {
            // The last attached participants may have exited.
            self.destroy_if_unused_with(view, probe.reaped.get(), &probe);
        }
        let head = view.head();
        if nattch == 0 && head.is_dest() {
            // The segment is destroyed. A process with the permission must still clear it.
            return Err(Errno::INVAL);
        }
        let mut stat = view.stat(head, nattch);
        if let Some(pid) = probe.unstamped.get() {
            stat.dtime = clock::now();
            stat.lpid = if pid != 0 { pid as i32 } else { stat.lpid };
        }
        // The values belong to this segment only if the identifier did not change meanwhile.
        if head.id == id && head.is_live() && view.head().id == id { Ok(stat) } else { Err(Errno::INVAL) }
    }

    /// `IPC_SET`.
    pub fn shm_set(&self, id: i32, uid: u32, gid: u32, mode: u32) -> Result<()> {
        let id = Id::from_raw(id)?;
        let _inside = Inside::enter();
        let view = self.controllable(id)?;
        if uid == u32::MAX || gid == u32::MAX {
            return Err(Errno::INVAL);
        }
        let _held = self.core.lock()?;
        let head = view.head();
        if head.id != id || !head.is_live() {
            return Err(Errno::INVAL);
        }
        let (perm, old) = view.permissions();
        let new = StoredPermissions { uid, gid, mode: mode & 0o777, ctime: clock::now() };
        if (old.uid, old.gid, old.mode) != (new.uid, new.gid, new.mode) {
            let requested = Permissions { uid, gid, mode: new.mode, ..perm };
            self.set_file_permissions(id.index(), &requested).map_err(|e| {
                // One of the two files may have changed already.
                let _ = self.set_file_permissions(id.index(), &perm);
                file::not_permitted(e)
            })?;
        }
        view.set_permissions(new);
        Ok(())
    }

    /// Sets the file permissions of both files to those of the segment.
    ///
    /// The file system enforces access to the bytes, so the files must follow the segment. If a
    /// process exits between the two files, `repair` finishes the change.
    pub fn set_file_permissions(&self, index: u16, perm: &Permissions) -> Result<()> {
        let extra = |id: u32, first: u32| (self.core.kind() == Kind::Shared && id != first).then_some(id);
        let acl = Acl { mode: perm.mode, user: extra(perm.uid, perm.cuid), group: extra(perm.gid, perm.cgid) };
        if self.core.kind() == Kind::Shared {
            let mode = self.file_mode(acl.mode);
            file::set_acl(self.path(index).c_str(), Acl { mode, ..acl })?;
        }
        file::set_acl(self.data_path(index).c_str(), acl)
    }

    /// `SHM_LOCK`, `SHM_UNLOCK`.
    pub fn shm_lock(&self, id: i32, locked: bool) -> Result<()> {
        let id = Id::from_raw(id)?;
        let _inside = Inside::enter();
        self.live_after_reap(id)?;
        let view = self.writable_at(id.index())?.ok_or(Errno::INVAL)?;
        if !capable(CapabilitySet::IPC_LOCK) {
            let euid = credentials::euid();
            let (perm, _) = view.permissions();
            let limit = getrlimit(Resource::Memlock).current;
            if euid != perm.cuid && euid != perm.uid || locked && limit == Some(0) {
                return Err(Errno::PERM);
            }
            let bytes = view.pages() * PAGE;
            if locked && limit.is_some_and(|limit| bytes > limit) {
                return Err(Errno::NOMEM);
            }
        }
        if !view.writable {
            return Err(Errno::PERM);
        }
        view.locked.store(u32::from(locked), Relaxed);
        self.attachments.for_each(|mapped| {
            if mapped.id == id && locked {
                memory::lock_on_touch(mapped.address, mapped.len);
            } else if mapped.id == id {
                memory::unlock(mapped.address, mapped.len);
            }
        });
        Ok(())
    }
}
