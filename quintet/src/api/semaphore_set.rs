//! Sets of semaphores.

use crate::api::common::{self, Class};
use crate::api::namespace::Namespace;
use crate::api::semaphore::Semaphore;
use crate::types::error::{Errno, Error, Result};
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::limits::Limits;
use crate::types::sem::SetStat;

/// A set of semaphores, by its identifier.
///
/// The value is a handle: dropping it does not remove the set. A set lives until it is removed, as
/// in System V IPC.
///
/// Semaphores are numbered from 0; each has a value in 0..=32767. The operations of one call are
/// all done at once, or none is. [`Semaphore`] is shorter for a single counting semaphore or a
/// lock.
///
/// # Examples
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
/// use quintet::{Key, SemOp, SemaphoreSet};
/// // Three free places and no goods: one place becomes goods.
/// let set = SemaphoreSet::open_or_create(&ns, Key::new(0x5eed), &[3, 0])?;
/// set.op(&[SemOp::new(0, -1), SemOp::new(1, 1)])?;
/// assert_eq!(set.values()?, [2, 1]);
/// set.remove()?;
/// # Ok::<(), quintet::Error>(())
/// ```
///
/// # References
///
/// semget(2), semop(2), semctl(2)
#[derive(Clone, Debug)]
pub struct SemaphoreSet {
    pub(super) ns: Namespace,
    pub(super) id: Id,
}

impl SemaphoreSet {
    /// Opens the set of `key`, or creates it with mode 0600.
    ///
    /// A new set has one semaphore (1..=`semmsl`) for each of `values` (each 0..=32767). An
    /// existing set must have at least as many semaphores, and keeps its values.
    ///
    /// Concurrent callers get the same initialised set:
    ///
    /// - In a directory, a new set has its values from its first instant.
    /// - In the kernel, creation and initialisation are two steps, of which the second is the first
    ///   operation on the set. A caller that finds a set without any operation (`otime` is 0, as
    ///   semctl(2) suggests) waits for it, for a second at most.
    /// - C programs that follow this convention work with both. If a creator exits between the two
    ///   steps, callers fail with `ETIMEDOUT`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, SemaphoreSet};
    /// let set = SemaphoreSet::open_or_create(&ns, Key::new(5), &[1, 0])?;
    /// set.set_value(0, 7)?;
    /// let same = SemaphoreSet::open_or_create(&ns, Key::new(5), &[1, 0])?;
    /// assert_eq!(same.values()?, [7, 0]);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the set exists and its mode does not grant reading and altering |
    /// | `EINVAL` | there are no values, or more than `semmsl`; existing: it has fewer semaphores |
    /// | `ENOMEM` | the file system has no room |
    /// | `ENOSPC` | the limit `semmni` or `semmns` is reached |
    /// | `ERANGE` | a value is over 32767 |
    /// | `ETIMEDOUT` | existing: no process has operated on it within a second |
    ///
    /// # References
    ///
    /// semget(2), and the race that semctl(2) describes
    #[doc(alias = "semget")]
    pub fn open_or_create(ns: &Namespace, key: Key, values: &[u16]) -> Result<SemaphoreSet> {
        SemaphoreSet::options().create(ns, key, values)
    }

    /// Creates the set of `key` with mode 0600. Fails if the key is in use.
    ///
    /// The set has one semaphore (1..=`semmsl`) for each of `values` (each 0..=32767).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Errno, Key, SemaphoreSet};
    /// SemaphoreSet::create_new(&ns, Key::new(5), &[1])?;
    /// let again = SemaphoreSet::create_new(&ns, Key::new(5), &[1]);
    /// assert_eq!(again.unwrap_err().errno(), Errno::EXIST);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EEXIST` | the key is in use |
    /// | `EINVAL` | there are no values, or more than `semmsl` |
    /// | `ENOMEM` | the file system has no room |
    /// | `ENOSPC` | the limit `semmni` or `semmns` is reached |
    /// | `ERANGE` | a value is over 32767 |
    ///
    /// # References
    ///
    /// semget(2), `IPC_EXCL`
    #[doc(alias = "IPC_EXCL")]
    pub fn create_new(ns: &Namespace, key: Key, values: &[u16]) -> Result<SemaphoreSet> {
        SemaphoreSet::options().exclusive().create(ns, key, values)
    }

    /// Creates a set without a key, with mode 0600.
    ///
    /// The set has one semaphore (1..=`semmsl`) for each of `values` (each 0..=32767). Other
    /// processes open it by its [`id`](Self::id).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::SemaphoreSet;
    /// let set = SemaphoreSet::private(&ns, &[1, 2])?;
    /// assert_eq!(SemaphoreSet::open_id(&ns, set.id())?.values()?, [1, 2]);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`create_new`](Self::create_new), without `EEXIST`.
    ///
    /// # References
    ///
    /// semget(2), `IPC_PRIVATE`
    #[doc(alias = "IPC_PRIVATE")]
    pub fn private(ns: &Namespace, values: &[u16]) -> Result<SemaphoreSet> {
        SemaphoreSet::options().create(ns, Key::PRIVATE, values)
    }

    /// Opens the set of `key`. No permission is checked yet.
    ///
    /// The set may be one that a C program has created and not yet initialised: its
    /// [`stat`](Self::stat) has the `otime` 0 then.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, SemaphoreSet};
    /// SemaphoreSet::create_new(&ns, Key::new(5), &[1, 2, 3])?;
    /// assert_eq!(SemaphoreSet::open(&ns, Key::new(5))?.stat()?.nsems, 3);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `ENOENT` | no set has the key |
    ///
    /// # References
    ///
    /// semget(2)
    pub fn open(ns: &Namespace, key: Key) -> Result<SemaphoreSet> {
        let id = common::open(Class::SET, key, || ns.semget(key, 0, 0))?;
        Ok(SemaphoreSet { ns: ns.clone(), id })
    }

    /// Opens a set by its identifier. No permission is checked yet.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::SemaphoreSet;
    /// let set = SemaphoreSet::private(&ns, &[1])?;
    /// assert_eq!(SemaphoreSet::open_id(&ns, set.id())?.value(0)?, 1);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | no set has the identifier |
    ///
    /// # References
    ///
    /// semctl(2), `SEM_STAT_ANY`
    pub fn open_id(ns: &Namespace, id: Id) -> Result<SemaphoreSet> {
        common::open_id(Class::SET, id, ns.sem_stat_index(i32::from(id.index()), true).map(|stat| stat.id))?;
        Ok(SemaphoreSet { ns: ns.clone(), id })
    }

    /// Returns the identifier.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, SemaphoreSet};
    /// let set = SemaphoreSet::open_or_create(&ns, Key::new(5), &[1])?;
    /// assert_eq!(SemaphoreSet::open(&ns, Key::new(5))?.id(), set.id());
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn id(&self) -> Id {
        self.id
    }

    /// Returns the namespace that the set is in.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::SemaphoreSet;
    /// let set = SemaphoreSet::private(&ns, &[1])?;
    /// assert_eq!(set.namespace().path(), ns.path());
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn namespace(&self) -> &Namespace {
        &self.ns
    }

    /// Returns semaphore `num` of the set, from 0, as a counting semaphore with guards.
    ///
    /// The number is checked only when the semaphore is used.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::SemaphoreSet;
    /// let set = SemaphoreSet::private(&ns, &[1, 4])?;
    /// let _guard = set.semaphore(1).acquire()?;
    /// assert_eq!(set.values()?, [1, 3]);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn semaphore(&self, num: u16) -> Semaphore {
        Semaphore::new(self.clone(), num)
    }

    /// Returns the state: owner, times, number of semaphores (`IPC_STAT`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::SemaphoreSet;
    /// assert_eq!(SemaphoreSet::private(&ns, &[1, 2])?.stat()?.nsems, 2);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant reading |
    /// | `EINVAL` | the set does not exist (any more) |
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "IPC_STAT")]
    pub fn stat(&self) -> Result<SetStat> {
        self.ns.sem_stat(self.id.raw()).map_err(|e| self.error("read the state of", e))
    }

    /// Sets the owner, the group and the nine bits of the access mode (`IPC_SET`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::SemaphoreSet;
    /// let set = SemaphoreSet::private(&ns, &[1])?;
    /// let perm = set.stat()?.perm;
    /// set.set_permissions(perm.uid, perm.gid, 0o640)?;
    /// assert_eq!(set.stat()?.perm.mode, 0o640);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | the set does not exist (any more), or an id is -1 |
    /// | `EPERM` | the caller is neither owner nor creator nor privileged |
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "IPC_SET")]
    pub fn set_permissions(&self, uid: u32, gid: u32, mode: u32) -> Result<()> {
        let set = self.ns.sem_set(self.id.raw(), uid, gid, mode);
        set.map_err(|e| common::permissions_error(&self.ns, Class::SET, self.id, e))
    }

    /// Removes the set (`IPC_RMID`). Blocked calls fail with `EIDRM`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, SemaphoreSet};
    /// SemaphoreSet::create_new(&ns, Key::new(5), &[1])?.remove()?;
    /// assert!(SemaphoreSet::open(&ns, Key::new(5)).is_err());
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | the set does not exist (any more) |
    /// | `EPERM` | the caller is neither owner nor creator nor privileged |
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "IPC_RMID")]
    pub fn remove(&self) -> Result<()> {
        self.ns.sem_remove(self.id.raw()).map_err(|e| self.error("remove", e))
    }

    pub(super) fn error(&self, verb: &str, errno: Errno) -> Error {
        let error = common::error(&self.ns, verb, Class::SET, self.id, errno);
        match errno {
            Errno::RANGE => error.reason(format!("a value would not be in 0..={}", Limits::SEMVMX)),
            Errno::NOMEM => error.reason("there is no room for the waiting call, or for what SEM_UNDO must remember"),
            _ => error,
        }
    }
}
