//! One counting semaphore, with guards.

use crate::api::common;
use crate::api::namespace::Namespace;
use crate::api::semaphore_set::SemaphoreSet;
use crate::process::fork;
use crate::sys::ids;
use crate::types::error::{Errno, Error, Result};
use crate::types::key::Key;
use crate::types::limits::Limits;
use crate::types::sem::{SemFlags, SemOp};
use std::time::{Duration, Instant};

/// A counting semaphore: most often a set of one, or one of a set ([`SemaphoreSet::semaphore`]). With the initial value 1 it is
/// a lock between processes.
///
/// Units are taken with a [`Guard`], which gives them back when it is dropped. If the process ends, however it ends, they
/// are given back, too (`SEM_UNDO`), so nobody waits for the dead.
///
/// A signal that is caught does not end the waiting; [`SemaphoreSet::op`] is for those who want that.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
/// use quintet::{Key, Semaphore};
/// let semaphore = Semaphore::open_or_create(&ns, Key::new(0x5eed), 1)?;
/// {
///     let _mine = semaphore.acquire()?;
///     assert!(semaphore.try_acquire()?.is_none(), "one at a time");
/// }
/// assert_eq!(semaphore.value()?, 1);
/// # semaphore.remove()?;
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

    /// Opens the semaphore of `key`, or creates it with `initial` units (0..=32767) and mode 0600. Whoever calls this finds it
    /// initialised, whoever was first: see [`SemaphoreSet::create`].
    ///
    /// For another mode: `SemaphoreSet::options().mode(0o660).create(&ns, key, &[1])?.semaphore(0)`.
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | it exists and its mode does not grant reading and altering |
    /// | `ENOMEM` | the file system has no room |
    /// | `ENOSPC` | the limit `semmni` or `semmns` is reached |
    /// | `ERANGE` | `initial` is over 32767 |
    /// | `ETIMEDOUT` | it exists, but nobody has operated on it within a second |
    ///
    /// # References
    ///
    /// semget(2)
    pub fn open_or_create(ns: &Namespace, key: Key, initial: u16) -> Result<Semaphore> {
        Ok(SemaphoreSet::create(ns, key, &[initial])?.semaphore(0))
    }

    /// Creates the semaphore of `key` with `initial` units (0..=32767) and mode 0600.
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
    /// semget(2)
    pub fn create_new(ns: &Namespace, key: Key, initial: u16) -> Result<Semaphore> {
        Ok(SemaphoreSet::create_new(ns, key, &[initial])?.semaphore(0))
    }

    /// Opens the semaphore of `key`, the first one if it is a set of several, as it is.
    ///
    /// # Errors
    ///
    /// `ENOENT` no set has the key.
    ///
    /// # References
    ///
    /// semget(2)
    pub fn open(ns: &Namespace, key: Key) -> Result<Semaphore> {
        Ok(SemaphoreSet::open(ns, key)?.semaphore(0))
    }

    /// The set it is in.
    pub fn set(&self) -> &SemaphoreSet {
        &self.set
    }

    /// Its number in the set.
    pub fn num(&self) -> u16 {
        self.num
    }

    /// Takes one unit, and waits until there is one.
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant altering |
    /// | `EFBIG` | the set has no such semaphore |
    /// | `EIDRM` | the set was removed while this waited |
    /// | `EINVAL` | the set does not exist (any more) |
    /// | `ENOMEM` | no room for the waiting call, or for what must be remembered of it |
    /// | `ERANGE` | the process has more units to give back than a value can be, 32767 |
    ///
    /// # References
    ///
    /// semop(2)
    pub fn acquire(&self) -> Result<Guard> {
        self.acquire_many(1)
    }

    /// Takes `units` (1..=32767) at once, and waits until there are as many. Who waits for many may wait long,
    /// while those who want fewer are served.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, Semaphore};
    /// let connections = Semaphore::open_or_create(&ns, Key::PRIVATE, 10)?;
    /// let guard = connections.acquire_many(4)?;
    /// assert_eq!((guard.units(), connections.value()?), (4, 6));
    /// # drop(guard);
    /// # connections.remove()?;
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire); `EINVAL` also if `units` is 0 or over 32767.
    ///
    /// # References
    ///
    /// semop(2)
    pub fn acquire_many(&self, units: u16) -> Result<Guard> {
        let op = self.taking(units)?;
        match common::through_signals(None, |timeout| self.set.raw_op(&[op], timeout)) {
            Ok(()) => Ok(self.guard(units)),
            Err(e) => Err(self.set.operation_error(&[op], e)),
        }
    }

    /// Takes one unit if there is one.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire), without `EIDRM`.
    ///
    /// # References
    ///
    /// semop(2), `IPC_NOWAIT`
    pub fn try_acquire(&self) -> Result<Option<Guard>> {
        let op = self.taking(1)?;
        self.told(op, self.set.raw_try_op(&[op]))
    }

    /// Takes one unit, and waits until there is one, at the longest for `timeout`. `None`: there was none.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, Semaphore};
    /// use std::time::Duration;
    /// let semaphore = Semaphore::open_or_create(&ns, Key::PRIVATE, 0)?;
    /// assert!(semaphore.acquire_timeout(Duration::from_millis(1))?.is_none());
    /// # semaphore.remove()?;
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # References
    ///
    /// semtimedop in semop(2)
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Option<Guard>> {
        match Instant::now().checked_add(timeout) {
            Some(deadline) => self.acquire_deadline(deadline),
            // Later than there will be time.
            None => self.acquire().map(Some),
        }
    }

    /// Takes one unit, and waits until there is one, but not beyond `deadline`. `None`: there was none.
    /// If the deadline has passed, takes what is there.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # References
    ///
    /// semtimedop in semop(2)
    pub fn acquire_deadline(&self, deadline: Instant) -> Result<Option<Guard>> {
        let op = self.taking(1)?;
        let done = common::through_signals(Some(deadline), |left| match left {
            Some(Duration::ZERO) => self.set.raw_try_op(&[op]),
            _ => self.set.raw_op(&[op], left),
        });
        self.told(op, done)
    }

    /// Adds `units` (1..=32767) that no guard has taken: what has been made, or what another process shall have.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, Semaphore};
    /// let jobs = Semaphore::open_or_create(&ns, Key::PRIVATE, 0)?;
    /// jobs.release(3)?;
    /// assert_eq!(jobs.value()?, 3);
    /// # jobs.remove()?;
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
        let op = SemOp::new(self.num, self.checked(units)?);
        self.set.raw_op(&[op], None).map_err(|e| self.set.operation_error(&[op], e))
    }

    /// How many units there are to be taken now.
    ///
    /// # Errors
    ///
    /// As [`SemaphoreSet::value`].
    ///
    /// # References
    ///
    /// semctl(2), `GETVAL`
    pub fn value(&self) -> Result<u16> {
        self.set.value(self.num)
    }

    /// Removes the whole set that it is in; whoever waits gets `EIDRM`.
    ///
    /// # Errors
    ///
    /// As [`SemaphoreSet::remove`].
    ///
    /// # References
    ///
    /// semctl(2), `IPC_RMID`
    pub fn remove(&self) -> Result<()> {
        self.set.remove()
    }

    /// How many units an operation can be of.
    fn checked(&self, units: u16) -> Result<i16> {
        match i16::try_from(units) {
            Ok(units) if units > 0 => Ok(units),
            _ => Err(Error::new(Errno::INVAL, format!("cannot take or give {units} units of set {}", self.set.id()))
                .reason(format!("it must be 1..={} units", Limits::SEMVMX))),
        }
    }

    fn taking(&self, units: u16) -> Result<SemOp> {
        Ok(SemOp::new(self.num, -self.checked(units)?).flags(SemFlags::UNDO))
    }

    fn guard(&self, units: u16) -> Guard {
        Guard { semaphore: self.clone(), units: units as i16, generation: ids::generation() }
    }

    fn told(&self, op: SemOp, done: std::result::Result<(), Errno>) -> Result<Option<Guard>> {
        match done {
            Ok(()) => Ok(Some(self.guard(op.op.unsigned_abs()))),
            Err(Errno::AGAIN) => Ok(None),
            Err(e) => Err(self.set.operation_error(&[op], e)),
        }
    }
}

/// Units of a [`Semaphore`] that this process has taken. Dropping it gives them back; so does the process's end.
///
/// What is given back at the end belongs to the process, not to a thread, so a guard may be dropped by another thread than
/// the one that took it. A child made by fork has not taken anything: dropping its copy of a guard does nothing.
///
/// ```
/// fn is_for_any_thread<T: Send + Sync + 'static>() {}
/// is_for_any_thread::<quintet::Guard>();
/// ```
///
/// # References
///
/// semop(2), `SEM_UNDO`
#[must_use = "what was taken is given back at once if the guard is not kept"]
#[derive(Debug)]
#[doc(alias = "SEM_UNDO")]
pub struct Guard {
    semaphore: Semaphore,
    units: i16,
    /// The `sys::generation` of the process that took them.
    generation: u32,
}

impl Guard {
    /// How many units were taken.
    pub fn units(&self) -> u16 {
        self.units.unsigned_abs()
    }

    /// The semaphore.
    pub fn semaphore(&self) -> &Semaphore {
        &self.semaphore
    }

    /// Gives the units back, as dropping does, and tells whether that went well.
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant altering any more |
    /// | `EINVAL` | the set does not exist any more |
    /// | `ERANGE` | the value would be over 32767: units were added that nobody had taken |
    ///
    /// # References
    ///
    /// semop(2)
    pub fn release(self) -> Result<()> {
        let op = self.giving_back();
        let done = self.give_back().map_err(|e| self.semaphore.set.operation_error(&[op], e));
        std::mem::forget(self);
        done
    }

    /// Keeps the units until the process ends: they are given back then, not sooner. `std::mem::forget`
    /// does the same.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, Semaphore};
    /// // Only one such program at a time.
    /// let one = Semaphore::open_or_create(&ns, Key::new(7), 1)?;
    /// one.try_acquire()?.expect("another one runs already").forget();
    /// assert_eq!(one.value()?, 0);
    /// # one.remove()?;
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn forget(self) {
        std::mem::forget(self);
    }

    fn giving_back(&self) -> SemOp {
        SemOp::new(self.semaphore.num, self.units).flags(SemFlags::UNDO)
    }

    fn give_back(&self) -> std::result::Result<(), Errno> {
        // A child of a bare `clone` does not know yet that it is one.
        if self.generation != ids::generation() || fork::is_raw_clone_child() {
            return Ok(());
        }
        self.semaphore.set.raw_op(&[self.giving_back()], None)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // If the set is gone there is nothing to give back to.
        let _ = self.give_back();
    }
}
