//! The limits of a namespace, and what `IPC_INFO` and `SHM_INFO` tell.

/// The limits of a namespace: its `/proc/sys/kernel/shm*`, `/proc/sys/kernel/sem` and `/proc/sys/kernel/msg*`.
///
/// # References
///
/// shmget(2), semget(2), msgget(2), proc(5)
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
    /// The greatest number of semaphores in one set, 0..=65535.
    pub semmsl: u32,
    /// The greatest number of semaphores in all sets.
    pub semmns: u32,
    /// The greatest number of operations in one `semop`, 0..=[`Limits::MOST_SEMOPM`].
    pub semopm: u32,
    /// The greatest number of sets, 0..=32768.
    pub semmni: u32,
    /// The greatest length of one message, in bytes, at most `2^31 - 1`.
    pub msgmax: u32,
    /// How many bytes a new queue takes, at most `2^31 - 1`: its `msg_qbytes`.
    pub msgmnb: u32,
    /// The greatest number of queues, 0..=32768.
    pub msgmni: u32,
}

impl Limits {
    /// The kernel's defaults: `ULONG_MAX - 2^24` bytes, as many pages, 4096 segments; 32000 sets of up to
    /// 32000 semaphores, 500 operations a call; 32000 queues of
    /// 16384 bytes, 8192 bytes a message.
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

    /// The greatest value a semaphore can have, `SEMVMX`.
    pub const SEMVMX: u16 = 32767;

    /// The greatest `semmsl`.
    pub const MOST_SEMMSL: u32 = 65535;

    /// The greatest `semopm`: what a waiting call can keep in the set's file.
    pub const MOST_SEMOPM: u32 = 500;
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}
