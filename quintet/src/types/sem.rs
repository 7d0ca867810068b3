//! What `IPC_STAT` and `ls` tell of a set.

use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::permissions::Permissions;
use bitflags::bitflags;

/// A set's state: `struct semid_ds`.
///
/// # References
///
/// semctl(2)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[doc(alias = "semid_ds")]
pub struct SetStat {
    /// The key.
    pub key: Key,
    /// The identifier.
    pub id: Id,
    /// Owner, creator, access mode.
    pub perm: Permissions,
    /// The last `semop`, in seconds since the Epoch; 0: never.
    pub otime: i64,
    /// Creation, or the last `IPC_SET`, `SETVAL` or `SETALL`, in seconds since the Epoch.
    pub ctime: i64,
    /// How many semaphores it has.
    pub nsems: u32,
}

/// One semaphore of a set, as `ls` and `stat` show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SemaphoreStatus {
    /// `semval`, 0..=32767.
    pub value: u16,
    /// `sempid`: the process that last changed it; 0: none yet.
    pub pid: i32,
    /// `semncnt`: how many wait for it to grow.
    pub waiting: u32,
    /// `semzcnt`: how many wait for it to become zero.
    pub waiting_for_zero: u32,
}

/// A call of `semop` that waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SemWaiter {
    /// The process, as it sees itself.
    pub pid: i32,
    /// The thread.
    pub tid: i32,
    /// Its user id when it began to use the namespace.
    pub uid: u32,
    /// Whether `pid` and `tid` mean something to the caller: all are in the same PID namespace.
    pub pid_visible: bool,
    /// What it wants done, all or nothing.
    pub ops: Vec<SemOp>,
    /// The index into `ops` of the first one that could not proceed when it was last judged.
    pub blocking: usize,
    /// Since when, in nanoseconds since the Epoch.
    pub since: u64,
}

/// What will be taken back when a process ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SemUndo {
    /// The process, as it sees itself.
    pub pid: i32,
    /// Its user id when it began to use the namespace.
    pub uid: u32,
    /// Whether `pid` means something to the caller: both are in the same PID namespace.
    pub pid_visible: bool,
    /// The semaphores and what will be added to each (`semadj`); only those other than 0.
    pub adjustments: Vec<(u16, i16)>,
}

/// A set as `ls` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetStatus {
    /// Its `semid_ds`.
    pub stat: SetStat,
    /// Its semaphores.
    pub semaphores: Vec<SemaphoreStatus>,
    /// Who waits, the longest first; empty for the kernel's sets, which do not tell.
    pub waiters: Vec<SemWaiter>,
    /// Who has something to be taken back; empty for the kernel's sets, which do not tell.
    pub undo: Vec<SemUndo>,
    /// Nobody waits, nobody has anything to be taken back, and the process that created it is gone.
    pub orphan: bool,
}

/// What `SEM_INFO` tells: what the sets of a namespace use now.
///
/// # References
///
/// semctl(2), `struct seminfo`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SemUsage {
    /// The number of sets (`semusz`).
    pub sets: u32,
    /// The number of semaphores in all sets (`semaem`).
    pub semaphores: u32,
    /// The highest index in use, 0 if none is.
    pub max_index: u32,
}

bitflags! {
    /// The flags of an operation. Unknown bits are ignored, as the kernel ignores them.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct SemFlags: i16 {
        /// `IPC_NOWAIT`: fail with `EAGAIN` instead of waiting.
        const NOWAIT = 0o4000;
        /// `SEM_UNDO`: taken back when the process ends, however it ends.
        const UNDO = 0x1000;
        const _ = !0;
    }
}

/// One operation on one semaphore of a set: `struct sembuf`, and laid out like it.
///
/// ```
/// use quintet::{SemFlags, SemOp};
/// let take = SemOp::new(0, -1).flags(SemFlags::UNDO);
/// assert_eq!((take.num, take.op), (0, -1));
/// assert_eq!(take.to_string(), "0:-1u");
/// ```
///
/// # References
///
/// semop(2)
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(C)]
#[doc(alias = "sembuf")]
pub struct SemOp {
    /// Which semaphore of the set, from 0.
    pub num: u16,
    /// What to add to its value. Below 0: waits until the value is large enough. 0: waits until the value is 0.
    pub op: i16,
    /// `IPC_NOWAIT`, `SEM_UNDO`.
    pub flags: SemFlags,
}

impl SemOp {
    /// Adds `op` to semaphore `num`, or waits for zero if `op` is 0.
    pub const fn new(num: u16, op: i16) -> SemOp {
        SemOp { num, op, flags: SemFlags::empty() }
    }

    /// The same with these flags.
    pub const fn flags(self, flags: SemFlags) -> SemOp {
        SemOp { flags, ..self }
    }
}

/// `NUM:OP` with an explicit sign, then `n` for `IPC_NOWAIT` and `u` for `SEM_UNDO`.
impl std::fmt::Display for SemOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.op {
            0 => write!(f, "{}:0", self.num)?,
            op => write!(f, "{}:{op:+}", self.num)?,
        }
        if self.flags.contains(SemFlags::NOWAIT) {
            f.write_str("n")?;
        }
        if self.flags.contains(SemFlags::UNDO) {
            f.write_str("u")?;
        }
        Ok(())
    }
}
