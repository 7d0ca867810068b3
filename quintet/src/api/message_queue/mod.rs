//! Message queues.

pub mod options;
mod receive;
mod send;
#[cfg(feature = "serde")]
mod values;

use crate::api::common::{self, Class};
use crate::api::namespace::Namespace;
use crate::types::error::{Errno, Error, Result};
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::msg::QueueStat;

/// A message queue, by its identifier.
///
/// The value is a handle: dropping it does not remove the queue. A queue and its messages live
/// until the queue is removed, as in System V IPC.
///
/// A message has a type, 1 or more, and 0..=`msgmax` bytes. A receiver takes a whole message: the
/// first one that its [`Select`](crate::Select) fits.
///
/// A caught signal does not end the waiting. [`Namespace::msgsnd`] and [`Namespace::msgrcv`] fail
/// with `EINTR` instead.
///
/// # Examples
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
/// use quintet::{Key, MessageQueue, Select};
/// let queue = MessageQueue::open_or_create(&ns, Key::new(0x5eed))?;
/// queue.send(1, b"work")?;
/// queue.send(2, b"more work")?;
/// let message = queue.receive(Select::Type(2))?;
/// assert_eq!((message.mtype, &message.data[..]), (2, &b"more work"[..]));
/// # Ok::<(), quintet::Error>(())
/// ```
///
/// # References
///
/// msgget(2), msgop(2), msgctl(2)
#[derive(Clone, Debug)]
pub struct MessageQueue {
    ns: Namespace,
    id: Id,
}

impl MessageQueue {
    /// Opens the queue of `key`, or creates it with mode 0600. Concurrent callers get the same
    /// queue.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, MessageQueue};
    /// let queue = MessageQueue::open_or_create(&ns, Key::new(5))?;
    /// assert_eq!(MessageQueue::open_or_create(&ns, Key::new(5))?.id(), queue.id());
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the queue exists and its mode does not grant reading and writing |
    /// | `ENOMEM` | the file system has no room |
    /// | `ENOSPC` | the limit `msgmni` is reached |
    ///
    /// # References
    ///
    /// msgget(2)
    #[doc(alias = "msgget")]
    pub fn open_or_create(ns: &Namespace, key: Key) -> Result<MessageQueue> {
        MessageQueue::options().create(ns, key)
    }

    /// Creates the queue of `key` with mode 0600. Fails if the key is in use.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Errno, Key, MessageQueue};
    /// MessageQueue::create_new(&ns, Key::new(5))?;
    /// let again = MessageQueue::create_new(&ns, Key::new(5));
    /// assert_eq!(again.unwrap_err().errno(), Errno::EXIST);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EEXIST` | the key is in use |
    /// | `ENOMEM` | the file system has no room |
    /// | `ENOSPC` | the limit `msgmni` is reached |
    ///
    /// # References
    ///
    /// msgget(2), `IPC_EXCL`
    #[doc(alias = "IPC_EXCL")]
    pub fn create_new(ns: &Namespace, key: Key) -> Result<MessageQueue> {
        MessageQueue::options().exclusive().create(ns, key)
    }

    /// Creates a queue without a key, with mode 0600.
    ///
    /// Other processes open it by its [`id`](Self::id).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::MessageQueue;
    /// let queue = MessageQueue::private(&ns)?;
    /// assert_eq!(MessageQueue::open_id(&ns, queue.id())?.stat()?.messages, 0);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`create_new`](Self::create_new), without `EEXIST`.
    ///
    /// # References
    ///
    /// msgget(2), `IPC_PRIVATE`
    #[doc(alias = "IPC_PRIVATE")]
    pub fn private(ns: &Namespace) -> Result<MessageQueue> {
        MessageQueue::options().create(ns, Key::PRIVATE)
    }

    /// Opens the queue of `key`. No permission is checked yet.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, MessageQueue};
    /// MessageQueue::create_new(&ns, Key::new(5))?.send(1, b"text")?;
    /// assert_eq!(MessageQueue::open(&ns, Key::new(5))?.stat()?.bytes, 4);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `ENOENT` | no queue has the key |
    ///
    /// # References
    ///
    /// msgget(2)
    pub fn open(ns: &Namespace, key: Key) -> Result<MessageQueue> {
        let id = common::open(Class::QUEUE, key, || ns.msgget(key, 0))?;
        Ok(MessageQueue { ns: ns.clone(), id })
    }

    /// Opens a queue by its identifier. No permission is checked yet.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Errno, MessageQueue};
    /// let queue = MessageQueue::private(&ns)?;
    /// queue.remove()?;
    /// assert_eq!(MessageQueue::open_id(&ns, queue.id()).unwrap_err().errno(), Errno::INVAL);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | no queue has the identifier |
    ///
    /// # References
    ///
    /// msgctl(2), `MSG_STAT_ANY`
    pub fn open_id(ns: &Namespace, id: Id) -> Result<MessageQueue> {
        common::open_id(Class::QUEUE, id, ns.msg_stat_index(id.index().into(), true).map(|stat| stat.id))?;
        Ok(MessageQueue { ns: ns.clone(), id })
    }

    /// Returns the identifier.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, MessageQueue};
    /// let queue = MessageQueue::open_or_create(&ns, Key::new(5))?;
    /// assert_eq!(MessageQueue::open(&ns, Key::new(5))?.id(), queue.id());
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn id(&self) -> Id {
        self.id
    }

    /// Returns the namespace that the queue is in.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::MessageQueue;
    /// let queue = MessageQueue::private(&ns)?;
    /// assert_eq!(queue.namespace().path(), ns.path());
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn namespace(&self) -> &Namespace {
        &self.ns
    }

    /// Returns the state: owner, times, number of bytes and messages, last processes (`IPC_STAT`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::MessageQueue;
    /// let queue = MessageQueue::private(&ns)?;
    /// queue.send(1, b"hello")?;
    /// assert_eq!((queue.stat()?.messages, queue.stat()?.bytes), (1, 5));
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant reading |
    /// | `EINVAL` | the queue does not exist (any more) |
    ///
    /// # References
    ///
    /// msgctl(2)
    #[doc(alias = "IPC_STAT")]
    pub fn stat(&self) -> Result<QueueStat> {
        self.ns.msg_stat(self.id.raw()).map_err(|e| self.error("read the state of", e))
    }

    /// Sets the owner, the group and the nine bits of the access mode (`IPC_SET`). The capacity
    /// stays.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::MessageQueue;
    /// let queue = MessageQueue::private(&ns)?;
    /// let perm = queue.stat()?.perm;
    /// queue.set_permissions(perm.uid, perm.gid, 0o640)?;
    /// assert_eq!(queue.stat()?.perm.mode, 0o640);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | the queue does not exist (any more), or an id is -1 |
    /// | `EPERM` | the caller is neither owner nor creator nor privileged |
    /// | `EPERM` | the capacity is over `msgmnb`, and the caller lacks `CAP_SYS_RESOURCE` |
    ///
    /// # References
    ///
    /// msgctl(2)
    #[doc(alias = "IPC_SET")]
    pub fn set_permissions(&self, uid: u32, gid: u32, mode: u32) -> Result<()> {
        let changed = self.change(|stat| (stat.perm.uid, stat.perm.gid, stat.perm.mode) = (uid, gid, mode));
        changed.map_err(|e| common::permissions_error(&self.ns, Class::QUEUE, self.id, e))
    }

    /// Sets the capacity in bytes, which also limits the number of messages (`IPC_SET`).
    ///
    /// Messages in the queue stay, and blocked senders can proceed. Owner and mode stay.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::MessageQueue;
    /// let queue = MessageQueue::private(&ns)?;
    /// queue.set_capacity(4)?;
    /// assert!(!queue.try_send(1, b"hello")?);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | the queue does not exist (any more) |
    /// | `EPERM` | the caller is neither owner nor creator nor privileged |
    /// | `EPERM` | `bytes` is over `msgmnb`, and the caller lacks `CAP_SYS_RESOURCE` |
    ///
    /// # References
    ///
    /// msgctl(2)
    #[doc(alias = "msg_qbytes")]
    pub fn set_capacity(&self, bytes: u64) -> Result<()> {
        self.change(|stat| stat.capacity = bytes).map_err(|e| {
            let (error, msgmnb) = (self.error("change", e), self.ns.limits().unwrap_or_default().msgmnb);
            match e == Errno::PERM && bytes > u64::from(msgmnb) {
                true => capacity_error(&self.ns, error, bytes, msgmnb),
                false => error,
            }
        })
    }

    /// Removes the queue with all messages (`IPC_RMID`). Blocked calls fail with `EIDRM`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, MessageQueue};
    /// MessageQueue::create_new(&ns, Key::new(5))?.remove()?;
    /// assert!(MessageQueue::open(&ns, Key::new(5)).is_err());
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | the queue does not exist (any more) |
    /// | `EPERM` | the caller is neither owner nor creator nor privileged |
    ///
    /// # References
    ///
    /// msgctl(2)
    #[doc(alias = "IPC_RMID")]
    pub fn remove(&self) -> Result<()> {
        self.ns.msg_remove(self.id.raw()).map_err(|e| self.error("remove", e))
    }

    /// Changes part of what `IPC_SET` sets.
    fn change(&self, change: impl FnOnce(&mut QueueStat)) -> std::result::Result<(), Errno> {
        // This call checks no permission.
        let mut stat = self.ns.msg_stat_index(self.id.index().into(), true)?;
        if stat.id != self.id {
            return Err(Errno::INVAL);
        }
        change(&mut stat);
        self.ns.msg_set(self.id.raw(), stat.perm.uid, stat.perm.gid, stat.perm.mode, stat.capacity)
    }

    pub(crate) fn error(&self, verb: &str, errno: Errno) -> Error {
        let error = common::error(&self.ns, verb, Class::QUEUE, self.id, errno);
        match errno {
            Errno::OPNOTSUPP => error
                .reason("the kernel's queues have no timeout")
                .hint("wait without a timeout or not at all, or use a directory"),
            _ => error,
        }
    }
}

pub(crate) fn capacity_error(ns: &Namespace, error: Error, bytes: u64, msgmnb: u32) -> Error {
    error
        .reason(format!("{bytes} bytes are more than the limit msgmnb, {msgmnb}"))
        .hint(format!("raise it with {}", common::command(ns, format_args!("namespace limits --msgmnb {bytes}"))))
}
