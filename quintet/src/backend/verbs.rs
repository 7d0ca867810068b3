//! The verbs of a namespace, which each backend implements.
//!
//! Each verb corresponds to one C call or command. The method of the same name of
//! [`Namespace`](crate::Namespace) documents its effect and its errors.

use crate::types::error::{self, Errno};
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::kind::Kind;
use crate::types::limits::Limits;
use crate::types::mechanism::Mechanism;
use crate::types::msg::{MessageStat, MsgFlags, MsgUsage, QueueRepair, QueueStat, QueueStatus};
use crate::types::sem::{SemOp, SemUsage, SetStat, SetStatus};
use crate::types::shm::{Attacher, SegmentStat, SegmentStatus, ShmUsage};
use std::ffi::c_void;
use std::path::Path;
use std::time::Duration;

type Result<T> = std::result::Result<T, Errno>;

/// A store for the objects of a namespace.
pub trait Backend: NamespaceVerbs + SegmentVerbs + SetVerbs + QueueVerbs {}

/// Verbs of the namespace itself.
pub trait NamespaceVerbs {
    fn path(&self) -> Option<&Path>;
    fn kind(&self) -> Kind;
    fn limits(&self) -> Result<Limits>;
    fn set_limits(&self, limits: &Limits) -> Result<()>;
    fn next_id(&self, of: Mechanism) -> Result<Option<Id>>;
    fn set_next_id(&self, of: Mechanism, id: Option<Id>) -> Result<()>;
    fn sweep(&self) -> Result<()>;
    fn participants(&self) -> Result<Vec<Attacher>>;
    fn destroy(&self, force: bool) -> error::Result<()>;
}

/// Verbs of segments.
#[allow(unsafe_code)]
pub trait SegmentVerbs {
    fn shmget(&self, key: Key, size: u64, flags: i32) -> Result<Id>;
    /// # Safety
    ///
    /// As for [`Namespace::shmat`](crate::Namespace::shmat).
    unsafe fn shmat(&self, id: i32, address: usize, flags: i32) -> Result<*mut c_void>;
    /// Attaches a segment at an address that the kernel chooses. Returns the address and the size
    /// in bytes at the time of the mapping.
    fn attach_anywhere(&self, id: i32, flags: i32) -> Result<(usize, usize)>;
    /// # Safety
    ///
    /// As for [`Namespace::shmdt`](crate::Namespace::shmdt).
    unsafe fn shmdt(&self, address: usize) -> Result<()>;
    fn shm_stat(&self, id: i32) -> Result<SegmentStat>;
    fn shm_stat_index(&self, index: i32, any: bool) -> Result<SegmentStat>;
    fn shm_set(&self, id: i32, uid: u32, gid: u32, mode: u32) -> Result<()>;
    fn shm_remove(&self, id: i32) -> Result<()>;
    fn shm_lock(&self, id: i32, locked: bool) -> Result<()>;
    fn shm_usage(&self) -> Result<ShmUsage>;
    fn segments(&self) -> Result<Vec<SegmentStatus>>;
}

/// Verbs of semaphore sets.
pub trait SetVerbs {
    fn semget(&self, key: Key, nsems: i32, flags: i32) -> Result<Id>;
    /// Creates a set with the initial `values`. Returns `None` if the backend cannot.
    fn semget_with(&self, key: Key, flags: i32, values: &[u16]) -> Option<Result<Id>>;
    fn semtimedop(&self, id: i32, ops: &[SemOp], timeout: Option<Duration>) -> Result<()>;
    fn sem_value(&self, id: i32, num: i32) -> Result<u16>;
    fn sem_pid(&self, id: i32, num: i32) -> Result<i32>;
    fn sem_ncnt(&self, id: i32, num: i32) -> Result<u32>;
    fn sem_zcnt(&self, id: i32, num: i32) -> Result<u32>;
    fn sem_values(&self, id: i32) -> Result<Vec<u16>>;
    fn sem_set_value(&self, id: i32, num: i32, value: i32) -> Result<()>;
    fn sem_set_values(&self, id: i32, values: &[u16]) -> Result<()>;
    fn sem_stat(&self, id: i32) -> Result<SetStat>;
    fn sem_stat_index(&self, index: i32, any: bool) -> Result<SetStat>;
    fn sem_set(&self, id: i32, uid: u32, gid: u32, mode: u32) -> Result<()>;
    fn sem_remove(&self, id: i32) -> Result<()>;
    fn sem_usage(&self) -> Result<SemUsage>;
    fn sets(&self) -> Result<Vec<SetStatus>>;
}

/// Verbs of message queues.
pub trait QueueVerbs {
    fn msgget(&self, key: Key, flags: i32) -> Result<Id>;
    /// Creates a queue with the initial `capacity` in bytes. Returns `None` if the backend cannot.
    fn msgget_with(&self, key: Key, flags: i32, capacity: u64) -> Option<Result<Id>>;
    fn msgsnd(&self, id: i32, mtype: i64, data: &[u8], flags: MsgFlags, timeout: Option<Duration>) -> Result<()>;
    fn msgrcv(&self, id: i32, buffer: &mut [u8], mtype: i64, flags: MsgFlags, timeout: Option<Duration>) -> Result<(i64, usize)>;
    /// Receives a message of any length.
    fn take(&self, id: i32, mtype: i64, flags: MsgFlags, timeout: Option<Duration>) -> Result<(i64, Vec<u8>)>;
    /// Calls `see` with each message in order, until `see` returns `false`.
    fn peek(&self, id: i32, see: &mut dyn FnMut(MessageStat, &[u8]) -> bool) -> Result<()>;
    fn msg_stat(&self, id: i32) -> Result<QueueStat>;
    fn msg_stat_index(&self, index: i32, any: bool) -> Result<QueueStat>;
    fn msg_set(&self, id: i32, uid: u32, gid: u32, mode: u32, capacity: u64) -> Result<()>;
    fn msg_remove(&self, id: i32) -> Result<()>;
    fn msg_usage(&self) -> Result<MsgUsage>;
    fn queues(&self) -> Result<Vec<QueueStatus>>;
    /// Returns the damaged queues. Rebuilds them if `repair` is `true`.
    fn damaged_queues(&self, repair: bool) -> Result<Vec<QueueRepair>>;
}
