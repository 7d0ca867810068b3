//! Acquired units.

use crate::api::semaphore::Semaphore;
use crate::process::fork;
use crate::sys::ids;
use crate::types::error::{Errno, Result};
use crate::types::sem::{SemFlags, SemOp};

/// Units of a [`Semaphore`] that this process has acquired. Dropping the guard releases them, and so
/// does the exit of the process.
///
/// The adjustment belongs to the process, not to a thread, so any thread may drop the guard. A child
/// made by fork has acquired nothing: dropping its copy of a guard has no effect.
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
    pub(super) semaphore: Semaphore,
    pub(super) units: i16,
    /// The [`ids::generation`] of the process that acquired the units.
    pub(super) generation: u32,
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
