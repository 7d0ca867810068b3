//! Operations on the semaphores of a set.

use crate::api::semaphore_set::SemaphoreSet;
use crate::types::error::{Errno, Error, Result};
use crate::types::sem::{SemFlags, SemOp};
use std::time::{Duration, Instant};

impl SemaphoreSet {
    /// Does all operations (1..=`semopm`) at once. Blocks until it can.
    ///
    /// A caught signal ends the waiting with `EINTR`, as in C. [`Semaphore`](crate::Semaphore)
    /// continues to wait instead.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{SemFlags, SemOp, SemaphoreSet};
    /// let set = SemaphoreSet::private(&ns, &[1, 0])?;
    /// // Takes semaphore 0 if semaphore 1 is zero. The exit of this process gives it back.
    /// set.op(&[SemOp::new(1, 0), SemOp::new(0, -1).flags(SemFlags::UNDO)])?;
    /// assert_eq!(set.value(0)?, 0);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `E2BIG` | there are more than `semopm` operations |
    /// | `EACCES` | the mode does not grant altering (reading, if every operation waits for zero) |
    /// | `EAGAIN` | an operation with [`SemFlags::NOWAIT`] would have to wait |
    /// | `EFBIG` | the set has no semaphore of an operation's number |
    /// | `EIDRM` | the set was removed meanwhile |
    /// | `EINTR` | a signal was caught |
    /// | `EINVAL` | the set does not exist (any more), or there are no operations |
    /// | `ENOMEM` | there is no room for the blocked call or for the adjustments (`SEM_UNDO`) |
    /// | `ERANGE` | a value or an adjustment would be out of range |
    ///
    /// # References
    ///
    /// semop(2)
    #[doc(alias = "semop")]
    pub fn op(&self, ops: &[SemOp]) -> Result<()> {
        self.raw_op(ops, None).map_err(|e| self.operation_error(ops, e))
    }

    /// Does all operations (1..=`semopm`) at once, if that needs no waiting. Returns `true` if it
    /// did.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{SemOp, SemaphoreSet};
    /// let set = SemaphoreSet::private(&ns, &[1])?;
    /// assert!(set.try_op(&[SemOp::new(0, -1)])?);
    /// assert!(!set.try_op(&[SemOp::new(0, -1)])?);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`op`](Self::op), without `EAGAIN`, `EIDRM` and `EINTR`.
    ///
    /// # References
    ///
    /// semop(2), `IPC_NOWAIT`
    #[doc(alias = "IPC_NOWAIT")]
    pub fn try_op(&self, ops: &[SemOp]) -> Result<bool> {
        self.operated(ops, self.raw_try_op(ops))
    }

    /// Does all operations (1..=`semopm`) at once. Blocks until it can, for `timeout` at most.
    /// Returns `true` if it did them.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{SemOp, SemaphoreSet};
    /// use std::time::Duration;
    /// let set = SemaphoreSet::private(&ns, &[0])?;
    /// assert!(!set.op_timeout(&[SemOp::new(0, -1)], Duration::from_millis(1))?);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`op`](Self::op), without `EAGAIN`.
    ///
    /// # References
    ///
    /// semtimedop in semop(2)
    #[doc(alias = "semtimedop")]
    pub fn op_timeout(&self, ops: &[SemOp], timeout: Duration) -> Result<bool> {
        self.operated(ops, self.raw_op(ops, Some(timeout)))
    }

    /// Does all operations (1..=`semopm`) at once. Blocks until it can, until `deadline` at most.
    /// Returns `true` if it did them.
    ///
    /// If the deadline has passed, it does what needs no waiting.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{SemOp, SemaphoreSet};
    /// use std::time::Instant;
    /// let set = SemaphoreSet::private(&ns, &[1])?;
    /// assert!(set.op_deadline(&[SemOp::new(0, -1)], Instant::now())?);
    /// assert!(!set.op_deadline(&[SemOp::new(0, -1)], Instant::now())?);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`op`](Self::op), without `EAGAIN`.
    ///
    /// # References
    ///
    /// semtimedop in semop(2)
    pub fn op_deadline(&self, ops: &[SemOp], deadline: Instant) -> Result<bool> {
        self.op_timeout(ops, deadline.saturating_duration_since(Instant::now()))
    }

    #[inline]
    pub(in crate::api) fn raw_op(&self, ops: &[SemOp], timeout: Option<Duration>) -> std::result::Result<(), Errno> {
        self.ns.semtimedop(self.id.raw(), ops, timeout)
    }

    pub(in crate::api) fn raw_try_op(&self, ops: &[SemOp]) -> std::result::Result<(), Errno> {
        let without_waiting = |op: &SemOp| op.flags(op.flags | SemFlags::NOWAIT);
        if let [op] = ops {
            return self.raw_op(&[without_waiting(op)], None);
        }
        self.raw_op(&ops.iter().map(without_waiting).collect::<Vec<_>>(), None)
    }

    /// Turns `EAGAIN` into `false`.
    fn operated(&self, ops: &[SemOp], done: std::result::Result<(), Errno>) -> Result<bool> {
        match done {
            Ok(()) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(e) => Err(self.operation_error(ops, e)),
        }
    }

    pub(in crate::api) fn operation_error(&self, ops: &[SemOp], errno: Errno) -> Error {
        let error = self.error("operate on", errno);
        match errno {
            Errno::INVAL if ops.is_empty() => error.reason("there are no operations"),
            Errno::FBIG => {
                let num = ops.iter().map(|op| op.num).max().unwrap_or_default();
                error.reason(format!("it has no semaphore {num}"))
            }
            Errno::TOOBIG => {
                let semopm = self.ns.limits().unwrap_or_default().semopm;
                error.reason(format!("{} operations are more than the limit semopm, {semopm}", ops.len()))
            }
            _ => error,
        }
    }
}
