//! The verbs of message queues.

use crate::api::namespace::Namespace;
use crate::backend::any::with_backend;
use crate::backend::verbs::{NamespaceVerbs, QueueVerbs};
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::mechanism::Mechanism;
use crate::types::msg::{MessageStat, MsgFlags, MsgUsage, QueueRepair, QueueStat, QueueStatus};
use std::time::Duration;

impl Namespace {
    /// The identifier that the next created queue will have, `msg_next_id`, if one has been asked for.
    ///
    /// # Errors
    ///
    /// As [`Namespace::limits`].
    pub fn msg_next_id(&self) -> std::result::Result<Option<Id>, Errno> {
        with_backend!(self.backend, backend => backend.next_id(Mechanism::Msg))
    }

    /// Asks for the identifier of the next created queue (where its index is free); `None` takes that back.
    ///
    /// # Errors
    ///
    /// `EPERM` the caller is not the namespace's owner.
    pub fn set_msg_next_id(&self, id: Option<Id>) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.set_next_id(Mechanism::Msg, id))
    }

    /// `int msgget(key_t key, int msgflg)`: finds the queue of `key`, or creates it.
    ///
    /// `flags` the C flags: `IPC_CREAT`, `IPC_EXCL` and nine bits of mode. A new queue takes `msgmnb` bytes.
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the queue exists and its mode does not grant what `flags` asks for |
    /// | `EEXIST` | `IPC_CREAT` and `IPC_EXCL`, and the key is in use |
    /// | `ENOENT` | no queue has the key, and `IPC_CREAT` is not given |
    /// | `ENOMEM` | the file system has no room |
    /// | `ENOSPC` | the limit `msgmni` is reached |
    ///
    /// # References
    ///
    /// msgget(2)
    pub fn msgget(&self, key: Key, flags: i32) -> std::result::Result<Id, Errno> {
        with_backend!(self.backend, backend => backend.msgget(key, flags))
    }

    /// As [`Namespace::msgget`]; a new queue takes `capacity` bytes from its first instant. `None`: the kernel cannot do that.
    pub(crate) fn msgget_with(&self, key: Key, flags: i32, capacity: u64) -> Option<std::result::Result<Id, Errno>> {
        with_backend!(self.backend, backend => backend.msgget_with(key, flags, capacity))
    }

    /// `int msgsnd(int msqid, const void *msgp, size_t msgsz, int msgflg)`: puts a message into the queue, or waits until there is room.
    ///
    /// `mtype` 1 or more; `data` at most `msgmax` bytes; of `flags` [`MsgFlags::NOWAIT`] counts; `timeout` `None` waits without end, as the C call
    /// does.
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant writing |
    /// | `EAGAIN` | there is no room, and `IPC_NOWAIT` is given, or the timeout has passed |
    /// | `EIDRM` | the queue was removed meanwhile |
    /// | `EINTR` | a signal was caught while waiting |
    /// | `EINVAL` | no such identifier; `mtype` is below 1; `data` is longer than `msgmax` |
    /// | `ENOMEM` | the file system has no room for the message |
    /// | `EOPNOTSUPP` | a timeout other than zero, and the namespace is the kernel's, which has none |
    ///
    /// # References
    ///
    /// msgop(2)
    pub fn msgsnd(
        &self,
        id: i32,
        mtype: i64,
        data: &[u8],
        flags: MsgFlags,
        timeout: Option<Duration>,
    ) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.msgsnd(id, mtype, data, flags, timeout))
    }

    /// `ssize_t msgrcv(int msqid, void *msgp, size_t msgsz, long msgtyp, int msgflg)`: takes a message out of the queue, or waits until there
    /// is one: its type, and how many bytes of `buffer` were filled.
    ///
    /// `mtype` 0: the first one; above 0: the first of that type (with [`MsgFlags::EXCEPT`]: not of that type); below 0: the first one of the
    /// lowest type that is at most `-mtype`; with [`MsgFlags::COPY`] a position. `timeout` as for [`Namespace::msgsnd`].
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `E2BIG` | the message is longer than `buffer`, and `MSG_NOERROR` is not given: it stays |
    /// | `EACCES` | the mode does not grant reading |
    /// | `EIDRM` | the queue was removed meanwhile |
    /// | `EINTR` | a signal was caught while waiting |
    /// | `EINVAL` | no such identifier; `MSG_COPY` without `IPC_NOWAIT` or with `MSG_EXCEPT`, or of a message longer than `msgmax`, or longer than `buffer` with `MSG_NOERROR` |
    /// | `ENOMSG` | there is no such message, and `IPC_NOWAIT` is given, or the timeout has passed |
    /// | `EOPNOTSUPP` | a timeout other than zero, and the namespace is the kernel's, which has none |
    ///
    /// # References
    ///
    /// msgop(2)
    pub fn msgrcv(
        &self,
        id: i32,
        buffer: &mut [u8],
        mtype: i64,
        flags: MsgFlags,
        timeout: Option<Duration>,
    ) -> std::result::Result<(i64, usize), Errno> {
        with_backend!(self.backend, backend => backend.msgrcv(id, buffer, mtype, flags, timeout))
    }

    /// As [`Namespace::msgrcv`], of a message as long as it is: its type and its bytes.
    pub(crate) fn take(
        &self,
        id: i32,
        mtype: i64,
        flags: MsgFlags,
        timeout: Option<Duration>,
    ) -> std::result::Result<(i64, Vec<u8>), Errno> {
        with_backend!(self.backend, backend => backend.take(id, mtype, flags, timeout))
    }

    /// Looks at the messages without taking one, the first one first: each is handed to `see` with its bytes, until that returns `false`.
    ///
    /// What is sent or taken meanwhile may be seen or not; no message is seen twice, or out of order. (Of the kernel's, which has only
    /// positions, messages may be skipped if others are taken meanwhile.)
    ///
    /// # Errors
    ///
    /// `EINVAL` no such identifier; `EACCES` the mode does not grant reading; `EIDRM` the queue was removed meanwhile; `ENOSYS` the kernel has no
    /// `MSG_COPY`.
    pub fn peek(&self, id: i32, mut see: impl FnMut(MessageStat, &[u8]) -> bool) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.peek(id, &mut see))
    }

    /// `IPC_STAT`.
    ///
    /// # Errors
    ///
    /// `EINVAL` no such identifier; `EACCES` the mode does not grant reading.
    ///
    /// # References
    ///
    /// msgctl(2)
    pub fn msg_stat(&self, id: i32) -> std::result::Result<QueueStat, Errno> {
        with_backend!(self.backend, backend => backend.msg_stat(id))
    }

    /// `MSG_STAT` (`any` false) and `MSG_STAT_ANY` (true, which asks for no right): by index.
    ///
    /// `index` 0..=32767; of a greater number the low 15 bits count, as in the kernel.
    ///
    /// # Errors
    ///
    /// `EINVAL` the index is not in use; `EACCES` the mode does not grant reading.
    pub fn msg_stat_index(&self, index: i32, any: bool) -> std::result::Result<QueueStat, Errno> {
        with_backend!(self.backend, backend => backend.msg_stat_index(index, any))
    }

    /// `IPC_SET`: sets owner, group, access mode (the low nine bits of `mode`), and how many bytes the queue takes.
    ///
    /// # Errors
    ///
    /// `EINVAL` no such identifier, or an id of -1; `EPERM` the caller is neither owner nor creator nor privileged, or `capacity` is over
    /// `msgmnb` and he has no `CAP_SYS_RESOURCE`.
    pub fn msg_set(&self, id: i32, uid: u32, gid: u32, mode: u32, capacity: u64) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.msg_set(id, uid, gid, mode, capacity))
    }

    /// `IPC_RMID`: removes the queue with all messages; whoever waits gets `EIDRM`.
    ///
    /// # Errors
    ///
    /// `EINVAL` no such identifier; `EPERM` the caller is neither owner nor creator nor privileged.
    pub fn msg_remove(&self, id: i32) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.msg_remove(id))
    }

    /// `MSG_INFO`: what the queues hold.
    ///
    /// # Errors
    ///
    /// None for a directory; the kernel's may fail under a security policy.
    pub fn msg_usage(&self) -> std::result::Result<MsgUsage, Errno> {
        with_backend!(self.backend, backend => backend.msg_usage())
    }

    /// Makes queues whose lists disagree with what is in them anew: somebody who may use them has scribbled on their files. What the messages
    /// themselves still say is kept. Tells which queues were damaged; a sound one is left alone. Nothing for the kernel's namespace.
    ///
    /// # Errors
    ///
    /// Those of reading the directory.
    pub fn repair_queues(&self) -> std::result::Result<Vec<QueueRepair>, Errno> {
        with_backend!(self.backend, backend => backend.damaged_queues(true))
    }

    /// The queues that [`Namespace::repair_queues`] would make anew, and how many messages each would have. Nothing is changed.
    ///
    /// # Errors
    ///
    /// Those of reading the directory.
    pub fn damaged_queues(&self) -> std::result::Result<Vec<QueueRepair>, Errno> {
        with_backend!(self.backend, backend => backend.damaged_queues(false))
    }

    /// All queues, by index, with what is in them and who waits.
    ///
    /// # Errors
    ///
    /// Those of reading the directory.
    pub fn queues(&self) -> std::result::Result<Vec<QueueStatus>, Errno> {
        with_backend!(self.backend, backend => backend.queues())
    }
}
