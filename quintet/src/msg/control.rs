//! `msgctl`: what a queue is, rights, removal, what the dead leave.

use crate::layout::{Mechanism, QueueState, Rights};
use crate::msg::mapping::QueueView;
use crate::msg::waiters::{ANEW, Side};
use crate::object::core::Engine;
use crate::object::permissions;
use crate::object::registry::{CreatedInOneStep, Held};
use crate::process::fork::Inside;
use crate::sys;
use crate::sys::credentials::capable;
use crate::sys::file;
use crate::sys::file::Acl;
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::kind::Kind;
use crate::types::msg::QueueStat;
use crate::types::permissions::Permissions;
use rustix::thread::CapabilitySet;
use std::sync::atomic::Ordering::*;

type Result<T> = std::result::Result<T, Errno>;

impl Engine {
    /// `IPC_STAT`.
    pub fn msg_stat(&self, id: i32) -> Result<QueueStat> {
        let queue = self.live_queue(id)?;
        if !queue.may(false) {
            return self.denied_queue(id, Errno::ACCES);
        }
        Ok(queue.stat(Id::from_raw(id)?))
    }

    /// `MSG_STAT`, `MSG_STAT_ANY`: of the index the kernel uses the low bits, too.
    pub fn msg_stat_index(&self, index: i32, any: bool) -> Result<QueueStat> {
        let index = Id::from_raw(index)?.index();
        let queue = self.queue(index)?.filter(QueueView::is_live).ok_or(Errno::INVAL)?;
        let (id, _) = queue.head();
        if !any && !queue.permits(permissions::READ) {
            return self.denied_queue(id.raw(), Errno::ACCES);
        }
        if queue.is_live_as(id) { Ok(queue.stat(id)) } else { Err(Errno::INVAL) }
    }

    /// What a call is told that has no right to a queue: one that has gone meanwhile has no rights.
    #[cold]
    pub fn denied_queue<T>(&self, id: i32, e: Errno) -> Result<T> {
        self.live_queue(id).and(Err(e))
    }

    /// The queue of an identifier, for what only owner, creator and the privileged may do.
    fn controllable_queue(&self, id: i32) -> Result<QueueView<'_>> {
        let queue = self.live_queue(id)?;
        if permissions::may_control(&queue.permissions().0)
            && let Some(queue) = self.mapped_queue(queue.index())?.filter(QueueView::is_whole)
        {
            return Ok(queue);
        }
        self.denied_queue(id, Errno::PERM)
    }

    /// More than `msgmnb` only the privileged may give a queue.
    pub fn check_capacity(&self, capacity: u64) -> Result<()> {
        let within = capacity <= self.header.msgmnb.load(Relaxed).into();
        if within || capable(CapabilitySet::SYS_RESOURCE) { Ok(()) } else { Err(Errno::PERM) }
    }

    /// `IPC_SET`.
    pub fn msg_set(&self, id: i32, uid: u32, gid: u32, mode: u32, capacity: u64) -> Result<()> {
        let _inside = Inside::enter();
        let queue = self.controllable_queue(id)?;
        self.check_capacity(capacity)?;
        if uid == u32::MAX || gid == u32::MAX {
            return Err(Errno::INVAL);
        }
        let _held = self.lock()?;
        let guard = self.lock_queue(queue)?;
        if !guard.queue.is_live_as(Id::from_raw(id)?) {
            return Err(Errno::INVAL);
        }
        let (perm, old) = queue.permissions();
        let new = Rights { uid, gid, mode: mode & 0o777, ctime: sys::now() };
        let same = (old.uid, old.gid, old.mode) == (new.uid, new.gid, new.mode);
        if !same && self.kind() == Kind::Shared {
            let wanted = Permissions { uid, gid, mode: new.mode, ..perm };
            self.set_queue_rights(queue.index(), &wanted).map_err(|e| {
                // One of the files may have changed already.
                let _ = self.set_queue_rights(queue.index(), &perm);
                file::not_permitted(e)
            })?;
        }
        let version = queue.rights_version();
        queue.header().set_rights(new);
        queue.header().capacity.store(capacity, Relaxed);
        if same {
            // Nobody who waits need be asked anew.
            guard.judge_by(version, queue.rights_version());
        } else {
            guard.answer_all(Side::Receivers, ANEW)?;
        }
        guard.admit_senders()
    }

    /// The file system's rights are what keeps a process from the messages: they follow the queue's.
    fn set_queue_rights(&self, index: u16, perm: &Permissions) -> Result<()> {
        let further = |id: u32, first: u32| (id != first).then_some(id);
        let acl = |mode| Acl { mode, user: further(perm.uid, perm.cuid), group: further(perm.gid, perm.cgid) };
        file::set_rights(self.pages_path(index).c_str(), acl(self.pages_mode(perm.mode)))?;
        file::set_rights(self.queue_path(index).c_str(), acl(self.queue_mode(perm.mode)))
    }

    /// `IPC_RMID`.
    pub fn msg_remove(&self, id: i32) -> Result<()> {
        let _inside = Inside::enter();
        let queue = self.controllable_queue(id)?;
        let id = Id::from_raw(id)?;
        let held = self.lock()?;
        if !queue.is_live_as(id) {
            return Err(Errno::INVAL);
        }
        self.end_queue(&held, queue, id);
        Ok(())
    }

    /// Ends a queue, or what a dead remover has left of one.
    fn end_queue(&self, held: &Held<'_>, queue: QueueView<'_>, id: Id) {
        if let Ok(guard) = self.lock_queue(queue) {
            queue.set_head(id, QueueState::Gone);
            for side in [Side::Receivers, Side::Senders] {
                let _ = guard.answer_all(side, Errno::IDRM);
            }
        }
        let key = queue.key();
        self.unlink_key(held, Mechanism::Msg, key, id);
        queue.header().key.store(Key::PRIVATE.raw() as u32, Relaxed);
        queue.header().retire();
        self.unlink_queue(queue.index());
        self.registry.class(Mechanism::Msg).discount(0);
        self.mark_used(held, Mechanism::Msg, queue.index(), false);
    }

    /// The same, unless somebody who lives holds its lock for long.
    fn end_queue_soon(&self, held: &Held<'_>, queue: QueueView<'_>, id: Id) {
        if !matches!(self.lock_queue_soon(queue), Err(Errno::AGAIN)) {
            self.end_queue(held, queue, id);
        }
    }

    /// The registry's lock was a dead one's: what it had half made or half removed is ended, and the queues are counted anew.
    pub fn repair_queues(&self, held: &Held<'_>) {
        let mut in_use = 0;
        for index in self.used_indexes(Mechanism::Msg) {
            let queue = match self.mapped_queue(index) {
                Ok(Some(queue)) => queue,
                Ok(None) => {
                    self.unlink_queue(index);
                    self.mark_used(held, Mechanism::Msg, index, false);
                    continue;
                }
                Err(_) => continue,
            };
            let (id, state) = queue.head();
            if state != QueueState::Live && queue.writable() {
                self.end_queue_soon(held, queue, id);
                continue;
            }
            if queue.is_whole() && self.kind() == Kind::Shared {
                // A dead `IPC_SET` may have changed the files' rights and not the queue's. Only the owner can, and can change them back.
                let _ = self.set_queue_rights(index, &queue.permissions().0);
            }
            in_use += 1;
        }
        self.registry.class(Mechanism::Msg).in_use.store(in_use, Relaxed);
    }

    /// Forgets the calls of the dead, and what they were sending or receiving.
    pub fn sweep_queues(&self, held: &Held<'_>) {
        for index in self.used_indexes(Mechanism::Msg) {
            let Ok(Some(queue)) = self.mapped_queue(index) else { continue };
            let (id, state) = queue.head();
            if state != QueueState::Live {
                if queue.writable() {
                    // Nobody is at it while the lock is held.
                    self.end_queue_soon(held, queue, id);
                }
                continue;
            }
            let header = queue.header();
            let idle = [&header.lock, &header.waiting, &header.busy].iter().all(|word| word.load(Relaxed) == 0);
            if queue.is_whole()
                && !idle
                && let Ok(guard) = self.lock_queue_soon(queue)
            {
                guard.bury();
            }
        }
    }
}
