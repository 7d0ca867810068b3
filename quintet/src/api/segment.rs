//! Segments of shared memory.

use crate::api::attachment::Attachment;
use crate::api::common::{self, Class};
use crate::api::namespace::Namespace;
use crate::types::error::{Errno, Error, Result};
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::shm::SegmentStat;

/// A segment of shared memory, by its identifier.
///
/// The value is a handle: dropping it does not remove the segment. A segment lives until it is
/// removed, as in System V IPC.
///
/// # Examples
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
/// use quintet::Segment;
/// let memory = Segment::private(&ns, 100)?.attach()?;
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
    pub(super) ns: Namespace,
    pub(super) id: Id,
}

impl Segment {
    /// Opens the segment of `key`, or creates it with `size` bytes (1..=`shmmax`) and mode 0600.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, Segment};
    /// let segment = Segment::open_or_create(&ns, Key::new(5), 4096)?;
    /// assert_eq!(Segment::open_or_create(&ns, Key::new(5), 4096)?.id(), segment.id());
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the segment exists and its mode does not grant reading and writing |
    /// | `EINVAL` | new: `size` is 0 or over `shmmax`; existing: it is smaller than `size` |
    /// | `ENOMEM` | the file system has no room |
    /// | `ENOSPC` | the limit `shmmni` or `shmall` is reached |
    ///
    /// # References
    ///
    /// shmget(2)
    #[doc(alias = "shmget")]
    pub fn open_or_create(ns: &Namespace, key: Key, size: u64) -> Result<Segment> {
        Segment::options().create(ns, key, size)
    }

    /// Creates the segment of `key` with `size` bytes (1..=`shmmax`) and mode 0600. Fails if the
    /// key is in use.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Errno, Key, Segment};
    /// Segment::create_new(&ns, Key::new(5), 4096)?;
    /// let again = Segment::create_new(&ns, Key::new(5), 4096);
    /// assert_eq!(again.unwrap_err().errno(), Errno::EXIST);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EEXIST` | the key is in use |
    /// | `EINVAL` | `size` is 0 or over `shmmax` |
    /// | `ENOMEM` | the file system has no room |
    /// | `ENOSPC` | the limit `shmmni` or `shmall` is reached |
    ///
    /// # References
    ///
    /// shmget(2), `IPC_EXCL`
    #[doc(alias = "IPC_EXCL")]
    pub fn create_new(ns: &Namespace, key: Key, size: u64) -> Result<Segment> {
        Segment::options().exclusive().create(ns, key, size)
    }

    /// Creates a segment without a key, with `size` bytes (1..=`shmmax`) and mode 0600.
    ///
    /// Other processes open it by its [`id`](Self::id).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Segment;
    /// let segment = Segment::private(&ns, 4096)?;
    /// assert_eq!(Segment::open_id(&ns, segment.id())?.stat()?.size, 4096);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | `size` is 0 or over `shmmax` |
    /// | `ENOMEM` | the file system has no room |
    /// | `ENOSPC` | the limit `shmmni` or `shmall` is reached |
    ///
    /// # References
    ///
    /// shmget(2), `IPC_PRIVATE`
    #[doc(alias = "IPC_PRIVATE")]
    pub fn private(ns: &Namespace, size: u64) -> Result<Segment> {
        Segment::options().create(ns, Key::PRIVATE, size)
    }

    /// Opens the segment of `key`. No permission is checked yet.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Errno, Key, Segment};
    /// let missing = Segment::open(&ns, Key::new(5));
    /// assert_eq!(missing.unwrap_err().errno(), Errno::NOENT);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `ENOENT` | no segment has the key |
    ///
    /// # References
    ///
    /// shmget(2)
    pub fn open(ns: &Namespace, key: Key) -> Result<Segment> {
        let id = common::open(Class::SEGMENT, key, || ns.shmget(key, 0, 0))?;
        Ok(Segment { ns: ns.clone(), id })
    }

    /// Opens a segment by its identifier. No permission is checked yet.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Segment;
    /// let segment = Segment::private(&ns, 100)?;
    /// assert_eq!(Segment::open_id(&ns, segment.id())?.stat()?.size, 100);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | no segment has the identifier |
    ///
    /// # References
    ///
    /// shmctl(2), `SHM_STAT_ANY`
    pub fn open_id(ns: &Namespace, id: Id) -> Result<Segment> {
        common::open_id(Class::SEGMENT, id, ns.shm_stat_index(i32::from(id.index()), true).map(|stat| stat.id))?;
        Ok(Segment { ns: ns.clone(), id })
    }

    /// Returns the identifier.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, Segment};
    /// let segment = Segment::open_or_create(&ns, Key::new(5), 100)?;
    /// assert_eq!(Segment::open(&ns, Key::new(5))?.id(), segment.id());
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn id(&self) -> Id {
        self.id
    }

    /// Returns the namespace that the segment is in.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Segment;
    /// let segment = Segment::private(&ns, 100)?;
    /// assert_eq!(segment.namespace().path(), ns.path());
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn namespace(&self) -> &Namespace {
        &self.ns
    }

    /// Attaches the segment for reading and writing.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Segment;
    /// let memory = Segment::private(&ns, 100)?.attach()?;
    /// memory.write(95, b"bytes")?;
    /// assert_eq!(memory.to_vec(95..100)?, b"bytes");
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant reading and writing |
    /// | `EIDRM` | the segment was destroyed meanwhile |
    /// | `EINVAL` | the segment does not exist (any more) |
    /// | `ENOMEM` | the address space has no room |
    ///
    /// # References
    ///
    /// shmop(2)
    #[doc(alias = "shmat")]
    pub fn attach(&self) -> Result<Attachment> {
        Attachment::new(self, false)
    }

    /// Attaches the segment for reading only. The memory cannot be made writable later.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Errno, Segment};
    /// let memory = Segment::private(&ns, 100)?.attach_read_only()?;
    /// assert_eq!(memory.to_vec(0..2)?, [0, 0]);
    /// assert_eq!(memory.write(0, b"x").unwrap_err().errno(), Errno::ACCES);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant reading |
    /// | `EIDRM` | the segment was destroyed meanwhile |
    /// | `EINVAL` | the segment does not exist (any more) |
    /// | `ENOMEM` | the address space has no room |
    ///
    /// # References
    ///
    /// shmop(2), `SHM_RDONLY`
    #[doc(alias = "SHM_RDONLY")]
    pub fn attach_read_only(&self) -> Result<Attachment> {
        Attachment::new(self, true)
    }

    /// Returns the state: size, owner, times, last process, number of attachments (`IPC_STAT`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Segment;
    /// let segment = Segment::private(&ns, 100)?;
    /// let _memory = segment.attach()?;
    /// assert_eq!(segment.stat()?.nattch, 1);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant reading |
    /// | `EINVAL` | the segment does not exist (any more) |
    ///
    /// # References
    ///
    /// shmctl(2)
    #[doc(alias = "IPC_STAT")]
    pub fn stat(&self) -> Result<SegmentStat> {
        self.ns.shm_stat(self.id.raw()).map_err(|e| self.error("read the state of", e))
    }

    /// Sets the owner, the group and the nine bits of the access mode (`IPC_SET`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Segment;
    /// let segment = Segment::private(&ns, 100)?;
    /// let perm = segment.stat()?.perm;
    /// segment.set_permissions(perm.uid, perm.gid, 0o640)?;
    /// assert_eq!(segment.stat()?.perm.mode, 0o640);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | the segment does not exist (any more), or an id is -1 |
    /// | `EPERM` | the caller is neither owner nor creator nor privileged |
    ///
    /// # References
    ///
    /// shmctl(2)
    #[doc(alias = "IPC_SET")]
    pub fn set_permissions(&self, uid: u32, gid: u32, mode: u32) -> Result<()> {
        let set = self.ns.shm_set(self.id.raw(), uid, gid, mode);
        set.map_err(|e| common::permissions_error(&self.ns, Class::SEGMENT, self.id, e))
    }

    /// Marks the segment for destruction (`IPC_RMID`). Existing attachments stay valid; the last
    /// detach destroys the segment.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, Segment};
    /// let segment = Segment::create_new(&ns, Key::new(5), 100)?;
    /// segment.remove()?;
    /// assert!(Segment::open(&ns, Key::new(5)).is_err());
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | the segment does not exist (any more) |
    /// | `EPERM` | the caller is neither owner nor creator nor privileged |
    ///
    /// # References
    ///
    /// shmctl(2)
    #[doc(alias = "IPC_RMID")]
    pub fn remove(&self) -> Result<()> {
        self.ns.shm_remove(self.id.raw()).map_err(|e| self.error("remove", e))
    }

    /// Keeps the segment out of swap (`SHM_LOCK`), or allows swap again (`SHM_UNLOCK`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{ModeFlags, Segment};
    /// let segment = Segment::private(&ns, 100)?;
    /// segment.set_locked(true)?;
    /// assert_eq!(segment.stat()?.flags, ModeFlags::LOCKED);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | the segment does not exist (any more) |
    /// | `ENOMEM` | the segment is larger than `RLIMIT_MEMLOCK` |
    /// | `EPERM` | the caller is not the owner, or `RLIMIT_MEMLOCK` is 0 |
    ///
    /// # References
    ///
    /// shmctl(2)
    #[doc(alias = "SHM_LOCK")]
    #[doc(alias = "SHM_UNLOCK")]
    pub fn set_locked(&self, locked: bool) -> Result<()> {
        let verb = if locked { "lock" } else { "unlock" };
        self.ns.shm_lock(self.id.raw(), locked).map_err(|e| self.error(verb, e))
    }

    pub(crate) fn error(&self, verb: &str, errno: Errno) -> Error {
        common::error(&self.ns, verb, Class::SEGMENT, self.id, errno)
    }
}
