//! The limits of a namespace.

/// The limits of a namespace.
///
/// They correspond to `/proc/sys/kernel/shm*`, `/proc/sys/kernel/sem` and `/proc/sys/kernel/msg*`,
/// and to what `IPC_INFO` returns.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
/// use quintet::{Kind, Limits, Namespace};
/// let ns = Namespace::create(&path, Kind::Private)?;
/// ns.set_limits(&Limits { msgmax: 65536, ..Limits::DEFAULT })?;
/// assert_eq!(ns.limits()?.msgmax, 65536);
/// # Ok::<(), quintet::Error>(())
/// ```
///
/// # References
///
/// shmget(2), semget(2), msgget(2), proc(5)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The greatest size of one segment, in bytes.
    pub shmmax: u64,
    /// The greatest sum of the sizes of all segments, in pages of 4096 bytes.
    pub shmall: u64,
    /// The greatest number of segments, 0..=32768.
    pub shmmni: u32,
    /// If `true`, a segment is destroyed when no process is attached any more, as if each segment
    /// were marked for destruction.
    pub shm_rmid_forced: bool,
    /// The greatest number of semaphores in one set, 0..=65535.
    pub semmsl: u32,
    /// The greatest number of semaphores in all sets.
    pub semmns: u32,
    /// The greatest number of operations in one `semop`, 0..=[`Limits::MAX_SEMOPM`].
    pub semopm: u32,
    /// The greatest number of sets, 0..=32768.
    pub semmni: u32,
    /// The greatest length of one message, in bytes, 0..=2147483647.
    pub msgmax: u32,
    /// The capacity of a new queue (`msg_qbytes`), in bytes, 0..=2147483647.
    pub msgmnb: u32,
    /// The greatest number of queues, 0..=32768.
    pub msgmni: u32,
}

impl Limits {
    /// The kernel's defaults.
    ///
    /// ```
    /// use quintet::Limits;
    /// assert_eq!((Limits::DEFAULT.shmmni, Limits::DEFAULT.semmni, Limits::DEFAULT.msgmni), (4096, 32000, 32000));
    /// assert_eq!(Limits::DEFAULT, Limits::default());
    /// ```
    pub const DEFAULT: Limits = Limits {
        shmmax: u64::MAX - (1 << 24),
        shmall: u64::MAX - (1 << 24),
        shmmni: 4096,
        shm_rmid_forced: false,
        semmsl: 32000,
        semmns: 1_024_000_000,
        semopm: 500,
        semmni: 32000,
        msgmax: 8192,
        msgmnb: 16384,
        msgmni: 32000,
    };

    /// The greatest value of a semaphore, `SEMVMX`.
    pub const SEMVMX: u16 = 32767;

    /// The greatest value of [`Limits::semmsl`].
    pub const MAX_SEMMSL: u32 = 65535;

    /// The greatest value of [`Limits::semopm`]. The set's file has room for so many operations of
    /// a blocked call.
    pub const MAX_SEMOPM: u32 = 500;
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}
