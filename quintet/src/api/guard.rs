//! Acquiring units of a semaphore, and the units that this process has acquired.

use crate::api::common;
use crate::api::semaphore::Semaphore;
use crate::process::fork;
use crate::sys::ids;
use crate::types::error::{Errno, Result};
use crate::types::sem::{SemFlags, SemOp};
use std::time::{Duration, Instant};

/// Units of a [`Semaphore`] that this process has acquired. Dropping the guard releases them, and
/// so does the exit of the process.
///
/// The adjustment belongs to the process, not to a thread, so any thread may drop the guard. A
/// child made by fork has acquired nothing: dropping its copy of a guard has no effect.
///
/// # Examples
///
/// ```
/// fn can_be_moved_to_threads<T: Send + Sync + 'static>() {}
/// can_be_moved_to_threads::<quintet::Guard>();
/// ```
///
/// # References
///
/// semop(2), `SEM_UNDO`
#[must_use = "a guard that is not kept releases its units at once"]
#[derive(Debug)]
#[doc(alias = "SEM_UNDO")]
pub struct Guard {
    pub(crate) semaphore: Semaphore,
    pub(crate) units: i16,
    /// The [`ids::generation`] of the process that acquired the units.
    pub(crate) generation: u32,
}

impl Guard {
    /// Returns the number of acquired units, 1..=32767.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Semaphore;
    /// assert_eq!(Semaphore::private(&ns, 5)?.acquire_many(3)?.units(), 3);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn units(&self) -> u16 {
        self.units.unsigned_abs()
    }

    /// Returns the semaphore.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Semaphore;
    /// let guard = Semaphore::private(&ns, 5)?.acquire()?;
    /// assert_eq!(guard.semaphore().value()?, 4);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn semaphore(&self) -> &Semaphore {
        &self.semaphore
    }

    /// Releases the units, and reports a failure, which dropping ignores.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Semaphore;
    /// let lock = Semaphore::private(&ns, 1)?;
    /// lock.acquire()?.release()?;
    /// assert_eq!(lock.value()?, 1);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant altering any more |
    /// | `EINVAL` | the set does not exist any more |
    /// | `ERANGE` | the value would be over 32767, because other calls added units |
    ///
    /// # References
    ///
    /// semop(2)
    pub fn release(self) -> Result<()> {
        let op = self.release_op();
        let done = self.release_units().map_err(|e| self.semaphore.set.operation_error(&[op], e));
        std::mem::forget(self);
        done
    }

    /// Keeps the units until the process exits. `std::mem::forget` does the same.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, Semaphore};
    /// // At most one instance of this program runs at a time.
    /// let instance = Semaphore::open_or_create(&ns, Key::new(7), 1)?;
    /// instance.try_acquire()?.expect("another instance runs").forget();
    /// assert_eq!(instance.value()?, 0);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// semop(2), `SEM_UNDO`
    pub fn forget(self) {
        std::mem::forget(self);
    }

    fn release_op(&self) -> SemOp {
        SemOp::new(self.semaphore.num, self.units).flags(SemFlags::UNDO)
    }

    fn release_units(&self) -> std::result::Result<(), Errno> {
        // A child of a raw `clone` has the generation of its parent.
        if self.generation != ids::generation() || fork::is_raw_clone_child() {
            return Ok(());
        }
        self.semaphore.set.raw_op(&[self.release_op()], None)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // If the set was removed, there is nothing to release.
        let _ = self.release_units();
    }
}

impl Semaphore {
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
