//! The safe face of a queue.

use crate::api::common;
use crate::api::namespace::Namespace;
use crate::api::select::Select;
use crate::types::error::{Errno, Error, Result};
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::msg::{MsgFlags, QueueStat};
use std::time::{Duration, Instant};

/// A message queue, by its identifier. Holding one keeps nothing: a queue, and what is in it, lives until it is removed, as
/// System V says.
///
/// A message has a type, 1 or more, and bytes, none or more, `msgmax` at the most. It comes out whole or not at all. What a
/// receiver takes is the first one that he selects: by its type, or whatever is first.
///
/// A signal that is caught does not end the waiting; [`Namespace::msgsnd`] and [`Namespace::msgrcv`] are for those who want that.
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
/// # queue.remove()?;
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

/// A message that was received.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[doc(alias = "msgbuf")]
pub struct Message {
    /// Its type, 1 or more.
    pub mtype: i64,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// How a queue is created: see [`MessageQueue::options`].
#[derive(Clone, Debug)]
pub struct MessageQueueOptions {
    mode: u32,
    exclusive: bool,
    capacity: Option<u64>,
}

impl MessageQueueOptions {
    /// The access mode, nine bits `rw-rw-rw-`, where `r` is the right to receive and `w` the right to send; 0o600 if not given.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode & 0o777;
        self
    }

    /// Fails with `EEXIST` if the key is in use (`IPC_EXCL`).
    pub fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    /// How many bytes a new queue takes, and how many messages (`msg_qbytes`); the limit `msgmnb` if not given. More than that is
    /// for the superuser.
    ///
    /// In a directory it takes as many from its first instant. In the kernel, creating a queue and setting this are two steps: who opens it in
    /// between finds a queue that takes `msgmnb` bytes.
    #[doc(alias = "msg_qbytes")]
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.capacity = Some(bytes);
        self
    }

    /// Creates the queue of `key`, or opens the one that is there, as it is.
    ///
    /// # Errors
    ///
    /// As [`MessageQueue::open_or_create`]; `EEXIST` [`exclusive`](Self::exclusive) was asked for and the key is in use; `EPERM` the
    /// capacity is over `msgmnb`, and the caller has no `CAP_SYS_RESOURCE`.
    pub fn create(&self, ns: &Namespace, key: Key) -> Result<MessageQueue> {
        let queue = |id| MessageQueue { ns: ns.clone(), id };
        let exclusive = if self.exclusive { libc::IPC_EXCL } else { 0 };
        let flags = self.mode as i32 | libc::IPC_CREAT | exclusive;
        let created = match self.capacity {
            None => ns.msgget(key, flags),
            Some(bytes) => ns.msgget_with(key, flags, bytes).unwrap_or_else(|| {
                let (get, remove) = (|flags| ns.msgget(key, flags), |id: Id| ns.msg_remove(id.raw()));
                let change = |id| queue(id).change(|stat| stat.capacity = bytes);
                common::create_in_steps(self.mode as i32, self.exclusive, get, change, remove)
            }),
        };
        created.map(queue).map_err(|errno| self.error(ns, key, errno))
    }

    fn error(&self, ns: &Namespace, key: Key, errno: Errno) -> Error {
        let error = Error::new(errno, format!("cannot create a message queue with key {key}"));
        let limits = ns.limits().unwrap_or_default();
        match errno {
            Errno::NOSPC => error
                .reason(format!("the limit msgmni ({} queues) is reached", limits.msgmni))
                .hint("remove queues, or raise the limit with 'quintet namespace limits --msgmni'"),
            Errno::PERM => capacity_error(error, self.capacity.unwrap_or_default(), limits.msgmnb),
            _ => common::creation_error(errno, error),
        }
    }
}

fn capacity_error(error: Error, bytes: u64, msgmnb: u32) -> Error {
    error
        .reason(format!("{bytes} bytes are more than the limit msgmnb, {msgmnb}"))
        .hint("raise it with 'quintet namespace limits --msgmnb'")
}

impl MessageQueue {
    /// Choices for creating a queue.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, MessageQueue};
    /// let queue = MessageQueue::options().mode(0o640).exclusive().capacity(4096).create(&ns, Key::new(5))?;
    /// let stat = queue.stat()?;
    /// assert_eq!((stat.perm.mode, stat.capacity), (0o640, 4096));
    /// # queue.remove()?;
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// msgget(2)
    pub fn options() -> MessageQueueOptions {
        MessageQueueOptions { mode: 0o600, exclusive: false, capacity: None }
    }

    /// Opens the queue of `key`, or creates it with mode 0600. Whoever calls this finds it whole, whoever was first.
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | it exists and its mode does not grant reading and writing |
    /// | `ENOMEM` | the file system has no room |
    /// | `ENOSPC` | the limit `msgmni` is reached |
    ///
    /// # References
    ///
    /// msgget(2)
    pub fn open_or_create(ns: &Namespace, key: Key) -> Result<MessageQueue> {
        MessageQueue::options().create(ns, key)
    }

    /// Creates the queue of `key` with mode 0600, and fails if the key is in use.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Errno, Key, MessageQueue};
    /// let queue = MessageQueue::create_new(&ns, Key::new(5))?;
    /// let again = MessageQueue::create_new(&ns, Key::new(5));
    /// assert_eq!(again.unwrap_err().errno(), Errno::EXIST);
    /// # queue.remove()?;
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
    /// msgget(2)
    pub fn create_new(ns: &Namespace, key: Key) -> Result<MessageQueue> {
        MessageQueue::options().exclusive().create(ns, key)
    }

    /// Creates a queue that no key finds, with mode 0600: for who is told its [`id`](Self::id).
    ///
    /// # Errors
    ///
    /// As [`create_new`](Self::create_new), without `EEXIST`.
    ///
    /// # References
    ///
    /// msgget(2), `IPC_PRIVATE`
    #[doc(alias = "IPC_PRIVATE")]
    pub fn private(ns: &Namespace) -> Result<MessageQueue> {
        MessageQueue::options().create(ns, Key::PRIVATE)
    }

    /// Opens the queue of `key`.
    ///
    /// # Errors
    ///
    /// `ENOENT` no queue has the key. No right is asked for yet.
    ///
    /// # References
    ///
    /// msgget(2)
    pub fn open(ns: &Namespace, key: Key) -> Result<MessageQueue> {
        let id = common::open("queue", key, || ns.msgget(key, 0))?;
        Ok(MessageQueue { ns: ns.clone(), id })
    }

    /// Opens a queue by its identifier.
    ///
    /// # Errors
    ///
    /// `EINVAL` no queue has the identifier. No right is asked for yet.
    ///
    /// # References
    ///
    /// msgctl(2), `MSG_STAT_ANY`
    pub fn open_id(ns: &Namespace, id: Id) -> Result<MessageQueue> {
        common::open_id("queue", id, ns.msg_stat_index(id.index().into(), true).map(|stat| stat.id))?;
        Ok(MessageQueue { ns: ns.clone(), id })
    }

    /// The identifier.
    pub fn id(&self) -> Id {
        self.id
    }

    /// The namespace it is in.
    pub fn namespace(&self) -> &Namespace {
        &self.ns
    }

    /// Sends a message of type `mtype` (1 or more) with the bytes `data` (`msgmax` at the most), and waits until there is room for it.
    /// For what is longer than the queue's capacity there never is.
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant writing |
    /// | `EIDRM` | the queue was removed while this waited |
    /// | `EINVAL` | the queue does not exist (any more), `mtype` is below 1, or `data` is longer than `msgmax` |
    /// | `ENOMEM` | the file system has no room for the message |
    ///
    /// # References
    ///
    /// msgop(2)
    #[doc(alias = "msgsnd")]
    pub fn send(&self, mtype: i64, data: &[u8]) -> Result<()> {
        self.send_until(mtype, data, None).map_err(|e| self.sending_error(mtype, data, e))
    }

    /// Sends a message as [`send`](Self::send) does, if there is room, and tells whether it did.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, MessageQueue};
    /// let queue = MessageQueue::options().capacity(4).create(&ns, Key::PRIVATE)?;
    /// assert!(queue.try_send(1, b"abc")?);
    /// assert!(!queue.try_send(1, b"de")?);
    /// # queue.remove()?;
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), without `EIDRM`.
    ///
    /// # References
    ///
    /// msgop(2), `IPC_NOWAIT`
    #[doc(alias = "IPC_NOWAIT")]
    pub fn try_send(&self, mtype: i64, data: &[u8]) -> Result<bool> {
        self.sent(mtype, data, self.ns.msgsnd(self.id.raw(), mtype, data, MsgFlags::NOWAIT, None))
    }

    /// Sends a message as [`send`](Self::send) does, waits for `timeout` at the longest, and tells whether it was sent.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); `EOPNOTSUPP` the namespace is the kernel's, whose calls wait without end or not at all.
    ///
    /// # References
    ///
    /// msgop(2), which has no timeout
    pub fn send_timeout(&self, mtype: i64, data: &[u8], timeout: Duration) -> Result<bool> {
        self.sent(mtype, data, self.send_until(mtype, data, Instant::now().checked_add(timeout)))
    }

    /// Sends a message as [`send`](Self::send) does, waits until `deadline` at the longest, and tells whether it was sent. If the deadline has
    /// passed, it is sent if there is room.
    ///
    /// # Errors
    ///
    /// As [`send_timeout`](Self::send_timeout).
    ///
    /// # References
    ///
    /// msgop(2), which has no timeout
    pub fn send_deadline(&self, mtype: i64, data: &[u8], deadline: Instant) -> Result<bool> {
        self.sent(mtype, data, self.send_until(mtype, data, Some(deadline)))
    }

    /// Takes the message that is selected, however long it is, and waits until there is one.
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant reading |
    /// | `EIDRM` | the queue was removed while this waited |
    /// | `EINVAL` | the queue does not exist (any more), or a type below 1 is selected |
    /// | `ENOMEM` | there is no memory for the message, which stays, or no room for the waiting call |
    ///
    /// # References
    ///
    /// msgop(2)
    #[doc(alias = "msgrcv")]
    pub fn receive(&self, select: Select) -> Result<Message> {
        self.receive_until(select, None).map_err(|e| self.receiving_error(select, e))
    }

    /// Takes the message that is selected, if there is one.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{MessageQueue, Select};
    /// let queue = MessageQueue::private(&ns)?;
    /// queue.send(1, b"only")?;
    /// assert_eq!(queue.try_receive(Select::First)?.unwrap().data, b"only");
    /// assert_eq!(queue.try_receive(Select::First)?, None);
    /// # queue.remove()?;
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive), without `EIDRM`.
    ///
    /// # References
    ///
    /// msgop(2), `IPC_NOWAIT`
    pub fn try_receive(&self, select: Select) -> Result<Option<Message>> {
        self.received(select, self.take(select, MsgFlags::NOWAIT, None))
    }

    /// Takes the message that is selected, and waits until there is one, for `timeout` at the longest. `None`: there was none.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{MessageQueue, Select};
    /// use std::time::Duration;
    /// let queue = MessageQueue::private(&ns)?;
    /// assert_eq!(queue.receive_timeout(Select::First, Duration::from_millis(1))?, None);
    /// # queue.remove()?;
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive); `EOPNOTSUPP` the namespace is the kernel's, whose calls wait without end or not at all.
    ///
    /// # References
    ///
    /// msgop(2), which has no timeout
    pub fn receive_timeout(&self, select: Select, timeout: Duration) -> Result<Option<Message>> {
        self.received(select, self.receive_until(select, Instant::now().checked_add(timeout)))
    }

    /// Takes the message that is selected, and waits until there is one, but not beyond `deadline`. `None`: there was none. If the
    /// deadline has passed, takes what is there.
    ///
    /// # Errors
    ///
    /// As [`receive_timeout`](Self::receive_timeout).
    ///
    /// # References
    ///
    /// msgop(2), which has no timeout
    pub fn receive_deadline(&self, select: Select, deadline: Instant) -> Result<Option<Message>> {
        self.received(select, self.receive_until(select, Some(deadline)))
    }

    /// Takes the message that is selected into `buffer`, and waits until there is one: its type, and how many bytes it has. Nothing is allocated.
    /// A message longer than the buffer stays where it is.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Errno, MessageQueue, Select};
    /// let queue = MessageQueue::private(&ns)?;
    /// queue.send(7, b"word")?;
    /// let too_long = queue.receive_into(&mut [0; 3], Select::First);
    /// assert_eq!(too_long.unwrap_err().errno(), Errno::TOOBIG);
    /// let mut buffer = [0; 64];
    /// assert_eq!(queue.receive_into(&mut buffer, Select::First)?, (7, 4));
    /// assert_eq!(&buffer[..4], b"word");
    /// # queue.remove()?;
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive); `E2BIG` the message is longer than `buffer`.
    ///
    /// # References
    ///
    /// msgop(2)
    pub fn receive_into(&self, buffer: &mut [u8], select: Select) -> Result<(i64, usize)> {
        let received = select.raw().and_then(|(mtype, flags)| {
            common::through_signals(None, |timeout| self.ns.msgrcv(self.id.raw(), buffer, mtype, flags, timeout))
        });
        received.map_err(|e| match e {
            Errno::TOOBIG => self
                .error("receive from", e)
                .reason(format!("the message is longer than the buffer of {} bytes", buffer.len()))
                .hint("it is still there: receive it with a larger buffer"),
            _ => self.receiving_error(select, e),
        })
    }

    /// A copy of the message that a receiver would get now; it stays. `None`: there is none.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{MessageQueue, Select};
    /// let queue = MessageQueue::private(&ns)?;
    /// queue.send(3, b"third")?;
    /// queue.send(1, b"first")?;
    /// assert_eq!(queue.peek(Select::LowestUpTo(9))?.unwrap().data, b"first");
    /// assert_eq!(queue.stat()?.messages, 2);
    /// # queue.remove()?;
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`messages`](Self::messages); `EINVAL` also if a type below 1 is selected.
    ///
    /// # References
    ///
    /// msgop(2), `MSG_COPY`
    #[doc(alias = "MSG_COPY")]
    pub fn peek(&self, select: Select) -> Result<Option<Message>> {
        select.raw().map_err(|e| self.receiving_error(select, e))?;
        let mut found: Option<Message> = None;
        let seen = self.ns.peek(self.id.raw(), |message, data| {
            if select.prefers(message.mtype, found.as_ref().map(|found| found.mtype)) {
                found = Some(Message { mtype: message.mtype, data: data.to_vec() });
            }
            // Another one can be preferred only for a lower type.
            found.as_ref().is_none_or(|found| matches!(select, Select::LowestUpTo(_)) && found.mtype > 1)
        });
        seen.map_err(|e| self.looking_error(e))?;
        Ok(found)
    }

    /// Copies of all messages, the first one first; they stay. [`Namespace::peek`] makes no copies, and tells who sent them, and when.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::MessageQueue;
    /// let queue = MessageQueue::private(&ns)?;
    /// queue.send(3, b"abc")?;
    /// queue.send(1, b"d")?;
    /// let lengths: Vec<usize> = queue.messages()?.iter().map(|message| message.data.len()).collect();
    /// assert_eq!(lengths, [3, 1]);
    /// # queue.remove()?;
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant reading |
    /// | `EIDRM` | the queue was removed meanwhile |
    /// | `EINVAL` | the queue does not exist (any more) |
    /// | `ENOSYS` | the namespace is the kernel's, and that has no `MSG_COPY` |
    ///
    /// # References
    ///
    /// msgop(2), `MSG_COPY`
    pub fn messages(&self) -> Result<Vec<Message>> {
        let mut all = Vec::new();
        let seen = self.ns.peek(self.id.raw(), |message, data| {
            all.push(Message { mtype: message.mtype, data: data.to_vec() });
            true
        });
        seen.map(|()| all).map_err(|e| self.looking_error(e))
    }

    /// `IPC_STAT`: owner, times, how much is in it, who was last.
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
    pub fn stat(&self) -> Result<QueueStat> {
        self.ns.msg_stat(self.id.raw()).map_err(|e| self.error("read the state of", e))
    }

    /// `IPC_SET`: gives it another owner, group and access mode (nine bits). Its capacity stays what it is now.
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | the queue does not exist (any more), or an id is -1 |
    /// | `EPERM` | the caller is neither owner nor creator nor privileged; its capacity is over `msgmnb`, and he has no `CAP_SYS_RESOURCE` |
    ///
    /// # References
    ///
    /// msgctl(2)
    pub fn set_permissions(&self, uid: u32, gid: u32, mode: u32) -> Result<()> {
        let changed = self.change(|stat| (stat.perm.uid, stat.perm.gid, stat.perm.mode) = (uid, gid, mode));
        changed.map_err(|e| common::permissions_error("queue", self.id, e))
    }

    /// `IPC_SET`: from now on it takes so many bytes, and so many messages. What is in it stays; who waits to send may go on.
    /// Its owner and mode stay what they are now.
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | the queue does not exist (any more) |
    /// | `EPERM` | the caller is neither owner nor creator nor privileged; `bytes` is over `msgmnb`, and he has no `CAP_SYS_RESOURCE` |
    ///
    /// # References
    ///
    /// msgctl(2)
    #[doc(alias = "msg_qbytes")]
    pub fn set_capacity(&self, bytes: u64) -> Result<()> {
        self.change(|stat| stat.capacity = bytes).map_err(|e| {
            let (error, msgmnb) = (self.error("change", e), self.ns.limits().unwrap_or_default().msgmnb);
            if e == Errno::PERM && bytes > u64::from(msgmnb) { capacity_error(error, bytes, msgmnb) } else { error }
        })
    }

    /// `IPC_RMID`: removes it with all messages; whoever waits gets `EIDRM`.
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
    pub fn remove(&self) -> Result<()> {
        self.ns.msg_remove(self.id.raw()).map_err(|e| self.error("remove", e))
    }

    /// `IPC_SET`, of some of what it sets.
    fn change(&self, change: impl FnOnce(&mut QueueStat)) -> std::result::Result<(), Errno> {
        // Asks for no right.
        let mut stat = self.ns.msg_stat_index(self.id.index().into(), true)?;
        if stat.id != self.id {
            return Err(Errno::INVAL);
        }
        change(&mut stat);
        self.ns.msg_set(self.id.raw(), stat.perm.uid, stat.perm.gid, stat.perm.mode, stat.capacity)
    }

    fn send_until(&self, mtype: i64, data: &[u8], deadline: Option<Instant>) -> std::result::Result<(), Errno> {
        common::through_signals(deadline, |timeout| self.ns.msgsnd(self.id.raw(), mtype, data, MsgFlags::empty(), timeout))
    }

    fn receive_until(&self, select: Select, deadline: Option<Instant>) -> std::result::Result<Message, Errno> {
        common::through_signals(deadline, |timeout| self.take(select, MsgFlags::empty(), timeout))
    }

    fn take(&self, select: Select, flags: MsgFlags, timeout: Option<Duration>) -> std::result::Result<Message, Errno> {
        let (mtype, except) = select.raw()?;
        let (mtype, data) = self.ns.take(self.id.raw(), mtype, flags | except, timeout)?;
        Ok(Message { mtype, data })
    }

    fn sent(&self, mtype: i64, data: &[u8], done: std::result::Result<(), Errno>) -> Result<bool> {
        match done {
            Ok(()) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(e) => Err(self.sending_error(mtype, data, e)),
        }
    }

    fn received(&self, select: Select, done: std::result::Result<Message, Errno>) -> Result<Option<Message>> {
        match done {
            Ok(message) => Ok(Some(message)),
            Err(Errno::NOMSG) => Ok(None),
            Err(e) => Err(self.receiving_error(select, e)),
        }
    }

    fn sending_error(&self, mtype: i64, data: &[u8], errno: Errno) -> Error {
        let error = self.error("send to", errno);
        let msgmax = self.ns.limits().unwrap_or_default().msgmax;
        match errno {
            Errno::INVAL if mtype < 1 => error.reason(format!("a message's type is 1 or more, not {mtype}")),
            Errno::INVAL if data.len() > msgmax as usize => error
                .reason(format!("{} bytes are more than the limit msgmax, {msgmax}", data.len()))
                .hint("raise it with 'quintet namespace limits --msgmax'"),
            Errno::NOMEM => error
                .reason("the file system of the namespace has no room for the message")
                .hint("'quintet doctor' tells how much there is"),
            _ => error,
        }
    }

    pub(super) fn receiving_error(&self, select: Select, errno: Errno) -> Error {
        let error = self.error("receive from", errno);
        match (errno, select) {
            (Errno::INVAL, Select::Type(n) | Select::LowestUpTo(n) | Select::NotType(n)) if n < 1 => {
                error.reason(format!("a message's type is 1 or more, not {n}"))
            }
            (Errno::NOMEM, _) => error.reason("there is no memory for the message, or no room for the waiting call"),
            _ => error,
        }
    }

    fn looking_error(&self, errno: Errno) -> Error {
        let error = self.error("look into", errno);
        if errno == Errno::NOSYS { error.reason("the kernel was built without MSG_COPY") } else { error }
    }

    pub(super) fn error(&self, verb: &str, errno: Errno) -> Error {
        let error = common::error(verb, "queue", self.id, errno);
        match errno {
            Errno::OPNOTSUPP => {
                error.reason("the kernel's queues know no timeout").hint("wait without end or not at all, or use a directory")
            }
            _ => error,
        }
    }
}
