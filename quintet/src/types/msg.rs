//! What `IPC_STAT` and `ls` tell of a queue.

use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::permissions::Permissions;
use bitflags::bitflags;

/// A queue's state: `struct msqid_ds`.
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
    /// Owner, creator, access mode.
    pub perm: Permissions,
    /// The last `msgsnd`, in seconds since the Epoch; 0: never.
    pub stime: i64,
    /// The last `msgrcv`, in seconds since the Epoch; 0: never.
    pub rtime: i64,
    /// Creation, or the last `IPC_SET`, in seconds since the Epoch.
    pub ctime: i64,
    /// `msg_cbytes`: the bytes of all messages in it.
    pub bytes: u64,
    /// `msg_qnum`: how many messages are in it.
    pub messages: u64,
    /// `msg_qbytes`: how many bytes, and how many messages, it takes.
    pub capacity: u64,
    /// The process of the last `msgsnd`; 0: none yet.
    pub lspid: i32,
    /// The process of the last `msgrcv`; 0: none yet.
    pub lrpid: i32,
}

/// A message in a queue, without its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageStat {
    /// Its type, 1 or more.
    pub mtype: i64,
    /// Its length in bytes.
    pub len: usize,
    /// The process that sent it, as it sees itself; 0: not known, as of the kernel's messages.
    pub sender: i32,
    /// When it was sent, in seconds since the Epoch; 0: not known, as of the kernel's messages.
    pub sent: i64,
}

/// The messages of one type in a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TypeCount {
    /// The type.
    pub mtype: i64,
    /// How many there are.
    pub messages: u64,
    /// The sum of their lengths.
    pub bytes: u64,
}

/// What a waiting call wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MsgWait {
    /// `msgsnd`: room for a message.
    Send {
        /// The message's type.
        mtype: i64,
        /// The message's length in bytes.
        len: usize,
    },
    /// `msgrcv`: a message.
    Receive {
        /// As the call's `msgtyp`.
        mtype: i64,
        /// Of these `MSG_EXCEPT` and `MSG_NOERROR` matter.
        flags: MsgFlags,
        /// The size of its buffer in bytes.
        size: usize,
    },
}

/// A call of `msgsnd` or `msgrcv` that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MsgWaiter {
    /// The process, as it sees itself.
    pub pid: i32,
    /// The thread.
    pub tid: i32,
    /// Its user id when it began to use the namespace.
    pub uid: u32,
    /// Whether `pid` and `tid` mean something to the caller: all are in the same PID namespace.
    pub pid_visible: bool,
    /// What it waits for.
    pub wants: MsgWait,
    /// Since when, in nanoseconds since the Epoch.
    pub since: u64,
}

/// A queue as `ls` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueueStatus {
    /// Its `msqid_ds`.
    pub stat: QueueStat,
    /// The oldest message, unless it is empty, or the kernel does not tell.
    pub oldest: Option<MessageStat>,
    /// How many messages of which type, the lowest type first. Empty if the caller may not read the queue, or the kernel does not tell.
    pub types: Vec<TypeCount>,
    /// Who waits, receivers before senders and each in the order in which they will be served; empty for the kernel's queues, which do not tell.
    pub waiters: Vec<MsgWaiter>,
    /// It is empty, nobody waits, and the process that created it is gone.
    pub orphan: bool,
}

/// A queue that is damaged, and what it is when it has been made anew from what its messages say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueRepair {
    /// The queue.
    pub id: Id,
    /// How many messages it has then.
    pub messages: u64,
    /// How many it said it had.
    pub said: u64,
}

/// What `MSG_INFO` tells: what the queues of a namespace hold now.
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
    /// The bytes in all queues (`msgtql`).
    pub bytes: u64,
    /// The highest index in use, 0 if none is.
    pub max_index: u32,
}

bitflags! {
    /// The flags of `msgsnd` and `msgrcv`. Unknown bits are ignored, as the kernel ignores them.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct MsgFlags: i32 {
        /// `IPC_NOWAIT`: fail with `EAGAIN` (no room) or `ENOMSG` (no message) instead of waiting.
        const NOWAIT = 0o4000;
        /// `MSG_NOERROR`: a message that is longer than the buffer is cut off, and the rest lost; else it stays, and the call fails with `E2BIG`.
        const NOERROR = 0o10000;
        /// `MSG_EXCEPT`: the first message that is not of the type.
        const EXCEPT = 0o20000;
        /// `MSG_COPY`: a copy of the message at the position that the type names, from 0. Only with `IPC_NOWAIT`, and without `MSG_EXCEPT`.
        const COPY = 0o40000;
        const _ = !0;
    }
}
