//! The verbs of semaphore sets.

use crate::api::namespace::Namespace;
use crate::backend::any::with_backend;
use crate::backend::verbs::{NamespaceVerbs, SetVerbs};
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::mechanism::Mechanism;
use crate::types::sem::{SemOp, SemUsage, SetStat, SetStatus};
use std::time::Duration;

impl Namespace {
    /// Returns the identifier that the next set will have (`sem_next_id`), or `None` if none was
    /// requested.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// assert_eq!(ns.sem_next_id()?, None);
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
    pub fn sem_next_id(&self) -> std::result::Result<Option<Id>, Errno> {
        with_backend!(self.backend, backend => backend.next_id(Mechanism::Sem))
    }

    /// Requests the identifier of the next set (`sem_next_id`). `None` withdraws the request.
    ///
    /// The request has no effect if the index is in use.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Id, Key};
    /// ns.set_sem_next_id(Some(Id::new(3, 7)))?;
    /// let id = ns.semget(Key::new(5), 2, libc::IPC_CREAT | 0o600)?;
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
    pub fn set_sem_next_id(&self, id: Option<Id>) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.set_next_id(Mechanism::Sem, id))
    }

    /// Finds the set of `key`, or creates it with all values 0: `int semget(key_t key, int nsems,
    /// int semflg)`.
    ///
    /// - `nsems` is the number of semaphores of a new set, 1..=`semmsl`, or the least number of an
    ///   existing one, where 0 allows any.
    /// - `flags` has the C flags `IPC_CREAT` and `IPC_EXCL`, and the nine bits of the mode.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.semget(Key::new(5), 2, libc::IPC_CREAT | 0o600)?;
    /// assert_eq!(ns.semget(Key::new(5), 0, 0)?, id);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the set exists and its mode does not grant what `flags` asks for |
    /// | `EEXIST` | `IPC_CREAT` and `IPC_EXCL` are given, and the key is in use |
    /// | `EINVAL` | `nsems` is below 0 or over `semmsl`; new: 0; existing: more than it has |
    /// | `ENOENT` | no set has the key, and `IPC_CREAT` is not given |
    /// | `ENOMEM` | the file system has no room |
    /// | `ENOSPC` | the limit `semmni` or `semmns` is reached |
    ///
    /// # References
    ///
    /// semget(2)
    pub fn semget(&self, key: Key, nsems: i32, flags: i32) -> std::result::Result<Id, Errno> {
        with_backend!(self.backend, backend => backend.semget(key, nsems, flags))
    }

    /// Calls [`Namespace::semget`], where a new set has these values from its first instant.
    /// Returns `None` for the kernel, which cannot do that.
    pub(crate) fn semget_with(&self, key: Key, flags: i32, values: &[u16]) -> Option<std::result::Result<Id, Errno>> {
        with_backend!(self.backend, backend => backend.semget_with(key, flags, values))
    }

    /// Does all operations (1..=`semopm`) at once: `int semtimedop(int semid, struct sembuf *sops,
    /// size_t nsops, const struct timespec *timeout)`.
    ///
    /// Blocks until it can, for `timeout` at most. `None` blocks without limit, as `semop` does.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Errno, Key, SemFlags, SemOp};
    /// let id = ns.semget(Key::new(5), 2, libc::IPC_CREAT | 0o600)?;
    /// ns.semtimedop(id.raw(), &[SemOp::new(1, 5)], None)?;
    /// assert_eq!(ns.sem_values(id.raw())?, [0, 5]);
    /// let take = SemOp::new(0, -1).flags(SemFlags::NOWAIT);
    /// assert_eq!(ns.semtimedop(id.raw(), &[take], None), Err(Errno::AGAIN));
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `E2BIG` | there are more than `semopm` operations |
    /// | `EACCES` | the mode does not grant altering (reading, if every operation waits for zero) |
    /// | `EAGAIN` | the call would block and `IPC_NOWAIT` is given, or the timeout has passed |
    /// | `EFBIG` | the set has no semaphore of an operation's number |
    /// | `EIDRM` | the set was removed meanwhile |
    /// | `EINTR` | a signal was caught |
    /// | `EINVAL` | no set has the identifier, or there are no operations |
    /// | `ENOMEM` | there is no room for the blocked call or for the adjustments (`SEM_UNDO`) |
    /// | `ERANGE` | a value or an adjustment would be out of range |
    ///
    /// # References
    ///
    /// semop(2)
    #[doc(alias = "semop")]
    pub fn semtimedop(&self, id: i32, ops: &[SemOp], timeout: Option<Duration>) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.semtimedop(id, ops, timeout))
    }

    /// Returns the value of semaphore `num`, 0..=32767 (`GETVAL`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.semget(Key::new(5), 2, libc::IPC_CREAT | 0o600)?;
    /// ns.sem_set_value(id.raw(), 1, 7)?;
    /// assert_eq!(ns.sem_value(id.raw(), 1)?, 7);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant reading |
    /// | `EINVAL` | no set has the identifier, or it has no such semaphore |
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "GETVAL")]
    pub fn sem_value(&self, id: i32, num: i32) -> std::result::Result<u16, Errno> {
        with_backend!(self.backend, backend => backend.sem_value(id, num))
    }

    /// Returns the id of the process that last changed semaphore `num`; 0 if none has (`GETPID`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.semget(Key::new(5), 2, libc::IPC_CREAT | 0o600)?;
    /// ns.sem_set_value(id.raw(), 1, 7)?;
    /// assert_eq!(ns.sem_pid(id.raw(), 1)?, std::process::id() as i32);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant reading |
    /// | `EINVAL` | no set has the identifier, or it has no such semaphore |
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "GETPID")]
    pub fn sem_pid(&self, id: i32, num: i32) -> std::result::Result<i32, Errno> {
        with_backend!(self.backend, backend => backend.sem_pid(id, num))
    }

    /// Returns the number of calls that wait for semaphore `num` to grow (`GETNCNT`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.semget(Key::new(5), 2, libc::IPC_CREAT | 0o600)?;
    /// assert_eq!(ns.sem_ncnt(id.raw(), 0)?, 0);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant reading |
    /// | `EINVAL` | no set has the identifier, or it has no such semaphore |
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "GETNCNT")]
    pub fn sem_ncnt(&self, id: i32, num: i32) -> std::result::Result<u32, Errno> {
        with_backend!(self.backend, backend => backend.sem_ncnt(id, num))
    }

    /// Returns the number of calls that wait for semaphore `num` to become zero (`GETZCNT`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.semget(Key::new(5), 2, libc::IPC_CREAT | 0o600)?;
    /// assert_eq!(ns.sem_zcnt(id.raw(), 0)?, 0);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant reading |
    /// | `EINVAL` | no set has the identifier, or it has no such semaphore |
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "GETZCNT")]
    pub fn sem_zcnt(&self, id: i32, num: i32) -> std::result::Result<u32, Errno> {
        with_backend!(self.backend, backend => backend.sem_zcnt(id, num))
    }

    /// Returns all values, read at one instant (`GETALL`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.semget(Key::new(5), 2, libc::IPC_CREAT | 0o600)?;
    /// assert_eq!(ns.sem_values(id.raw())?, [0, 0]);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant reading |
    /// | `EINVAL` | no set has the identifier |
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "GETALL")]
    pub fn sem_values(&self, id: i32) -> std::result::Result<Vec<u16>, Errno> {
        with_backend!(self.backend, backend => backend.sem_values(id))
    }

    /// Sets the value of semaphore `num`, and clears the adjustments (`SEM_UNDO`) that any process
    /// has for it (`SETVAL`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Errno, Key};
    /// let id = ns.semget(Key::new(5), 2, libc::IPC_CREAT | 0o600)?;
    /// ns.sem_set_value(id.raw(), 1, 7)?;
    /// assert_eq!(ns.sem_values(id.raw())?, [0, 7]);
    /// assert_eq!(ns.sem_set_value(id.raw(), 1, 32768), Err(Errno::RANGE));
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant altering |
    /// | `EINVAL` | no set has the identifier, or it has no such semaphore |
    /// | `ERANGE` | the value is not in 0..=32767 |
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "SETVAL")]
    pub fn sem_set_value(&self, id: i32, num: i32, value: i32) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.sem_set_value(id, num, value))
    }

    /// Sets all values at one instant, and clears all adjustments (`SEM_UNDO`) of the set
    /// (`SETALL`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.semget(Key::new(5), 2, libc::IPC_CREAT | 0o600)?;
    /// ns.sem_set_values(id.raw(), &[3, 4])?;
    /// assert_eq!(ns.sem_values(id.raw())?, [3, 4]);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant altering |
    /// | `EINVAL` | no set has the identifier, or it has another number of semaphores |
    /// | `ERANGE` | a value is not in 0..=32767 |
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "SETALL")]
    pub fn sem_set_values(&self, id: i32, values: &[u16]) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.sem_set_values(id, values))
    }

    /// Returns the state of a set (`IPC_STAT`): `int semctl(int id, int cmd, ...)`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.semget(Key::new(5), 2, libc::IPC_CREAT | 0o600)?;
    /// assert_eq!(ns.sem_stat(id.raw())?.key, Key::new(5));
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant reading |
    /// | `EINVAL` | no set has the identifier |
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "IPC_STAT")]
    pub fn sem_stat(&self, id: i32) -> std::result::Result<SetStat, Errno> {
        with_backend!(self.backend, backend => backend.sem_stat(id))
    }

    /// Returns the state of the set at an index, 0..=32767 (`SEM_STAT`).
    ///
    /// Of a greater number, the low 15 bits are used, as in the kernel. If `any` is set, no
    /// permission is checked (`SEM_STAT_ANY`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.semget(Key::new(5), 2, libc::IPC_CREAT | 0o600)?;
    /// assert_eq!(ns.sem_stat_index(id.index().into(), true)?.id, id);
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
    /// semctl(2)
    #[doc(alias = "SEM_STAT")]
    #[doc(alias = "SEM_STAT_ANY")]
    pub fn sem_stat_index(&self, index: i32, any: bool) -> std::result::Result<SetStat, Errno> {
        with_backend!(self.backend, backend => backend.sem_stat_index(index, any))
    }

    /// Sets the owner, the group and the low nine bits of the mode (`IPC_SET`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.semget(Key::new(5), 2, libc::IPC_CREAT | 0o600)?;
    /// let perm = ns.sem_stat(id.raw())?.perm;
    /// ns.sem_set(id.raw(), perm.uid, perm.gid, 0o640)?;
    /// assert_eq!(ns.sem_stat(id.raw())?.perm.mode, 0o640);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | no set has the identifier, or an id is -1 |
    /// | `EPERM` | the caller is neither owner nor creator nor privileged |
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "IPC_SET")]
    pub fn sem_set(&self, id: i32, uid: u32, gid: u32, mode: u32) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.sem_set(id, uid, gid, mode))
    }

    /// Removes the set (`IPC_RMID`). Blocked calls fail with `EIDRM`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Errno, Key};
    /// let id = ns.semget(Key::new(5), 2, libc::IPC_CREAT | 0o600)?;
    /// ns.sem_remove(id.raw())?;
    /// assert_eq!(ns.sem_stat(id.raw()), Err(Errno::INVAL));
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | no set has the identifier |
    /// | `EPERM` | the caller is neither owner nor creator nor privileged |
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "IPC_RMID")]
    pub fn sem_remove(&self, id: i32) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.sem_remove(id))
    }

    /// Returns what the sets use (`SEM_INFO`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.semget(Key::new(5), 2, libc::IPC_CREAT | 0o600)?;
    /// assert_eq!(ns.sem_usage()?.sets, 1);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// None in a directory. The kernel's call can fail under a security policy.
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "SEM_INFO")]
    pub fn sem_usage(&self) -> std::result::Result<SemUsage, Errno> {
        with_backend!(self.backend, backend => backend.sem_usage())
    }

    /// Returns all sets, by index, with their values, blocked calls and adjustments (`SEM_UNDO`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Key;
    /// let id = ns.semget(Key::new(5), 2, libc::IPC_CREAT | 0o600)?;
    /// assert_eq!(ns.sets()?[0].stat.id, id);
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
    pub fn sets(&self) -> std::result::Result<Vec<SetStatus>, Errno> {
        with_backend!(self.backend, backend => backend.sets())
    }
}
