//! The limits of a namespace, and what `IPC_INFO` and `SHM_INFO` tell.

/// The limits on shared memory: `/proc/sys/kernel/shm*` of this namespace.
///
/// # References
///
/// shmget(2), proc(5)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The greatest size of one segment, in bytes.
    pub shmmax: u64,
    /// The greatest sum of all segments, in pages of 4096 bytes.
    pub shmall: u64,
    /// The greatest number of segments, 0..=32768.
    pub shmmni: u32,
    /// Whether a segment goes when nobody is attached to it any more, as if each were removed at its creation.
    pub shm_rmid_forced: bool,
}

impl Limits {
    /// The kernel's defaults: `ULONG_MAX - 2^24` bytes, as many pages, 4096 segments.
    pub const DEFAULT: Limits =
        Limits { shmmax: u64::MAX - (1 << 24), shmall: u64::MAX - (1 << 24), shmmni: 4096, shm_rmid_forced: false };
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
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
