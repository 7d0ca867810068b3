//! What `IPC_STAT` and `ls` tell of an object.

use crate::{Id, Key};
use bitflags::bitflags;

bitflags! {
    /// The state bits that `shm_perm.mode` carries above the nine of the access mode.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct ModeFlags: u32 {
        /// `SHM_DEST`: removed, goes with the last detach.
        const DEST = 0o1000;
        /// `SHM_LOCKED`: kept out of swap.
        const LOCKED = 0o2000;
    }
}

/// Who owns an object and who may use it: `struct ipc_perm`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[doc(alias = "ipc_perm")]
pub struct Permissions {
    /// The owner's user id.
    pub uid: u32,
    /// The owner's group id.
    pub gid: u32,
    /// The creator's user id.
    pub cuid: u32,
    /// The creator's group id.
    pub cgid: u32,
    /// The access mode: the nine bits `rwxrwxrwx` and no others.
    pub mode: u32,
}

/// A segment's state: `struct shmid_ds`.
///
/// # References
///
/// shmctl(2)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[doc(alias = "shmid_ds")]
pub struct SegmentStat {
    /// The key, [`Key::PRIVATE`] also once the segment is marked for removal.
    pub key: Key,
    /// The identifier.
    pub id: Id,
    /// Owner, creator, access mode.
    pub perm: Permissions,
    /// `SHM_DEST`, `SHM_LOCKED`.
    pub flags: ModeFlags,
    /// The size in bytes, as asked for.
    pub size: u64,
    /// The last attach, in seconds since the Epoch; 0: never.
    pub atime: i64,
    /// The last detach, in seconds since the Epoch; 0: never.
    pub dtime: i64,
    /// Creation or the last `IPC_SET`, in seconds since the Epoch.
    pub ctime: i64,
    /// The creator's process id.
    pub cpid: i32,
    /// The process id of the last attach or detach; 0: none yet.
    pub lpid: i32,
    /// The number of attachments.
    pub nattch: u64,
}

/// A process that is attached to a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attacher {
    /// Its process id, as it sees itself.
    pub pid: i32,
    /// Its user id when it began to use the namespace.
    pub uid: u32,
    /// How many times it has the segment attached.
    pub count: u32,
    /// Whether `pid` means something to the caller: both are in the same PID namespace.
    pub pid_visible: bool,
}

/// A segment as `ls` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentStatus {
    /// Its `shmid_ds`.
    pub stat: SegmentStat,
    /// Who is attached.
    pub attached: Vec<Attacher>,
    /// Nobody is attached and the process that created it is gone.
    pub orphan: bool,
    /// The bytes of memory (or disk) that it holds now.
    pub resident: u64,
}
