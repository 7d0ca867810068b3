//! The state of semaphore sets, as `IPC_STAT` and `quintet ls` report it, and operations on them.

use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::permissions::Permissions;
use bitflags::bitflags;

/// The state of a set: `struct semid_ds`.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
/// use quintet::{Key, Kind, Namespace, SemaphoreSet};
/// let ns = Namespace::create(&path, Kind::Private)?;
/// let set = SemaphoreSet::create(&ns, Key::new(0x5eed), &[1, 2, 3])?;
/// let stat = set.stat()?;
/// assert_eq!((stat.key, stat.nsems), (Key::new(0x5eed), 3));
/// # Ok::<(), quintet::Error>(())
/// ```
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
    /// Owner, creator and access mode.
    pub perm: Permissions,
    /// The time of the last `semop`, in seconds since the Epoch; 0 if there was none.
    pub otime: i64,
    /// The time of creation, or of the last `IPC_SET`, `SETVAL` or `SETALL`, in seconds since the
    /// Epoch.
    pub ctime: i64,
    /// The number of semaphores, 1..=65535.
    pub nsems: u32,
}

/// One semaphore of a set, as `quintet ls` and `quintet stat` show it.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
/// use quintet::{Key, Kind, Namespace, SemOp, SemaphoreSet};
/// let ns = Namespace::create(&path, Kind::Private)?;
/// let set = SemaphoreSet::create(&ns, Key::new(0x5eed), &[1, 2])?;
/// set.op(&[SemOp::new(1, 3)])?;
/// let semaphore = ns.sets()?[0].semaphores[1];
/// assert_eq!((semaphore.value, semaphore.pid), (5, std::process::id() as i32));
/// # Ok::<(), quintet::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SemaphoreStatus {
    /// `semval`, 0..=32767.
    pub value: u16,
    /// `sempid`: the process id of the last operation; 0 if there was none.
    pub pid: i32,
    /// `semncnt`: the number of calls that wait until the value grows.
    pub waiting: u32,
    /// `semzcnt`: the number of calls that wait until the value is 0.
    pub waiting_for_zero: u32,
}

/// A blocked `semop`.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
/// use quintet::{Key, Kind, Namespace, SemOp, SemaphoreSet};
/// let ns = Namespace::create(&path, Kind::Private)?;
/// let set = SemaphoreSet::create(&ns, Key::new(0x5eed), &[0])?;
/// let blocked = set.clone();
/// let thread = std::thread::spawn(move || blocked.op(&[SemOp::new(0, -1)]));
/// while set.waiting(0)? == 0 {
///     std::thread::yield_now();
/// }
/// let waiter = ns.sets()?[0].waiters[0].clone();
/// assert_eq!((waiter.ops, waiter.blocking), (vec![SemOp::new(0, -1)], 0));
/// set.op(&[SemOp::new(0, 1)])?;
/// thread.join().unwrap()?;
/// # Ok::<(), quintet::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SemWaiter {
    /// The process id, in the process's own PID namespace.
    pub pid: i32,
    /// The thread id.
    pub tid: i32,
    /// The effective user id when the process began to use the namespace.
    pub uid: u32,
    /// `true` if the process is in the caller's PID namespace, so that the caller can use `pid` and
    /// `tid`.
    pub pid_visible: bool,
    /// The operations, all of which are done at once or not at all.
    pub ops: Vec<SemOp>,
    /// The index in `ops` of the first operation that could not proceed when the call was last
    /// tried.
    pub blocking: usize,
    /// The time when the call blocked, in nanoseconds since the Epoch.
    pub since: u64,
}

/// The adjustments that will be applied when a process exits (`SEM_UNDO`).
///
/// ```
/// # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
/// use quintet::{Key, Kind, Namespace, SemFlags, SemOp, SemaphoreSet};
/// let ns = Namespace::create(&path, Kind::Private)?;
/// let set = SemaphoreSet::create(&ns, Key::new(0x5eed), &[5])?;
/// set.op(&[SemOp::new(0, -2).flags(SemFlags::UNDO)])?;
/// let undo = &ns.sets()?[0].undo[0];
/// assert_eq!((undo.pid, &undo.adjustments[..]), (std::process::id() as i32, &[(0, 2)][..]));
/// # Ok::<(), quintet::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SemUndo {
    /// The process id, in the process's own PID namespace.
    pub pid: i32,
    /// The effective user id when the process began to use the namespace.
    pub uid: u32,
    /// `true` if the process is in the caller's PID namespace, so that the caller can use `pid`.
    pub pid_visible: bool,
    /// Pairs of a semaphore and the value that will be added to it (`semadj`), without those that
    /// are 0.
    pub adjustments: Vec<(u16, i16)>,
}

/// A set as `quintet ls` shows it.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
/// use quintet::{Key, Kind, Namespace, SemaphoreSet};
/// let ns = Namespace::create(&path, Kind::Private)?;
/// SemaphoreSet::create(&ns, Key::new(0x5eed), &[1, 2])?;
/// let sets = ns.sets()?;
/// assert_eq!(sets[0].semaphores.len(), 2);
/// assert!(sets[0].waiters.is_empty() && sets[0].undo.is_empty());
/// # Ok::<(), quintet::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetStatus {
    /// The state that `IPC_STAT` returns.
    pub stat: SetStat,
    /// The semaphores.
    pub semaphores: Vec<SemaphoreStatus>,
    /// The blocked calls, the oldest first. Empty for the kernel's sets, which do not report them.
    pub waiters: Vec<SemWaiter>,
    /// The adjustments of live processes. Empty for the kernel's sets, which do not report them.
    pub undo: Vec<SemUndo>,
    /// `true` if no call is blocked, no process has adjustments, and the creator has exited.
    pub orphan: bool,
}

/// What the sets of a namespace use now: `SEM_INFO`.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
/// use quintet::{Key, Kind, Namespace, SemaphoreSet};
/// let ns = Namespace::create(&path, Kind::Private)?;
/// SemaphoreSet::create(&ns, Key::new(0x5eed), &[1, 2])?;
/// let usage = ns.sem_usage()?;
/// assert_eq!((usage.sets, usage.semaphores), (1, 2));
/// # Ok::<(), quintet::Error>(())
/// ```
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
    /// The highest index in use; 0 if there is no set.
    pub max_index: u32,
}

bitflags! {
    /// The flags of an operation. Unknown bits are ignored, as in the kernel.
    ///
    /// ```
    /// use quintet::{SemFlags, SemOp};
    /// let op = SemOp::new(0, -1).flags(SemFlags::UNDO | SemFlags::NOWAIT);
    /// assert!(op.flags.contains(SemFlags::NOWAIT));
    /// ```
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct SemFlags: i16 {
        /// `IPC_NOWAIT`: the call fails with `EAGAIN` instead of blocking.
        const NOWAIT = 0o4000;
        /// `SEM_UNDO`: the operation is undone when the process exits or is killed.
        const UNDO = 0x1000;
        const _ = !0;
    }
}

/// One operation on one semaphore of a set: `struct sembuf`, with the same layout.
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
    /// The semaphore in the set, from 0.
    pub num: u16,
    /// The number to add to the value. If it is negative, the call waits until the value is large
    /// enough; if it is 0, until the value is 0.
    pub op: i16,
    /// The flags: `IPC_NOWAIT`, `SEM_UNDO`.
    pub flags: SemFlags,
}

impl SemOp {
    /// Creates an operation that adds `op` to semaphore `num`, or waits for zero if `op` is 0.
    ///
    /// ```
    /// assert_eq!(quintet::SemOp::new(2, 5).to_string(), "2:+5");
    /// ```
    pub const fn new(num: u16, op: i16) -> SemOp {
        SemOp { num, op, flags: SemFlags::empty() }
    }

    /// Returns the operation with these flags.
    ///
    /// ```
    /// use quintet::{SemFlags, SemOp};
    /// assert_eq!(SemOp::new(0, 0).flags(SemFlags::NOWAIT).to_string(), "0:0n");
    /// ```
    pub const fn flags(self, flags: SemFlags) -> SemOp {
        SemOp { flags, ..self }
    }
}

/// Formats as `NUM:OP` with an explicit sign, then `n` for `IPC_NOWAIT` and `u` for `SEM_UNDO`.
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
