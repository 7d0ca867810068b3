//! The state of message queues, as `IPC_STAT` and `quintet ls` report it.

use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::permissions::Permissions;
use bitflags::bitflags;

/// The state of a queue: `struct msqid_ds`.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
/// use quintet::{Key, Kind, MessageQueue, Namespace};
/// let ns = Namespace::create(&path, Kind::Private)?;
/// let queue = MessageQueue::open_or_create(&ns, Key::new(0x5eed))?;
/// queue.send(1, b"hello")?;
/// let stat = queue.stat()?;
/// assert_eq!((stat.messages, stat.bytes, stat.lspid), (1, 5, std::process::id() as i32));
/// # Ok::<(), quintet::Error>(())
/// ```
///
/// # References
///
/// msgctl(2)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[doc(alias = "msqid_ds")]
pub struct QueueStat {
    /// The key.
    pub key: Key,
    /// The identifier.
    pub id: Id,
    /// Owner, creator and access mode.
    pub perm: Permissions,
    /// The time of the last `msgsnd`, in seconds since the Epoch; 0 if there was none.
    pub stime: i64,
    /// The time of the last `msgrcv`, in seconds since the Epoch; 0 if there was none.
    pub rtime: i64,
    /// The time of creation or of the last `IPC_SET`, in seconds since the Epoch.
    pub ctime: i64,
    /// `msg_cbytes`: the sum of the lengths of its messages, in bytes.
    pub bytes: u64,
    /// `msg_qnum`: the number of its messages.
    pub messages: u64,
    /// `msg_qbytes`: the greatest value of `bytes`, and also of `messages`.
    pub capacity: u64,
    /// The process id of the last `msgsnd`; 0 if there was none.
    pub lspid: i32,
    /// The process id of the last `msgrcv`; 0 if there was none.
    pub lrpid: i32,
}

/// A message in a queue, without its bytes.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
/// use quintet::{Key, Kind, MessageQueue, Namespace};
/// let ns = Namespace::create(&path, Kind::Private)?;
/// let queue = MessageQueue::open_or_create(&ns, Key::new(0x5eed))?;
/// queue.send(7, b"hello")?;
/// let oldest = ns.queues()?[0].oldest.unwrap();
/// assert_eq!((oldest.mtype, oldest.len), (7, 5));
/// # Ok::<(), quintet::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageStat {
    /// The type, 1 or more.
    pub mtype: i64,
    /// The length in bytes.
    pub len: usize,
    /// The sender's process id, in its own PID namespace; 0 for the kernel's messages, which do not
    /// report it.
    pub sender: i32,
    /// The time of the `msgsnd`, in seconds since the Epoch; 0 for the kernel's messages.
    pub sent: i64,
}

/// The number of messages of one type in a queue.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
/// use quintet::{Key, Kind, MessageQueue, Namespace};
/// let ns = Namespace::create(&path, Kind::Private)?;
/// let queue = MessageQueue::open_or_create(&ns, Key::new(0x5eed))?;
/// queue.send(7, b"hello")?;
/// queue.send(7, b"world")?;
/// let seven = ns.queues()?[0].types[0];
/// assert_eq!((seven.mtype, seven.messages, seven.bytes), (7, 2, 10));
/// # Ok::<(), quintet::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TypeCount {
    /// The type, 1 or more.
    pub mtype: i64,
    /// The number of messages.
    pub messages: u64,
    /// The sum of their lengths, in bytes.
    pub bytes: u64,
}

/// What a blocked call waits for. [`MsgWaiter`] has an example.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MsgWait {
    /// A `msgsnd` waits for room.
    Send {
        /// The type of its message.
        mtype: i64,
        /// The length of its message, in bytes.
        len: usize,
    },
    /// A `msgrcv` waits for a message.
    Receive {
        /// The `msgtyp` of the call.
        mtype: i64,
        /// The flags of the call, of which `MSG_EXCEPT` and `MSG_NOERROR` matter here.
        flags: MsgFlags,
        /// The size of its buffer, in bytes.
        size: usize,
    },
}

/// A blocked `msgsnd` or `msgrcv`.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
/// use quintet::{Key, Kind, MessageQueue, MsgWait, Namespace, Select};
/// let ns = Namespace::create(&path, Kind::Private)?;
/// let queue = MessageQueue::open_or_create(&ns, Key::new(0x5eed))?;
/// let blocked = queue.clone();
/// let thread = std::thread::spawn(move || blocked.receive(Select::First));
/// let waiter = loop {
///     if let Some(waiter) = ns.queues()?[0].waiters.first() {
///         break *waiter;
///     }
///     std::thread::yield_now();
/// };
/// assert!(matches!(waiter.wants, MsgWait::Receive { mtype: 0, .. }));
/// queue.send(1, b"hello")?;
/// thread.join().unwrap()?;
/// # Ok::<(), quintet::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MsgWaiter {
    /// The process id, in the process's own PID namespace.
    pub pid: i32,
    /// The thread id.
    pub tid: i32,
    /// The effective user id when the process began to use the namespace.
    pub uid: u32,
    /// `true` if the process is in the caller's PID namespace, so that the caller can use `pid` and
    /// `tid`.
    pub pid_visible: bool,
    /// What the call waits for.
    pub wants: MsgWait,
    /// The time when the call blocked, in nanoseconds since the Epoch.
    pub since: u64,
}

/// A queue as `quintet ls` shows it.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
/// use quintet::{Key, Kind, MessageQueue, Namespace};
/// let ns = Namespace::create(&path, Kind::Private)?;
/// MessageQueue::open_or_create(&ns, Key::new(0x5eed))?;
/// let queues = ns.queues()?;
/// assert_eq!(queues[0].stat.key, Key::new(0x5eed));
/// assert!(queues[0].oldest.is_none() && queues[0].waiters.is_empty());
/// # Ok::<(), quintet::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueueStatus {
    /// The state that `IPC_STAT` returns.
    pub stat: QueueStat,
    /// The oldest message. `None` if the queue is empty, and for the kernel's queues, which do not
    /// report it.
    pub oldest: Option<MessageStat>,
    /// The number of messages of each type, the lowest type first. Empty if the caller has no read
    /// permission, and for the kernel's queues.
    pub types: Vec<TypeCount>,
    /// The blocked calls: receivers, then senders, each in the order in which they will be served.
    /// Empty for the kernel's queues.
    pub waiters: Vec<MsgWaiter>,
    /// `true` if the queue is empty, no call is blocked, and the creator has exited.
    pub orphan: bool,
}

/// A damaged queue, and the result of rebuilding it from its messages.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
/// use quintet::{Kind, Namespace};
/// let ns = Namespace::create(&path, Kind::Private)?;
/// for damaged in ns.damaged_queues()? {
///     println!("queue {}: {} of {} messages are left", damaged.id, damaged.messages, damaged.claimed);
/// }
/// # Ok::<(), quintet::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueRepair {
    /// The identifier of the queue.
    pub id: Id,
    /// The number of messages after rebuilding.
    pub messages: u64,
    /// The number of messages that the damaged queue claims to have.
    pub claimed: u64,
}

/// What the queues of a namespace use now: `MSG_INFO`.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
/// use quintet::{Key, Kind, MessageQueue, Namespace};
/// let ns = Namespace::create(&path, Kind::Private)?;
/// MessageQueue::open_or_create(&ns, Key::new(0x5eed))?.send(1, b"hello")?;
/// let usage = ns.msg_usage()?;
/// assert_eq!((usage.queues, usage.messages, usage.bytes), (1, 1, 5));
/// # Ok::<(), quintet::Error>(())
/// ```
///
/// # References
///
/// msgctl(2), `struct msginfo`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MsgUsage {
    /// The number of queues (`msgpool`).
    pub queues: u32,
    /// The number of messages in all queues (`msgmap`).
    pub messages: u64,
    /// The sum of the lengths of all messages, in bytes (`msgtql`).
    pub bytes: u64,
    /// The highest index in use; 0 if there is no queue.
    pub max_index: u32,
}

bitflags! {
    /// The flags of `msgsnd` and `msgrcv`. Unknown bits are ignored, as in the kernel.
    ///
    /// ```
    /// use quintet::MsgFlags;
    /// assert_eq!((MsgFlags::NOWAIT | MsgFlags::COPY).bits(), 0o44000);
    /// ```
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct MsgFlags: i32 {
        /// `IPC_NOWAIT`: the call fails with `EAGAIN` (no room) or `ENOMSG` (no message) instead of
        /// blocking.
        const NOWAIT = 0o4000;
        /// `MSG_NOERROR`: a message that is longer than the buffer is truncated. Without this flag,
        /// it stays in the queue, and the call fails with `E2BIG`.
        const NOERROR = 0o10000;
        /// `MSG_EXCEPT`: receives the first message of another type.
        const EXCEPT = 0o20000;
        /// `MSG_COPY`: copies the message at the position that the type gives, from 0. It requires
        /// `IPC_NOWAIT` and excludes `MSG_EXCEPT`.
        const COPY = 0o40000;
        const _ = !0;
    }
}
