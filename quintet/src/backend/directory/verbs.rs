//! The verbs of a namespace in a directory. Each calls the method of the same name of its class.

use crate::backend::directory::Directory;
use crate::backend::verbs::{Backend, NamespaceVerbs, QueueVerbs, SegmentVerbs, SetVerbs};
use crate::types::error::{self, Errno};
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::kind::Kind;
use crate::types::limits::Limits;
use crate::types::mechanism::Mechanism;
use crate::types::msg::{MessageStat, MsgFlags, MsgUsage, QueueRepair, QueueStat, QueueStatus};
use crate::types::sem::{SemOp, SemUsage, SetStat, SetStatus};
use crate::types::shm::{Attacher, SegmentStat, SegmentStatus, ShmUsage};
use crate::types::whole_message::WholeMessage;
use std::ffi::c_void;
use std::path::Path;
use std::time::Duration;

type Result<T> = std::result::Result<T, Errno>;

impl Backend for &'static Directory {}

impl NamespaceVerbs for &'static Directory {
    fn path(&self) -> Option<&Path> {
        Some(Directory::path(self))
    }

    fn kind(&self) -> Kind {
        Directory::kind(self)
    }

    fn limits(&self) -> Result<Limits> {
        self.core.limits()
    }

    fn set_limits(&self, limits: &Limits) -> Result<()> {
        Directory::set_limits(self, limits)
    }

    fn next_id(&self, of: Mechanism) -> Result<Option<Id>> {
        self.core.next_id(of)
    }

    fn set_next_id(&self, of: Mechanism, id: Option<Id>) -> Result<()> {
        self.core.set_next_id(of, id)
    }

    fn sweep(&self) -> Result<()> {
        self.core.sweep()
    }

    fn participants(&self) -> Result<Vec<Attacher>> {
        self.core.participants.all()
    }

    fn destroy(&self, force: bool) -> error::Result<()> {
        Directory::destroy(self, force)
    }
}

#[allow(unsafe_code)]
impl SegmentVerbs for &'static Directory {
    fn shmget(&self, key: Key, size: u64, flags: i32) -> Result<Id> {
        self.segments.shmget(key, size, flags)
    }

    unsafe fn shmat(&self, id: i32, address: usize, flags: i32) -> Result<*mut c_void> {
        // SAFETY: the caller vouches for the address.
        unsafe { self.segments.shmat(id, address, flags) }.map(|(attached, _)| attached.address as *mut c_void)
    }

    fn attach_anywhere(&self, id: i32, flags: i32) -> Result<(usize, usize)> {
        debug_assert_eq!(flags & libc::SHM_REMAP, 0);
        // SAFETY: address 0 without SHM_REMAP replaces nothing.
        let (attached, size) = unsafe { self.segments.shmat(id, 0, flags) }?;
        Ok((attached.address, size))
    }

    unsafe fn shmdt(&self, address: usize) -> Result<()> {
        // SAFETY: the caller vouches for the address.
        unsafe { self.segments.shmdt(address) }
    }

    fn shm_stat(&self, id: i32) -> Result<SegmentStat> {
        self.segments.shm_stat(id)
    }

    fn shm_stat_index(&self, index: i32, any: bool) -> Result<SegmentStat> {
        self.segments.shm_stat_index(index, any)
    }

    fn shm_set(&self, id: i32, uid: u32, gid: u32, mode: u32) -> Result<()> {
        self.segments.shm_set(id, uid, gid, mode)
    }

    fn shm_remove(&self, id: i32) -> Result<()> {
        self.segments.shm_remove(id)
    }

    fn shm_lock(&self, id: i32, locked: bool) -> Result<()> {
        self.segments.shm_lock(id, locked)
    }

    fn shm_usage(&self) -> Result<ShmUsage> {
        self.segments.shm_usage()
    }

    fn segments(&self) -> Result<Vec<SegmentStatus>> {
        self.segments.segments()
    }
}

impl SetVerbs for &'static Directory {
    fn semget(&self, key: Key, nsems: i32, flags: i32) -> Result<Id> {
        self.sets.semget(key, nsems, flags)
    }

    fn semget_with(&self, key: Key, flags: i32, values: &[u16]) -> Option<Result<Id>> {
        let nsems = i32::try_from(values.len()).map_err(|_| Errno::INVAL);
        Some(nsems.and_then(|nsems| self.sets.semget_with(key, nsems, flags, values)))
    }

    fn semtimedop(&self, id: i32, ops: &[SemOp], timeout: Option<Duration>) -> Result<()> {
        self.sets.semtimedop(id, ops, timeout)
    }

    fn sem_value(&self, id: i32, num: i32) -> Result<u16> {
        self.sets.sem_value(id, num)
    }

    fn sem_pid(&self, id: i32, num: i32) -> Result<i32> {
        self.sets.sem_pid(id, num)
    }

    fn sem_ncnt(&self, id: i32, num: i32) -> Result<u32> {
        self.sets.sem_ncnt(id, num)
    }

    fn sem_zcnt(&self, id: i32, num: i32) -> Result<u32> {
        self.sets.sem_zcnt(id, num)
    }

    fn sem_values(&self, id: i32) -> Result<Vec<u16>> {
        self.sets.sem_values(id)
    }

    fn sem_set_value(&self, id: i32, num: i32, value: i32) -> Result<()> {
        self.sets.sem_set_value(id, num, value)
    }

    fn sem_set_values(&self, id: i32, values: &[u16]) -> Result<()> {
        self.sets.sem_set_values(id, values)
    }

    fn sem_stat(&self, id: i32) -> Result<SetStat> {
        self.sets.sem_stat(id)
    }

    fn sem_stat_index(&self, index: i32, any: bool) -> Result<SetStat> {
        self.sets.sem_stat_index(index, any)
    }

    fn sem_set(&self, id: i32, uid: u32, gid: u32, mode: u32) -> Result<()> {
        self.sets.sem_set(id, uid, gid, mode)
    }

    fn sem_remove(&self, id: i32) -> Result<()> {
        self.sets.sem_remove(id)
    }

    fn sem_usage(&self) -> Result<SemUsage> {
        self.sets.sem_usage()
    }

    fn sets(&self) -> Result<Vec<SetStatus>> {
        self.sets.sets()
    }
}

impl QueueVerbs for &'static Directory {
    fn msgget(&self, key: Key, flags: i32) -> Result<Id> {
        self.queues.msgget(key, flags)
    }

    fn msgget_with(&self, key: Key, flags: i32, capacity: u64) -> Option<Result<Id>> {
        Some(self.queues.msgget_with(key, flags, Some(capacity)))
    }

    fn msgsnd(&self, id: i32, mtype: i64, data: &[u8], flags: MsgFlags, timeout: Option<Duration>) -> Result<()> {
        self.queues.msgsnd(id, mtype, data, flags, timeout)
    }

    fn msgrcv(&self, id: i32, buffer: &mut [u8], mtype: i64, flags: MsgFlags, timeout: Option<Duration>) -> Result<(i64, usize)> {
        self.queues.msgrcv(id, buffer, mtype, flags, timeout)
    }

    fn take(&self, id: i32, mtype: i64, flags: MsgFlags, timeout: Option<Duration>) -> Result<(i64, Vec<u8>)> {
        let mut whole = WholeMessage::default();
        self.queues.receive(id, &mut whole, WholeMessage::MAX_LEN, mtype, flags, timeout)?;
        Ok((whole.mtype, whole.bytes))
    }

    fn peek(&self, id: i32, see: &mut dyn FnMut(MessageStat, &[u8]) -> bool) -> Result<()> {
        self.queues.peek(id, see)
    }

    fn msg_stat(&self, id: i32) -> Result<QueueStat> {
        self.queues.msg_stat(id)
    }

    fn msg_stat_index(&self, index: i32, any: bool) -> Result<QueueStat> {
        self.queues.msg_stat_index(index, any)
    }

    fn msg_set(&self, id: i32, uid: u32, gid: u32, mode: u32, capacity: u64) -> Result<()> {
        self.queues.msg_set(id, uid, gid, mode, capacity)
    }

    fn msg_remove(&self, id: i32) -> Result<()> {
        self.queues.msg_remove(id)
    }

    fn msg_usage(&self) -> Result<MsgUsage> {
        self.queues.msg_usage()
    }

    fn queues(&self) -> Result<Vec<QueueStatus>> {
        self.queues.queues()
    }

    fn damaged_queues(&self, repair: bool) -> Result<Vec<QueueRepair>> {
        self.queues.damaged_queues(repair)
    }
}
