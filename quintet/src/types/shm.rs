//! What `IPC_STAT` and `ls` tell of an object.

use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::permissions::Permissions;
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

/// What `SHM_INFO` tells: what the segments of a namespace use now.
///
/// # References
///
/// shmctl(2), `struct shm_info`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[doc(alias = "shm_info")]
pub struct Usage {
    /// The number of segments, those marked for removal included.
    pub segments: u32,
    /// The sum of their sizes, in pages.
    pub pages: u64,
    /// The pages that are in memory.
    pub resident: u64,
    /// The pages that are swapped out; 0 where the file system does not tell.
    pub swapped: u64,
    /// The highest index in use, 0 if none is.
    pub max_index: u32,
}
