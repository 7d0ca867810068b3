//! The values of a set, and the calls that wait for them.

use crate::api::semaphore_set::SemaphoreSet;
use crate::types::error::{Errno, Error, Result};

impl SemaphoreSet {
    /// Returns the value of semaphore `num`, 0..=32767 (`GETVAL`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::SemaphoreSet;
    /// assert_eq!(SemaphoreSet::private(&ns, &[5, 6])?.value(1)?, 6);
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
    /// semctl(2)
    #[doc(alias = "GETVAL")]
    pub fn value(&self, num: u16) -> Result<u16> {
        self.ns.sem_value(self.id.raw(), num.into()).map_err(|e| self.semaphore_error(num, "read the value of", e))
    }

    /// Returns all values, read at one instant (`GETALL`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::SemaphoreSet;
    /// assert_eq!(SemaphoreSet::private(&ns, &[5, 6])?.values()?, [5, 6]);
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
    #[doc(alias = "GETALL")]
    pub fn values(&self) -> Result<Vec<u16>> {
        self.ns.sem_values(self.id.raw()).map_err(|e| self.error("read the values of", e))
    }

    /// Sets the value of semaphore `num` to 0..=32767, and clears the adjustments (`SEM_UNDO`) that
    /// any process has for it (`SETVAL`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::SemaphoreSet;
    /// let set = SemaphoreSet::private(&ns, &[5, 6])?;
    /// set.set_value(1, 0)?;
    /// assert_eq!(set.values()?, [5, 0]);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant altering |
    /// | `EINVAL` | the set does not exist (any more), or has no such semaphore |
    /// | `ERANGE` | the value is over 32767 |
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "SETVAL")]
    pub fn set_value(&self, num: u16, value: u16) -> Result<()> {
        let set = self.ns.sem_set_value(self.id.raw(), num.into(), value.into());
        set.map_err(|e| self.semaphore_error(num, "set the value of", e))
    }

    /// Sets all values at one instant, each to 0..=32767, and clears all adjustments (`SEM_UNDO`)
    /// of the set (`SETALL`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::SemaphoreSet;
    /// let set = SemaphoreSet::private(&ns, &[0, 0])?;
    /// set.set_values(&[5, 6])?;
    /// assert_eq!(set.values()?, [5, 6]);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant altering |
    /// | `EINVAL` | the set does not exist (any more), or has another number of semaphores |
    /// | `ERANGE` | a value is over 32767 |
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "SETALL")]
    pub fn set_values(&self, values: &[u16]) -> Result<()> {
        self.ns.sem_set_values(self.id.raw(), values).map_err(|e| self.error("set the values of", e))
    }

    /// Returns the id of the process that last changed semaphore `num`; 0 if none has (`GETPID`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::SemaphoreSet;
    /// let set = SemaphoreSet::private(&ns, &[0])?;
    /// set.set_value(0, 1)?;
    /// assert_eq!(set.pid(0)?, std::process::id() as i32);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`value`](Self::value).
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "GETPID")]
    pub fn pid(&self, num: u16) -> Result<i32> {
        self.ns.sem_pid(self.id.raw(), num.into()).map_err(|e| self.semaphore_error(num, "read the last process of", e))
    }

    /// Returns the number of calls that wait for semaphore `num` to grow (`GETNCNT`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::SemaphoreSet;
    /// assert_eq!(SemaphoreSet::private(&ns, &[0])?.waiting(0)?, 0);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`value`](Self::value).
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "GETNCNT")]
    pub fn waiting(&self, num: u16) -> Result<u32> {
        self.ns.sem_ncnt(self.id.raw(), num.into()).map_err(|e| self.semaphore_error(num, "count the waiters for", e))
    }

    /// Returns the number of calls that wait for semaphore `num` to become zero (`GETZCNT`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::SemaphoreSet;
    /// assert_eq!(SemaphoreSet::private(&ns, &[1])?.waiting_for_zero(0)?, 0);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`value`](Self::value).
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "GETZCNT")]
    pub fn waiting_for_zero(&self, num: u16) -> Result<u32> {
        self.ns.sem_zcnt(self.id.raw(), num.into()).map_err(|e| self.semaphore_error(num, "count the waiters for", e))
    }

    fn semaphore_error(&self, num: u16, verb: &str, errno: Errno) -> Error {
        let error = self.error(&format!("{verb} semaphore {num} of"), errno);
        if errno == Errno::INVAL { error.reason("it does not exist (any more), or has no such semaphore") } else { error }
    }
}
