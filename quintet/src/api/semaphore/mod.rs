//! One counting semaphore, with guards.

mod guard;

pub use guard::Guard;

use crate::api::common;
use crate::api::namespace::Namespace;
use crate::api::semaphore_set::SemaphoreSet;
use crate::sys::ids;
use crate::types::error::{Errno, Error, Result};
use crate::types::key::Key;
use crate::types::limits::Limits;
use crate::types::sem::{SemFlags, SemOp};
use std::time::{Duration, Instant};

/// A counting semaphore: a set of one, or one of a set ([`SemaphoreSet::semaphore`]). With the
/// initial value 1 it is a lock between processes.
///
/// A process acquires units with a [`Guard`], which releases them when it is dropped. They are also
/// released when the process exits or is killed (`SEM_UNDO`), so no process waits for one that is
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
    set: SemaphoreSet,
    num: u16,
}

impl Semaphore {
    pub(super) fn new(set: SemaphoreSet, num: u16) -> Semaphore {
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

    /// Acquires one unit. Blocks until there is one.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Semaphore;
    /// let semaphore = Semaphore::private(&ns, 2)?;
    /// let _guard = semaphore.acquire()?;
    /// assert_eq!(semaphore.value()?, 1);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant altering |
    /// | `EFBIG` | the set has no such semaphore |
    /// | `EIDRM` | the set was removed while the call waited |
    /// | `EINVAL` | the set does not exist (any more) |
    /// | `ENOMEM` | there is no room for the blocked call or for the adjustment (`SEM_UNDO`) |
    /// | `ERANGE` | the adjustment of this process would be over 32767 |
    ///
    /// # References
    ///
    /// semop(2)
    #[doc(alias = "semop")]
    pub fn acquire(&self) -> Result<Guard> {
        self.acquire_many(1)
    }

    /// Acquires `units` (1..=32767) at once. Blocks until there are as many.
    ///
    /// Calls that need fewer units can proceed meanwhile, so a call for many can wait long.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Semaphore;
    /// let connections = Semaphore::private(&ns, 10)?;
    /// let guard = connections.acquire_many(4)?;
    /// assert_eq!((guard.units(), connections.value()?), (4, 6));
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire), and:
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | `units` is 0 or over 32767 |
    ///
    /// # References
    ///
    /// semop(2)
    pub fn acquire_many(&self, units: u16) -> Result<Guard> {
        let op = self.acquire_op(units)?;
        match common::restart_after_signals(None, |timeout| self.set.raw_op(&[op], timeout)) {
            Ok(()) => Ok(self.guard(units)),
            Err(e) => Err(self.set.operation_error(&[op], e)),
        }
    }

    /// Acquires one unit if there is one. Never blocks.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Semaphore;
    /// let lock = Semaphore::private(&ns, 1)?;
    /// let guard = lock.try_acquire()?;
    /// assert!(guard.is_some());
    /// assert!(lock.try_acquire()?.is_none());
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire), without `EIDRM`.
    ///
    /// # References
    ///
    /// semop(2), `IPC_NOWAIT`
    #[doc(alias = "IPC_NOWAIT")]
    pub fn try_acquire(&self) -> Result<Option<Guard>> {
        let op = self.acquire_op(1)?;
        self.acquired(op, self.set.raw_try_op(&[op]))
    }

    /// Acquires one unit. Blocks until there is one, for `timeout` at most; then returns `None`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Semaphore;
    /// use std::time::Duration;
    /// let semaphore = Semaphore::private(&ns, 0)?;
    /// assert!(semaphore.acquire_timeout(Duration::from_millis(1))?.is_none());
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire).
    ///
    /// # References
    ///
    /// semtimedop in semop(2)
    #[doc(alias = "semtimedop")]
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Option<Guard>> {
        match Instant::now().checked_add(timeout) {
            Some(deadline) => self.acquire_deadline(deadline),
            // The deadline is later than any time.
            None => self.acquire().map(Some),
        }
    }

    /// Acquires one unit. Blocks until there is one, until `deadline` at most; then returns `None`.
    ///
    /// If the deadline has passed, it acquires a unit that is there.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Semaphore;
    /// use std::time::Instant;
    /// let semaphore = Semaphore::private(&ns, 1)?;
    /// let guard = semaphore.acquire_deadline(Instant::now())?;
    /// assert_eq!(guard.unwrap().units(), 1);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire).
    ///
    /// # References
    ///
    /// semtimedop in semop(2)
    pub fn acquire_deadline(&self, deadline: Instant) -> Result<Option<Guard>> {
        let op = self.acquire_op(1)?;
        let done = common::restart_after_signals(Some(deadline), |left| match left {
            Some(Duration::ZERO) => self.set.raw_try_op(&[op]),
            _ => self.set.raw_op(&[op], left),
        });
        self.acquired(op, done)
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

    fn acquire_op(&self, units: u16) -> Result<SemOp> {
        Ok(SemOp::new(self.num, -self.checked_units(units)?).flags(SemFlags::UNDO))
    }

    fn guard(&self, units: u16) -> Guard {
        Guard { semaphore: self.clone(), units: units as i16, generation: ids::generation() }
    }

    /// Turns `EAGAIN` into `None`.
    fn acquired(&self, op: SemOp, done: std::result::Result<(), Errno>) -> Result<Option<Guard>> {
        match done {
            Ok(()) => Ok(Some(self.guard(op.op.unsigned_abs()))),
            Err(Errno::AGAIN) => Ok(None),
            Err(e) => Err(self.set.operation_error(&[op], e)),
        }
    }
}
