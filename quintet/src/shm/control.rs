//! `shmctl` but for removal: state, rights, locking; and the lists.

use crate::layout::{Mechanism, Rights};
use crate::object::core::Engine;
use crate::object::permissions::READ;
use crate::process::fork::Inside;
use crate::shm::create::PAGE;
use crate::shm::mapping::SegmentView;
use crate::shm::remove::creator;
use crate::sync::attach_count::{Liveness, State};
use crate::sys;
use crate::sys::credentials;
use crate::sys::credentials::capable;
use crate::sys::file;
use crate::sys::file::Acl;
use crate::sys::memory;
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::kind::Kind;
use crate::types::permissions::Permissions;
use crate::types::shm::Usage;
use crate::types::shm::{SegmentStat, SegmentStatus};
use rustix::process::{Resource, getrlimit};
use rustix::thread::CapabilitySet;
use std::sync::atomic::Ordering::*;

type Result<T> = std::result::Result<T, Errno>;

impl Engine {
    /// `IPC_STAT`.
    pub fn shm_stat(&self, id: i32) -> Result<SegmentStat> {
        let id = Id::from_raw(id)?;
        let view = if self.forced() { self.settled(id)? } else { self.live(id)? };
        if !view.permits(READ) {
            // Unless it has gone with its last user.
            return self.settled(id).and(Err(Errno::ACCES));
        }
        self.state_of(&view, id)
    }

    /// `SHM_STAT`, `SHM_STAT_ANY`: of the index the kernel uses the low bits, too.
    pub fn shm_stat_index(&self, index: i32, any: bool) -> Result<SegmentStat> {
        let index = Id::from_raw(index)?.index();
        let view = self.control(index)?.ok_or(Errno::INVAL)?;
        let head = view.head();
        if !head.is_live() {
            return Err(Errno::INVAL);
        }
        if !any && !view.permits(READ) {
            return self.settled(head.id).and(Err(Errno::ACCES));
        }
        self.state_of(&view, head.id)
    }

    fn state_of(&self, view: &SegmentView, id: Id) -> Result<SegmentStat> {
        let living = self.living(Some(view));
        let nattch = view.attach_count().attached(self.me_if_joined(), &living);
        if nattch == 0 && (view.head().is_dest() || self.forced()) {
            // Perhaps the last ones died.
            self.destroy_if_unused_with(view, living.reaped.get(), &living);
        }
        let head = view.head();
        if nattch == 0 && head.is_dest() {
            // It has gone, and only waits for somebody who may clear it.
            return Err(Errno::INVAL);
        }
        let mut stat = view.stat(head, nattch);
        if let Some(pid) = living.unstamped.get() {
            stat.dtime = sys::now();
            stat.lpid = if pid != 0 { pid as i32 } else { stat.lpid };
        }
        // What was read is this object's only if it still is.
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
        let _held = self.lock()?;
        let head = view.head();
        if head.id != id || !head.is_live() {
            return Err(Errno::INVAL);
        }
        let (perm, old) = view.permissions();
        let new = Rights { uid, gid, mode: mode & 0o777, ctime: sys::now() };
        if (old.uid, old.gid, old.mode) != (new.uid, new.gid, new.mode) {
            let wanted = Permissions { uid, gid, mode: new.mode, ..perm };
            self.set_file_rights(id.index(), &wanted).map_err(|e| {
                // One of the files may have changed already.
                let _ = self.set_file_rights(id.index(), &perm);
                file::not_permitted(e)
            })?;
        }
        view.set_rights(new);
        Ok(())
    }

    /// The file system's rights are what keeps a process from the bytes: they follow the segment's. What an
    /// interrupted change leaves, `repair` sets right.
    pub fn set_file_rights(&self, index: u16, perm: &Permissions) -> Result<()> {
        let further = |id: u32, first: u32| (self.kind() == Kind::Shared && id != first).then_some(id);
        let acl = Acl { mode: perm.mode, user: further(perm.uid, perm.cuid), group: further(perm.gid, perm.cgid) };
        if self.kind() == Kind::Shared {
            let mode = self.control_mode(acl.mode);
            file::set_rights(self.control_path(index).c_str(), Acl { mode, ..acl })?;
        }
        file::set_rights(self.data_path(index).c_str(), acl)
    }

    /// `SHM_LOCK`, `SHM_UNLOCK`.
    pub fn shm_lock(&self, id: i32, locked: bool) -> Result<()> {
        let id = Id::from_raw(id)?;
        let _inside = Inside::enter();
        self.settled(id)?;
        let view = self.writable_control(id.index())?.ok_or(Errno::INVAL)?;
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
        self.attachments.each(|mapped| {
            if mapped.id == id && locked {
                memory::lock_on_touch(mapped.address, mapped.len);
            } else if mapped.id == id {
                memory::unlock(mapped.address, mapped.len);
            }
        });
        Ok(())
    }

    /// `SHM_INFO`.
    pub fn shm_usage(&self) -> Result<Usage> {
        let _inside = Inside::enter();
        for index in self.used_indexes(Mechanism::Shm) {
            // A removed segment whose last user has died is not there any more.
            if let Ok(Some(view)) = self.control(index)
                && let head = view.head()
                && (head.is_dest() || head.state == State::Gone || self.forced())
                && self.settled(head.id).is_err()
            {
                self.destroy_if_unused(&view, false);
            }
        }
        let class = self.registry.class(Mechanism::Shm);
        let resident: u64 = self.used_indexes(Mechanism::Shm).map(|index| self.resident(index)).sum();
        Ok(Usage {
            segments: class.in_use.load(Relaxed),
            pages: class.sum.load(Relaxed),
            resident: resident / PAGE,
            swapped: 0,
            max_index: self.max_index(Mechanism::Shm),
        })
    }

    /// The bytes that a data file holds.
    pub fn resident(&self, index: u16) -> u64 {
        rustix::fs::stat(self.data_path(index).c_str()).map_or(0, |stat| stat.st_blocks as u64 * 512)
    }

    /// All segments, with those who are attached.
    pub fn segments(&self) -> Result<Vec<SegmentStatus>> {
        let _inside = Inside::enter();
        let mut all = Vec::new();
        for index in self.used_indexes(Mechanism::Shm) {
            let Ok(stat) = self.shm_stat_index(index.into(), true) else { continue };
            let Ok(Some(view)) = self.control(index) else { continue };
            let orphan = stat.nattch == 0 && !self.living(None).alive(creator(&view));
            all.push(SegmentStatus { stat, attached: self.attachers(&view), orphan, resident: self.resident(index) });
        }
        Ok(all)
    }
}
