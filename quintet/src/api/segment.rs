//! The safe face of a segment.

use crate::api::attachment::Attachment;
use crate::api::common;
use crate::api::namespace::Namespace;
use crate::types::error::{Errno, Error, Result};
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::shm::SegmentStat;

/// A segment of shared memory, by its identifier. Holding one keeps nothing: a segment lives
/// until it is removed, as System V says.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
/// use quintet::{Key, Segment};
/// let memory = Segment::create(&ns, Key::PRIVATE, 100)?.attach()?;
/// memory.write(0, b"bytes")?;
/// assert_eq!(memory.to_vec(0..5)?, b"bytes");
/// # Ok::<(), quintet::Error>(())
/// ```
///
/// # References
///
/// shmget(2), shmop(2), shmctl(2)
#[derive(Clone, Debug)]
pub struct Segment {
    ns: Namespace,
    id: Id,
}

/// How a segment is created: see [`Segment::options`].
#[derive(Clone, Debug)]
pub struct SegmentOptions {
    mode: u32,
    exclusive: bool,
    huge: bool,
    no_reserve: bool,
}

impl SegmentOptions {
    /// The access mode, nine bits `rwxrwxrwx`; 0o600 if not given.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode & 0o777;
        self
    }

    /// Fails with `EEXIST` if the key is in use (`IPC_EXCL`).
    pub fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    /// Huge pages (`SHM_HUGETLB`).
    #[doc(alias = "SHM_HUGETLB")]
    pub fn huge_pages(mut self) -> Self {
        self.huge = true;
        self
    }

    /// Promises no memory (`SHM_NORESERVE`): a write may fail later, with SIGBUS, if the file system is full then.
    #[doc(alias = "SHM_NORESERVE")]
    pub fn no_reserve(mut self) -> Self {
        self.no_reserve = true;
        self
    }

    /// Creates the segment of `key` with `size` bytes (1..=`shmmax`), or opens the one that is there.
    ///
    /// # Errors
    ///
    /// As [`Namespace::shmget`].
    pub fn create(&self, ns: &Namespace, key: Key, size: u64) -> Result<Segment> {
        let mut flags = self.mode as i32 | libc::IPC_CREAT;
        for (wanted, flag) in
            [(self.exclusive, libc::IPC_EXCL), (self.huge, libc::SHM_HUGETLB), (self.no_reserve, libc::SHM_NORESERVE)]
        {
            if wanted {
                flags |= flag;
            }
        }
        let id = ns.shmget(key, size, flags).map_err(|e| creation_error(ns, key, size, e))?;
        Ok(Segment { ns: ns.clone(), id })
    }
}

fn creation_error(ns: &Namespace, key: Key, size: u64, errno: Errno) -> Error {
    let error = Error::new(errno, format!("cannot create a segment of {size} bytes with key {key}"));
    let limits = ns.limits().unwrap_or_default();
    match errno {
        Errno::INVAL if size == 0 => error.reason("a segment has at least 1 byte"),
        Errno::INVAL if size > limits.shmmax => error
            .reason(format!("the limit shmmax is {} bytes", limits.shmmax))
            .hint("raise it with 'quintet namespace limits --shmmax'"),
        Errno::INVAL => error.reason("a smaller segment has this key"),
        Errno::NOSPC => error
            .reason(format!("the limit shmmni ({} segments) or shmall ({} pages) is reached", limits.shmmni, limits.shmall))
            .hint("remove segments, or raise the limit with 'quintet namespace limits'"),
        _ => common::creation_error(errno, error),
    }
}

impl Segment {
    /// Choices for creating a segment.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, Segment};
    /// let segment = Segment::options().mode(0o640).exclusive().create(&ns, Key::new(5), 1 << 20)?;
    /// assert_eq!(segment.stat()?.perm.mode, 0o640);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn options() -> SegmentOptions {
        SegmentOptions { mode: 0o600, exclusive: false, huge: false, no_reserve: false }
    }

    /// Creates the segment of `key` with `size` bytes and mode 0600, or opens the one that is there.
    ///
    /// # Errors
    ///
    /// As [`Namespace::shmget`].
    pub fn create(ns: &Namespace, key: Key, size: u64) -> Result<Segment> {
        Segment::options().create(ns, key, size)
    }

    /// Creates a segment, and fails with `EEXIST` if the key is in use.
    ///
    /// # Errors
    ///
    /// As [`Namespace::shmget`].
    pub fn create_new(ns: &Namespace, key: Key, size: u64) -> Result<Segment> {
        Segment::options().exclusive().create(ns, key, size)
    }

    /// Opens the segment of `key`.
    ///
    /// # Errors
    ///
    /// `ENOENT` no segment has the key.
    pub fn open(ns: &Namespace, key: Key) -> Result<Segment> {
        let id = common::open("segment", key, || ns.shmget(key, 0, 0))?;
        Ok(Segment { ns: ns.clone(), id })
    }

    /// Opens a segment by its identifier.
    ///
    /// # Errors
    ///
    /// `EINVAL` no segment has the identifier.
    pub fn open_id(ns: &Namespace, id: Id) -> Result<Segment> {
        common::open_id("segment", id, ns.shm_stat_index(i32::from(id.index()), true).map(|stat| stat.id))?;
        Ok(Segment { ns: ns.clone(), id })
    }

    /// The identifier.
    pub fn id(&self) -> Id {
        self.id
    }

    /// The namespace it is in.
    pub fn namespace(&self) -> &Namespace {
        &self.ns
    }

    /// Attaches the segment for reading and writing.
    ///
    /// # Errors
    ///
    /// As [`Namespace::shmat`].
    pub fn attach(&self) -> Result<Attachment> {
        Attachment::new(self, false)
    }

    /// Attaches the segment for reading only: the memory cannot be made writable later.
    ///
    /// # Errors
    ///
    /// As [`Namespace::shmat`].
    pub fn attach_read_only(&self) -> Result<Attachment> {
        Attachment::new(self, true)
    }

    /// `IPC_STAT`: size, owner, times, who was last, how many are attached.
    ///
    /// # Errors
    ///
    /// As [`Namespace::shm_stat`].
    pub fn stat(&self) -> Result<SegmentStat> {
        self.ns.shm_stat(self.id.raw()).map_err(|e| self.error("read the state of", e))
    }

    /// `IPC_SET`: gives it another owner, group and access mode.
    ///
    /// # Errors
    ///
    /// As [`Namespace::shm_set`].
    pub fn set_permissions(&self, uid: u32, gid: u32, mode: u32) -> Result<()> {
        self.ns.shm_set(self.id.raw(), uid, gid, mode).map_err(|e| common::permissions_error("segment", self.id, e))
    }

    /// `IPC_RMID`: removes it; those who are attached keep it until they detach.
    ///
    /// # Errors
    ///
    /// As [`Namespace::shm_remove`].
    pub fn remove(&self) -> Result<()> {
        self.ns.shm_remove(self.id.raw()).map_err(|e| self.error("remove", e))
    }

    /// `SHM_LOCK`, `SHM_UNLOCK`: keeps it out of swap, or no longer.
    ///
    /// # Errors
    ///
    /// As [`Namespace::shm_lock`].
    pub fn set_locked(&self, locked: bool) -> Result<()> {
        let verb = if locked { "lock" } else { "unlock" };
        self.ns.shm_lock(self.id.raw(), locked).map_err(|e| self.error(verb, e))
    }

    pub(super) fn error(&self, verb: &str, errno: Errno) -> Error {
        common::error(verb, "segment", self.id, errno)
    }
}
