//! The verbs of segments.

use crate::api::namespace::Namespace;
use crate::backend::any::with_backend;
use crate::backend::verbs::{NamespaceVerbs, SegmentVerbs};
use crate::types::error::{Errno, Error, Result};
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::mechanism::Mechanism;
use crate::types::shm::{SegmentStat, SegmentStatus, ShmUsage};
use std::ffi::c_void;

impl Namespace {
    /// Returns the identifier that the next segment will have (`shm_next_id`), or `None` if none
    /// was requested.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// assert_eq!(ns.shm_next_id()?, None);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Namespace::limits`].
    ///
    /// # References
    ///
    /// proc(5)
    pub fn shm_next_id(&self) -> std::result::Result<Option<Id>, Errno> {
        with_backend!(self.backend, backend => backend.next_id(Mechanism::Shm))
    }

    /// Requests the identifier of the next segment (`shm_next_id`). `None` withdraws the request.
    ///
    /// The request has no effect if the index is in use.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Id, Key};
    /// ns.set_shm_next_id(Some(Id::new(3, 7)))?;
    /// let id = ns.shmget(Key::new(5), 4096, libc::IPC_CREAT | 0o600)?;
    /// assert_eq!((id.sequence(), id.index()), (3, 7));
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EPERM` | the caller is not the owner of the namespace |
    ///
    /// # References
    ///
    /// proc(5)
    pub fn set_shm_next_id(&self, id: Option<Id>) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.set_next_id(Mechanism::Shm, id))
    }

    /// Finds the segment of `key`, or creates it: `int shmget(key_t key, size_t size, int shmflg)`.
    ///
    /// - `size` is in bytes: 1..=`shmmax` for a new segment.
    /// - `flags` has the C flags `IPC_CREAT`, `IPC_EXCL`, `SHM_HUGETLB` and `SHM_NORESERVE`, and
    ///   the nine bits of the mode.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.shmget(Key::new(5), 4096, libc::IPC_CREAT | 0o600)?;
    /// assert_eq!(ns.shmget(Key::new(5), 0, 0)?, id);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the segment exists and its mode does not grant what `flags` asks for |
    /// | `EEXIST` | `IPC_CREAT` and `IPC_EXCL` are given, and the key is in use |
    /// | `EINVAL` | new: `size` is 0 or over `shmmax`; existing: it is smaller than `size` |
    /// | `ENOENT` | no segment has the key, and `IPC_CREAT` is not given |
    /// | `ENOMEM` | the file system has no room |
    /// | `ENOSPC` | the limit `shmmni` or `shmall` is reached |
    ///
    /// # References
    ///
    /// shmget(2)
    pub fn shmget(&self, key: Key, size: u64, flags: i32) -> std::result::Result<Id, Errno> {
        with_backend!(self.backend, backend => backend.shmget(key, size, flags))
    }

    /// Attaches a segment: `void *shmat(int shmid, const void *shmaddr, int shmflg)`.
    ///
    /// - `address` is a multiple of the page size, or 0 to let the system choose.
    /// - `flags` has `SHM_RDONLY`, `SHM_RND`, `SHM_REMAP` and `SHM_EXEC`.
    ///
    /// [`Segment::attach`](crate::Segment::attach) is the safe form.
    ///
    /// # Safety
    ///
    /// `SHM_REMAP` replaces what is mapped at `address`. Peers can write to the memory, so all
    /// access must be atomic or volatile.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.shmget(Key::new(5), 4096, libc::IPC_CREAT | 0o600)?;
    /// // SAFETY: without SHM_REMAP; the memory is only read by a volatile access.
    /// let memory = unsafe { ns.shmat(id.raw(), 0, 0) }?.cast::<u8>();
    /// assert_eq!(unsafe { memory.read_volatile() }, 0);
    /// unsafe { ns.shmdt(memory.addr()) }?;
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant the access |
    /// | `EIDRM` | the segment was destroyed meanwhile |
    /// | `EINVAL` | no segment has the identifier |
    /// | `EINVAL` | `address` is not aligned, in use, or 0 with `SHM_REMAP` |
    /// | `ENOMEM` | the address space has no room |
    ///
    /// # References
    ///
    /// shmop(2)
    #[allow(unsafe_code)]
    pub unsafe fn shmat(&self, id: i32, address: usize, flags: i32) -> std::result::Result<*mut c_void, Errno> {
        // SAFETY: the caller guarantees what the contract says of the address.
        with_backend!(self.backend, backend => unsafe { backend.shmat(id, address, flags) })
    }

    /// Detaches the segment that is attached at `address`: `int shmdt(const void *shmaddr)`.
    ///
    /// # Safety
    ///
    /// No code may use the memory any more.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.shmget(Key::new(5), 4096, libc::IPC_CREAT | 0o600)?;
    /// // SAFETY: without SHM_REMAP; the memory is never used.
    /// let memory = unsafe { ns.shmat(id.raw(), 0, libc::SHM_RDONLY) }?;
    /// unsafe { ns.shmdt(memory.addr()) }?;
    /// assert_eq!(ns.shm_stat(id.raw())?.nattch, 0);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | no segment is attached at `address` |
    ///
    /// # References
    ///
    /// shmop(2)
    #[allow(unsafe_code)]
    pub unsafe fn shmdt(&self, address: usize) -> std::result::Result<(), Errno> {
        // SAFETY: the caller guarantees that no code uses the memory any more.
        with_backend!(self.backend, backend => unsafe { backend.shmdt(address) })
    }

    /// Returns the state of a segment (`IPC_STAT`): `int shmctl(int id, int cmd, ...)`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.shmget(Key::new(5), 4096, libc::IPC_CREAT | 0o600)?;
    /// assert_eq!(ns.shm_stat(id.raw())?.key, Key::new(5));
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant reading |
    /// | `EINVAL` | no segment has the identifier |
    ///
    /// # References
    ///
    /// shmctl(2)
    #[doc(alias = "IPC_STAT")]
    pub fn shm_stat(&self, id: i32) -> std::result::Result<SegmentStat, Errno> {
        with_backend!(self.backend, backend => backend.shm_stat(id))
    }

    /// Returns the state of the segment at an index, 0..=32767 (`SHM_STAT`).
    ///
    /// Of a greater number, the low 15 bits are used, as in the kernel. If `any` is set, no
    /// permission is checked (`SHM_STAT_ANY`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.shmget(Key::new(5), 4096, libc::IPC_CREAT | 0o600)?;
    /// assert_eq!(ns.shm_stat_index(id.index().into(), true)?.id, id);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant reading, and `any` is not set |
    /// | `EINVAL` | the index is not in use |
    ///
    /// # References
    ///
    /// shmctl(2)
    #[doc(alias = "SHM_STAT")]
    #[doc(alias = "SHM_STAT_ANY")]
    pub fn shm_stat_index(&self, index: i32, any: bool) -> std::result::Result<SegmentStat, Errno> {
        with_backend!(self.backend, backend => backend.shm_stat_index(index, any))
    }

    /// Sets the owner, the group and the low nine bits of the mode (`IPC_SET`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.shmget(Key::new(5), 4096, libc::IPC_CREAT | 0o600)?;
    /// let perm = ns.shm_stat(id.raw())?.perm;
    /// ns.shm_set(id.raw(), perm.uid, perm.gid, 0o640)?;
    /// assert_eq!(ns.shm_stat(id.raw())?.perm.mode, 0o640);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | no segment has the identifier, or an id is -1 |
    /// | `EPERM` | the caller is neither owner nor creator nor privileged |
    ///
    /// # References
    ///
    /// shmctl(2)
    #[doc(alias = "IPC_SET")]
    pub fn shm_set(&self, id: i32, uid: u32, gid: u32, mode: u32) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.shm_set(id, uid, gid, mode))
    }

    /// Marks the segment for destruction (`IPC_RMID`). The last detach destroys it.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Errno, Key};
    /// let id = ns.shmget(Key::new(5), 4096, libc::IPC_CREAT | 0o600)?;
    /// ns.shm_remove(id.raw())?;
    /// assert_eq!(ns.shm_stat(id.raw()), Err(Errno::INVAL));
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | no segment has the identifier |
    /// | `EPERM` | the caller is neither owner nor creator nor privileged |
    ///
    /// # References
    ///
    /// shmctl(2)
    #[doc(alias = "IPC_RMID")]
    pub fn shm_remove(&self, id: i32) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.shm_remove(id))
    }

    /// Keeps the segment out of swap (`SHM_LOCK`, if `locked`), or allows swap again
    /// (`SHM_UNLOCK`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, ModeFlags};
    /// let id = ns.shmget(Key::new(5), 4096, libc::IPC_CREAT | 0o600)?;
    /// ns.shm_lock(id.raw(), true)?;
    /// assert_eq!(ns.shm_stat(id.raw())?.flags, ModeFlags::LOCKED);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | no segment has the identifier |
    /// | `ENOMEM` | the segment is larger than `RLIMIT_MEMLOCK` |
    /// | `EPERM` | the caller is not the owner, or `RLIMIT_MEMLOCK` is 0 |
    ///
    /// # References
    ///
    /// shmctl(2)
    #[doc(alias = "SHM_LOCK")]
    #[doc(alias = "SHM_UNLOCK")]
    pub fn shm_lock(&self, id: i32, locked: bool) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.shm_lock(id, locked))
    }

    /// Returns what the segments use (`SHM_INFO`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.shmget(Key::new(5), 4096, libc::IPC_CREAT | 0o600)?;
    /// assert_eq!(ns.shm_usage()?.segments, 1);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// None in a directory. The kernel's call can fail under a security policy.
    ///
    /// # References
    ///
    /// shmctl(2)
    #[doc(alias = "SHM_INFO")]
    pub fn shm_usage(&self) -> std::result::Result<ShmUsage, Errno> {
        with_backend!(self.backend, backend => backend.shm_usage())
    }

    /// Returns all segments, by index, with the attached processes.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.shmget(Key::new(5), 4096, libc::IPC_CREAT | 0o600)?;
    /// assert_eq!(ns.segments()?[0].stat.id, id);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of reading the directory of the namespace, or `/proc`.
    ///
    /// # References
    ///
    /// proc(5)
    pub fn segments(&self) -> Result<Vec<SegmentStatus>> {
        with_backend!(self.backend, backend => backend.segments()).map_err(|e| Error::new(e, "cannot list the segments"))
    }
}
