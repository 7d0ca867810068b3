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
    /// Returns the identifier that the next queue will have (`msg_next_id`), or `None` if none was
    /// requested.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// assert_eq!(ns.msg_next_id()?, None);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Namespace::limits`].
    ///
    /// # References
    ///
    /// proc(5)
    pub fn msg_next_id(&self) -> std::result::Result<Option<Id>, Errno> {
        with_backend!(self.backend, backend => backend.next_id(Mechanism::Msg))
    }

    /// Requests the identifier of the next queue (`msg_next_id`). `None` withdraws the request.
    ///
    /// The request has no effect if the index is in use.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Id, Key};
    /// ns.set_msg_next_id(Some(Id::new(3, 7)))?;
    /// let id = ns.msgget(Key::new(5), libc::IPC_CREAT | 0o600)?;
    /// assert_eq!((id.sequence(), id.index()), (3, 7));
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EPERM` | the caller is not the owner of the namespace |
    ///
    /// # References
    ///
    /// proc(5)
    pub fn set_msg_next_id(&self, id: Option<Id>) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.set_next_id(Mechanism::Msg, id))
    }

    /// Finds the queue of `key`, or creates it: `int msgget(key_t key, int msgflg)`.
    ///
    /// `flags` has the C flags `IPC_CREAT` and `IPC_EXCL`, and the nine bits of the mode. The
    /// capacity of a new queue is the limit `msgmnb`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.msgget(Key::new(5), libc::IPC_CREAT | 0o600)?;
    /// assert_eq!(ns.msgget(Key::new(5), 0)?, id);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the queue exists and its mode does not grant what `flags` asks for |
    /// | `EEXIST` | `IPC_CREAT` and `IPC_EXCL` are given, and the key is in use |
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

    /// Calls [`Namespace::msgget`], where a new queue has the capacity from its first instant.
    /// Returns `None` for the kernel, which cannot do that.
    pub(crate) fn msgget_with(&self, key: Key, flags: i32, capacity: u64) -> Option<std::result::Result<Id, Errno>> {
        with_backend!(self.backend, backend => backend.msgget_with(key, flags, capacity))
    }

    /// Sends a message: `int msgsnd(int msqid, const void *msgp, size_t msgsz, int msgflg)`.
    ///
    /// Blocks until the queue has room.
    ///
    /// - `mtype` is the type, 1 or more.
    /// - `data` has `msgmax` bytes at most.
    /// - `flags` can have [`MsgFlags::NOWAIT`].
    /// - `timeout` limits the waiting. `None` sets no limit, as in C.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, MsgFlags};
    /// let id = ns.msgget(Key::new(5), libc::IPC_CREAT | 0o600)?;
    /// ns.msgsnd(id.raw(), 1, b"hello", MsgFlags::NOWAIT, None)?;
    /// assert_eq!(ns.msg_stat(id.raw())?.bytes, 5);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant writing |
    /// | `EAGAIN` | there is no room, and `IPC_NOWAIT` is given or the timeout has passed |
    /// | `EIDRM` | the queue was removed meanwhile |
    /// | `EINTR` | a signal was caught |
    /// | `EINVAL` | no queue has the identifier |
    /// | `EINVAL` | `mtype` is below 1, or `data` is longer than `msgmax` |
    /// | `ENOMEM` | the file system has no room for the message |
    /// | `EOPNOTSUPP` | the namespace is the kernel's, and the timeout is not 0 |
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

    /// Receives a message: `ssize_t msgrcv(int msqid, void *msgp, size_t msgsz, long msgtyp, int
    /// msgflg)`. Returns its type, and the number of bytes written to `buffer`.
    ///
    /// Blocks until there is one. `timeout` is that of [`Namespace::msgsnd`]. `mtype` selects the
    /// message:
    ///
    /// | `mtype` | message |
    /// |---|---|
    /// | 0 | the first one |
    /// | above 0 | the first one of this type; with [`MsgFlags::EXCEPT`], of any other type |
    /// | below 0 | the first one of the lowest type that is at most `-mtype` |
    /// | with [`MsgFlags::COPY`] | a copy of the one at this position, from 0 |
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, MsgFlags};
    /// let id = ns.msgget(Key::new(5), libc::IPC_CREAT | 0o600)?;
    /// ns.msgsnd(id.raw(), 7, b"hello", MsgFlags::NOWAIT, None)?;
    /// let mut buffer = [0; 64];
    /// assert_eq!(ns.msgrcv(id.raw(), &mut buffer, 0, MsgFlags::empty(), None)?, (7, 5));
    /// assert_eq!(&buffer[..5], b"hello");
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `E2BIG` | the message is longer than `buffer`, and `MSG_NOERROR` is not given: it stays |
    /// | `EACCES` | the mode does not grant reading |
    /// | `EIDRM` | the queue was removed meanwhile |
    /// | `EINTR` | a signal was caught |
    /// | `EINVAL` | no queue has the identifier |
    /// | `EINVAL` | `MSG_COPY` without `IPC_NOWAIT`, or with `MSG_EXCEPT` |
    /// | `EINVAL` | `MSG_COPY` of a message over `msgmax` |
    /// | `EINVAL` | `MSG_COPY` and `MSG_NOERROR`, and the message is longer than `buffer` |
    /// | `ENOMSG` | there is no such message, and `IPC_NOWAIT` is given or the timeout has passed |
    /// | `EOPNOTSUPP` | the namespace is the kernel's, and the timeout is not 0 |
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

    /// Receives a message of any length as [`Namespace::msgrcv`] does. Returns its type and bytes.
    pub(crate) fn take(
        &self,
        id: i32,
        mtype: i64,
        flags: MsgFlags,
        timeout: Option<Duration>,
    ) -> std::result::Result<(i64, Vec<u8>), Errno> {
        with_backend!(self.backend, backend => backend.take(id, mtype, flags, timeout))
    }

    /// Calls `see` with each message and its bytes, in the order of the queue, until it returns
    /// `false`. The messages stay in the queue.
    ///
    /// A message that is sent or received meanwhile may be seen or not. No message is seen twice or
    /// out of order. The kernel only has positions, so its messages may be skipped if others are
    /// received meanwhile.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, MsgFlags};
    /// let id = ns.msgget(Key::new(5), libc::IPC_CREAT | 0o600)?;
    /// ns.msgsnd(id.raw(), 7, b"hello", MsgFlags::NOWAIT, None)?;
    /// let mut lengths = Vec::new();
    /// ns.peek(id.raw(), |message, data| {
    ///     lengths.push((message.mtype, data.len()));
    ///     true
    /// })?;
    /// assert_eq!(lengths, [(7, 5)]);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant reading |
    /// | `EIDRM` | the queue was removed meanwhile |
    /// | `EINVAL` | no queue has the identifier |
    /// | `ENOSYS` | the namespace is the kernel's, which was built without `MSG_COPY` |
    ///
    /// # References
    ///
    /// msgop(2), `MSG_COPY`
    #[doc(alias = "MSG_COPY")]
    pub fn peek(&self, id: i32, mut see: impl FnMut(MessageStat, &[u8]) -> bool) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.peek(id, &mut see))
    }

    /// Returns the state of a queue (`IPC_STAT`): `int msgctl(int id, int cmd, ...)`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.msgget(Key::new(5), libc::IPC_CREAT | 0o600)?;
    /// assert_eq!(ns.msg_stat(id.raw())?.key, Key::new(5));
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant reading |
    /// | `EINVAL` | no queue has the identifier |
    ///
    /// # References
    ///
    /// msgctl(2)
    #[doc(alias = "IPC_STAT")]
    pub fn msg_stat(&self, id: i32) -> std::result::Result<QueueStat, Errno> {
        with_backend!(self.backend, backend => backend.msg_stat(id))
    }

    /// Returns the state of the queue at an index, 0..=32767 (`MSG_STAT`).
    ///
    /// Of a greater number, the low 15 bits are used, as in the kernel. If `any` is set, no
    /// permission is checked (`MSG_STAT_ANY`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.msgget(Key::new(5), libc::IPC_CREAT | 0o600)?;
    /// assert_eq!(ns.msg_stat_index(id.index().into(), true)?.id, id);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant reading, and `any` is not set |
    /// | `EINVAL` | the index is not in use |
    ///
    /// # References
    ///
    /// msgctl(2)
    #[doc(alias = "MSG_STAT")]
    #[doc(alias = "MSG_STAT_ANY")]
    pub fn msg_stat_index(&self, index: i32, any: bool) -> std::result::Result<QueueStat, Errno> {
        with_backend!(self.backend, backend => backend.msg_stat_index(index, any))
    }

    /// Sets the owner, the group, the low nine bits of the mode, and the capacity in bytes
    /// (`IPC_SET`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.msgget(Key::new(5), libc::IPC_CREAT | 0o600)?;
    /// let perm = ns.msg_stat(id.raw())?.perm;
    /// ns.msg_set(id.raw(), perm.uid, perm.gid, 0o640, 100)?;
    /// assert_eq!(ns.msg_stat(id.raw())?.perm.mode, 0o640);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | no queue has the identifier, or an id is -1 |
    /// | `EPERM` | the caller is neither owner nor creator nor privileged |
    /// | `EPERM` | `capacity` is over `msgmnb`, and the caller lacks `CAP_SYS_RESOURCE` |
    ///
    /// # References
    ///
    /// msgctl(2)
    #[doc(alias = "IPC_SET")]
    pub fn msg_set(&self, id: i32, uid: u32, gid: u32, mode: u32, capacity: u64) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.msg_set(id, uid, gid, mode, capacity))
    }

    /// Removes the queue with all messages (`IPC_RMID`). Blocked calls fail with `EIDRM`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Errno, Key};
    /// let id = ns.msgget(Key::new(5), libc::IPC_CREAT | 0o600)?;
    /// ns.msg_remove(id.raw())?;
    /// assert_eq!(ns.msg_stat(id.raw()), Err(Errno::INVAL));
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | no queue has the identifier |
    /// | `EPERM` | the caller is neither owner nor creator nor privileged |
    ///
    /// # References
    ///
    /// msgctl(2)
    #[doc(alias = "IPC_RMID")]
    pub fn msg_remove(&self, id: i32) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.msg_remove(id))
    }

    /// Returns what the queues use (`MSG_INFO`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.msgget(Key::new(5), libc::IPC_CREAT | 0o600)?;
    /// assert_eq!(ns.msg_usage()?.queues, 1);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// None in a directory. The kernel's call can fail under a security policy.
    ///
    /// # References
    ///
    /// msgctl(2)
    #[doc(alias = "MSG_INFO")]
    pub fn msg_usage(&self) -> std::result::Result<MsgUsage, Errno> {
        with_backend!(self.backend, backend => backend.msg_usage())
    }

    /// Rebuilds damaged message queues, and returns them.
    ///
    /// A queue is damaged if its lists disagree with its messages, because a process with
    /// permission has overwritten its file. The messages that are still legible are kept. Other
    /// queues, and those of the kernel, stay as they are.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// assert!(ns.repair_queues()?.is_empty());
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of reading the directory of the namespace, or `/proc`.
    pub fn repair_queues(&self) -> std::result::Result<Vec<QueueRepair>, Errno> {
        with_backend!(self.backend, backend => backend.damaged_queues(true))
    }

    /// Returns the queues that [`Namespace::repair_queues`] would rebuild, with the number of
    /// messages that each would keep. Changes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// assert!(ns.damaged_queues()?.is_empty());
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of reading the directory of the namespace, or `/proc`.
    pub fn damaged_queues(&self) -> std::result::Result<Vec<QueueRepair>, Errno> {
        with_backend!(self.backend, backend => backend.damaged_queues(false))
    }

    /// Returns all queues, by index, with their messages by type and blocked calls.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.msgget(Key::new(5), libc::IPC_CREAT | 0o600)?;
    /// assert_eq!(ns.queues()?[0].stat.id, id);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of reading the directory of the namespace, or `/proc`.
    ///
    /// # References
    ///
    /// proc(5)
    pub fn queues(&self) -> std::result::Result<Vec<QueueStatus>, Errno> {
        with_backend!(self.backend, backend => backend.queues())
    }
}
