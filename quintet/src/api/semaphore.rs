//! One counting semaphore, with guards.

use crate::api::namespace::Namespace;
use crate::api::semaphore_set::SemaphoreSet;
use crate::types::error::{Errno, Error, Result};
use crate::types::key::Key;
use crate::types::limits::Limits;
use crate::types::sem::{SemFlags, SemOp};

/// A counting semaphore: a set of one, or one of a set ([`SemaphoreSet::semaphore`]). With the
/// initial value 1 it is a lock between processes.
///
/// A process acquires units with a [`Guard`](crate::Guard), which releases them when it is dropped.
/// They are also released when the process exits or is killed (`SEM_UNDO`), so no process waits for one that is
/// gone.
///
/// A caught signal does not end the waiting. [`SemaphoreSet::op`] fails with `EINTR` instead.
///
/// # Examples
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
/// use quintet::{Key, Semaphore};
/// let semaphore = Semaphore::open_or_create(&ns, Key::new(0x5eed), 1)?;
/// {
///     let _guard = semaphore.acquire()?;
///     assert!(semaphore.try_acquire()?.is_none(), "one at a time");
/// }
/// assert_eq!(semaphore.value()?, 1);
/// # Ok::<(), quintet::Error>(())
/// ```
///
/// # References
///
/// semget(2), semop(2)
#[derive(Clone, Debug)]
pub struct Semaphore {
    pub(super) set: SemaphoreSet,
    pub(super) num: u16,
}

impl Semaphore {
    pub(crate) fn new(set: SemaphoreSet, num: u16) -> Semaphore {
        Semaphore { set, num }
    }

    /// Opens the semaphore of `key`, or creates it with `initial` units (0..=32767) and mode 0600.
    ///
    /// Concurrent callers get the same initialised semaphore: see
    /// [`SemaphoreSet::open_or_create`]. For another mode, call
    /// `SemaphoreSet::options().mode(0o660).create(&ns, key, &[1])?.semaphore(0)`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, Semaphore};
    /// let semaphore = Semaphore::open_or_create(&ns, Key::new(5), 3)?;
    /// assert_eq!(semaphore.value()?, 3);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | it exists and its mode does not grant reading and altering |
    /// | `ENOMEM` | the file system has no room |
    /// | `ENOSPC` | the limit `semmni` or `semmns` is reached |
    /// | `ERANGE` | `initial` is over 32767 |
    /// | `ETIMEDOUT` | it exists, but no process has operated on it within a second |
    ///
    /// # References
    ///
    /// semget(2)
    #[doc(alias = "semget")]
    pub fn open_or_create(ns: &Namespace, key: Key, initial: u16) -> Result<Semaphore> {
        Ok(SemaphoreSet::open_or_create(ns, key, &[initial])?.semaphore(0))
    }

    /// Creates the semaphore of `key` with `initial` units (0..=32767) and mode 0600. Fails if the
    /// key is in use.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Errno, Key, Semaphore};
    /// Semaphore::create_new(&ns, Key::new(5), 1)?;
    /// let again = Semaphore::create_new(&ns, Key::new(5), 1);
    /// assert_eq!(again.unwrap_err().errno(), Errno::EXIST);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EEXIST` | the key is in use |
    /// | `ENOMEM` | the file system has no room |
    /// | `ENOSPC` | the limit `semmni` or `semmns` is reached |
    /// | `ERANGE` | `initial` is over 32767 |
    ///
    /// # References
    ///
    /// semget(2), `IPC_EXCL`
    #[doc(alias = "IPC_EXCL")]
    pub fn create_new(ns: &Namespace, key: Key, initial: u16) -> Result<Semaphore> {
        Ok(SemaphoreSet::create_new(ns, key, &[initial])?.semaphore(0))
    }

    /// Creates a semaphore without a key, with `initial` units (0..=32767) and mode 0600.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Semaphore, SemaphoreSet};
    /// let semaphore = Semaphore::private(&ns, 1)?;
    /// let peer = SemaphoreSet::open_id(&ns, semaphore.set().id())?.semaphore(0);
    /// assert_eq!(peer.value()?, 1);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `ENOMEM` | the file system has no room |
    /// | `ENOSPC` | the limit `semmni` or `semmns` is reached |
    /// | `ERANGE` | `initial` is over 32767 |
    ///
    /// # References
    ///
    /// semget(2), `IPC_PRIVATE`
    #[doc(alias = "IPC_PRIVATE")]
    pub fn private(ns: &Namespace, initial: u16) -> Result<Semaphore> {
        Ok(SemaphoreSet::private(ns, &[initial])?.semaphore(0))
    }

    /// Opens the semaphore of `key`, the first one if the set has several. No permission is checked
    /// yet.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, Semaphore};
    /// Semaphore::create_new(&ns, Key::new(5), 2)?;
    /// assert_eq!(Semaphore::open(&ns, Key::new(5))?.value()?, 2);
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
    pub fn open(ns: &Namespace, key: Key) -> Result<Semaphore> {
        Ok(SemaphoreSet::open(ns, key)?.semaphore(0))
    }

    /// Returns the set that the semaphore is in.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Semaphore;
    /// let semaphore = Semaphore::private(&ns, 1)?;
    /// assert_eq!(semaphore.set().values()?, [1]);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn set(&self) -> &SemaphoreSet {
        &self.set
    }

    /// Returns the number of the semaphore in its set, from 0.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::SemaphoreSet;
    /// let set = SemaphoreSet::private(&ns, &[1, 4])?;
    /// assert_eq!(set.semaphore(1).num(), 1);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn num(&self) -> u16 {
        self.num
    }

    /// Adds `units` (1..=32767) that no guard holds: finished jobs, for example, or units for
    /// another process.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Semaphore;
    /// let jobs = Semaphore::private(&ns, 0)?;
    /// jobs.release(3)?;
    /// assert_eq!(jobs.value()?, 3);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant altering |
    /// | `EFBIG` | the set has no such semaphore |
    /// | `EINVAL` | the set does not exist (any more), or `units` is 0 or over 32767 |
    /// | `ERANGE` | the value would be over 32767 |
    ///
    /// # References
    ///
    /// semop(2)
    pub fn release(&self, units: u16) -> Result<()> {
        let op = SemOp::new(self.num, self.checked_units(units)?);
        self.set.raw_op(&[op], None).map_err(|e| self.set.operation_error(&[op], e))
    }

    /// Returns the number of units that can be acquired now, 0..=32767.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Semaphore;
    /// assert_eq!(Semaphore::private(&ns, 7)?.value()?, 7);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant reading |
    /// | `EINVAL` | the set does not exist (any more), or has no such semaphore |
    ///
    /// # References
    ///
    /// semctl(2), `GETVAL`
    #[doc(alias = "GETVAL")]
    pub fn value(&self) -> Result<u16> {
        self.set.value(self.num)
    }

    /// Removes the whole set that the semaphore is in. Blocked calls fail with `EIDRM`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, Semaphore};
    /// Semaphore::create_new(&ns, Key::new(5), 1)?.remove()?;
    /// assert!(Semaphore::open(&ns, Key::new(5)).is_err());
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
    /// semctl(2), `IPC_RMID`
    #[doc(alias = "IPC_RMID")]
    pub fn remove(&self) -> Result<()> {
        self.set.remove()
    }

    /// Checks that an operation can have so many units.
    fn checked_units(&self, units: u16) -> Result<i16> {
        match i16::try_from(units) {
            Ok(units) if units > 0 => Ok(units),
            _ => Err(Error::new(Errno::INVAL, format!("cannot acquire or release {units} units of set {}", self.set.id()))
                .reason(format!("the number must be in 1..={}", Limits::SEMVMX))),
        }
    }

    pub(super) fn acquire_op(&self, units: u16) -> Result<SemOp> {
        Ok(SemOp::new(self.num, -self.checked_units(units)?).flags(SemFlags::UNDO))
    }
}
