//! The state of segments, as `IPC_STAT` and `quintet ls` report it.

use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::permissions::Permissions;
use bitflags::bitflags;

bitflags! {
    /// The state bits of `shm_perm.mode`, above the nine bits of the access mode.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
    /// use quintet::{Key, Kind, ModeFlags, Namespace, Segment};
    /// let ns = Namespace::create(&path, Kind::Private)?;
    /// let segment = Segment::open_or_create(&ns, Key::new(0x5eed), 4096)?;
    /// let attached = segment.attach()?;
    /// segment.remove()?;
    /// assert_eq!(segment.stat()?.flags, ModeFlags::DEST);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct ModeFlags: u32 {
        /// `SHM_DEST`: marked for destruction; the last detach destroys it.
        const DEST = 0o1000;
        /// `SHM_LOCKED`: its pages stay in memory.
        const LOCKED = 0o2000;
    }
}

/// The state of a segment: `struct shmid_ds`.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
/// use quintet::{Key, Kind, Namespace, Segment};
/// let ns = Namespace::create(&path, Kind::Private)?;
/// let segment = Segment::open_or_create(&ns, Key::new(0x5eed), 100)?;
/// let attached = segment.attach()?;
/// let stat = segment.stat()?;
/// assert_eq!((stat.size, stat.nattch), (100, 1));
/// # Ok::<(), quintet::Error>(())
/// ```
///
/// # References
///
/// shmctl(2)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[doc(alias = "shmid_ds")]
pub struct SegmentStat {
    /// The key; [`Key::PRIVATE`] after the segment was marked for destruction.
    pub key: Key,
    /// The identifier.
    pub id: Id,
    /// Owner, creator and access mode.
    pub perm: Permissions,
    /// The state bits: `SHM_DEST`, `SHM_LOCKED`.
    pub flags: ModeFlags,
    /// The size that the creator asked for, in bytes, 1 or more.
    pub size: u64,
    /// The time of the last attach, in seconds since the Epoch; 0 if there was none.
    pub atime: i64,
    /// The time of the last detach, in seconds since the Epoch; 0 if there was none.
    pub dtime: i64,
    /// The time of creation or of the last `IPC_SET`, in seconds since the Epoch.
    pub ctime: i64,
    /// The creator's process id.
    pub cpid: i32,
    /// The process id of the last attach or detach; 0 if there was none.
    pub lpid: i32,
    /// The number of attachments.
    pub nattch: u64,
}

/// A process that has attached a segment.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
/// use quintet::{Key, Kind, Namespace, Segment};
/// let ns = Namespace::create(&path, Kind::Private)?;
/// let attached = Segment::open_or_create(&ns, Key::new(0x5eed), 100)?.attach()?;
/// let attacher = ns.segments()?[0].attached[0];
/// assert_eq!((attacher.pid, attacher.count), (std::process::id() as i32, 1));
/// # Ok::<(), quintet::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attacher {
    /// The process id, in the process's own PID namespace.
    pub pid: i32,
    /// The effective user id when the process began to use the namespace.
    pub uid: u32,
    /// The number of its attachments, 1..=65535.
    pub count: u32,
    /// `true` if the process is in the caller's PID namespace, so that the caller can use `pid`.
    pub pid_visible: bool,
}

/// A segment as `quintet ls` shows it.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
/// use quintet::{Key, Kind, Namespace, Segment};
/// let ns = Namespace::create(&path, Kind::Private)?;
/// Segment::open_or_create(&ns, Key::new(0x5eed), 100)?;
/// let segments = ns.segments()?;
/// assert_eq!(segments.len(), 1);
/// assert!(segments[0].attached.is_empty());
/// assert!(!segments[0].orphan); // its creator is this process
/// # Ok::<(), quintet::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentStatus {
    /// The state that `IPC_STAT` returns.
    pub stat: SegmentStat,
    /// The attached processes.
    pub attached: Vec<Attacher>,
    /// `true` if no process is attached and the creator has exited.
    pub orphan: bool,
    /// The bytes of memory or disk that the segment uses now.
    pub resident: u64,
}

/// What the segments of a namespace use now: `SHM_INFO`.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
/// use quintet::{Key, Kind, Namespace, Segment};
/// let ns = Namespace::create(&path, Kind::Private)?;
/// Segment::open_or_create(&ns, Key::new(0x5eed), 10000)?;
/// let usage = ns.shm_usage()?;
/// assert_eq!((usage.segments, usage.pages), (1, 3));
/// # Ok::<(), quintet::Error>(())
/// ```
///
/// # References
///
/// shmctl(2), `struct shm_info`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[doc(alias = "shm_info")]
pub struct ShmUsage {
    /// The number of segments, including those marked for destruction.
    pub segments: u32,
    /// The sum of their sizes, in pages of 4096 bytes.
    pub pages: u64,
    /// The number of pages in memory.
    pub resident: u64,
    /// The number of pages in swap; 0 if the file system does not report it.
    pub swapped: u64,
    /// The highest index in use; 0 if there is no segment.
    pub max_index: u32,
}
