//! The safe face of a set.

use crate::api::common;
use crate::api::namespace::Namespace;
use crate::api::semaphore::Semaphore;
use crate::types::error::{Errno, Error, Result};
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::limits::Limits;
use crate::types::sem::{SemFlags, SemOp, SetStat};
use std::time::{Duration, Instant};

/// A set of semaphores, by its identifier. Holding one keeps nothing: a set lives until it is removed,
/// as System V says.
///
/// Semaphores are numbered from 0; each has a value in 0..=32767. The operations of one call are done
/// all at once, or not at all. For a single counting semaphore, or a lock, [`Semaphore`] is shorter.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
/// use quintet::{Key, SemOp, SemaphoreSet};
/// // Of three free places and no goods, one place becomes goods.
/// let set = SemaphoreSet::create(&ns, Key::new(0x5eed), &[3, 0])?;
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
    ns: Namespace,
    id: Id,
}

/// How a set is created: see [`SemaphoreSet::options`].
#[derive(Clone, Debug)]
pub struct SemaphoreSetOptions {
    mode: u32,
    exclusive: bool,
}

impl SemaphoreSetOptions {
    /// The access mode, nine bits `rw-rw-rw-`, where `w` is the right to alter; 0o600 if not given.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode & 0o777;
        self
    }

    /// Fails with `EEXIST` if the key is in use (`IPC_EXCL`).
    pub fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    /// Creates the set of `key` with one semaphore (1..=`semmsl` in all) for each of `values` (each 0..=32767), or opens the
    /// one that is there, with at least as many. See [`SemaphoreSet::create`] for what holds when several do this at a time.
    ///
    /// # Errors
    ///
    /// As [`SemaphoreSet::create`]; `EEXIST` [`exclusive`](Self::exclusive) was asked for and the key is in use.
    pub fn create(&self, ns: &Namespace, key: Key, values: &[u16]) -> Result<SemaphoreSet> {
        let failed = |errno| creation_error(ns, key, values, errno);
        if values.iter().any(|value| *value > Limits::SEMVMX) {
            return Err(failed(Errno::RANGE));
        }
        let exclusive = if self.exclusive { libc::IPC_EXCL } else { 0 };
        let flags = self.mode as i32 | libc::IPC_CREAT | exclusive;
        for _ in 0..common::MOST_RACES {
            let id =
                ns.semget_with(key, flags, values).unwrap_or_else(|| self.create_in_steps(ns, key, values)).map_err(failed)?;
            let set = SemaphoreSet { ns: ns.clone(), id };
            match set.wait_until_initialised() {
                Ok(()) => return Ok(set),
                // It has been removed since.
                Err(Errno::INVAL | Errno::IDRM) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Err(failed(Errno::AGAIN))
    }

    /// Where creating a set and giving it its values are two steps.
    fn create_in_steps(&self, ns: &Namespace, key: Key, values: &[u16]) -> std::result::Result<Id, Errno> {
        let nsems = i32::try_from(values.len()).map_err(|_| Errno::INVAL)?;
        let set = |id| SemaphoreSet { ns: ns.clone(), id };
        let get = |flags| ns.semget(key, nsems, flags);
        let remove = |id: Id| ns.sem_remove(id.raw());
        common::create_in_steps(self.mode as i32, self.exclusive, get, |id| set(id).initialise(values), remove)
    }
}

/// For how long the creator of a set may be about to give it its values.
const PATIENCE: Duration = Duration::from_secs(1);

fn creation_error(ns: &Namespace, key: Key, values: &[u16], errno: Errno) -> Error {
    let error = Error::new(errno, format!("cannot create a set of {} semaphores with key {key}", values.len()));
    let limits = ns.limits().unwrap_or_default();
    match errno {
        Errno::INVAL if values.is_empty() => error.reason("a set has at least 1 semaphore"),
        Errno::INVAL if values.len() > limits.semmsl as usize => error
            .reason(format!("the limit semmsl is {} semaphores", limits.semmsl))
            .hint("raise it with 'quintet namespace limits --semmsl'"),
        Errno::INVAL => error.reason("a set of fewer semaphores has this key"),
        Errno::RANGE => error.reason(format!("a value is at most {}", Limits::SEMVMX)),
        Errno::NOSPC => error
            .reason(format!("the limit semmni ({} sets) or semmns ({} semaphores) is reached", limits.semmni, limits.semmns))
            .hint("remove sets, or raise the limit with 'quintet namespace limits'"),
        Errno::TIMEDOUT => error
            .reason(
                "the set is there, but nobody has operated on it yet: whoever created it may have ended before it had its values",
            )
            .hint("remove it; or open it as it is"),
        _ => common::creation_error(errno, error),
    }
}

impl SemaphoreSet {
    /// Choices for creating a set.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, SemaphoreSet};
    /// let set = SemaphoreSet::options().mode(0o640).exclusive().create(&ns, Key::new(5), &[1])?;
    /// assert_eq!(set.stat()?.perm.mode, 0o640);
    /// # set.remove()?;
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// semget(2)
    pub fn options() -> SemaphoreSetOptions {
        SemaphoreSetOptions { mode: 0o600, exclusive: false }
    }

    /// Creates the set of `key`, with mode 0600 and one semaphore (1..=`semmsl` in all) for each of `values` (each 0..=32767),
    /// or opens the one that is there, with at least as many, and leaves its values alone.
    ///
    /// In C, creating a set and giving it its values are two steps, and somebody may come in between. Here nobody does. In a
    /// directory a new set has its values from its first instant. In the kernel they are given by the set's first operation, all at
    /// once, and whoever finds a set on which nobody has operated yet (`otime` is 0, as semctl(2) suggests) waits for that, for a
    /// second at the most. C programs that keep to this convention, on either side, are served in both; if one of them, or in
    /// the kernel any creator, ends between the two steps, the others get `ETIMEDOUT`.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, SemaphoreSet};
    /// let set = SemaphoreSet::create(&ns, Key::new(5), &[1, 0])?;
    /// set.set_value(0, 7)?;
    /// let same = SemaphoreSet::create(&ns, Key::new(5), &[1, 0])?;
    /// assert_eq!(same.values()?, [7, 0]);
    /// # set.remove()?;
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the set exists and its mode does not grant reading and altering |
    /// | `EINVAL` | no values, or more than `semmsl`; existing: it has fewer semaphores |
    /// | `ENOMEM` | the file system has no room |
    /// | `ENOSPC` | the limit `semmni` or `semmns` is reached |
    /// | `ERANGE` | a value is over 32767 |
    /// | `ETIMEDOUT` | existing: nobody has operated on it within a second |
    ///
    /// # References
    ///
    /// semget(2), and the example in semctl(2) of the race
    pub fn create(ns: &Namespace, key: Key, values: &[u16]) -> Result<SemaphoreSet> {
        SemaphoreSet::options().create(ns, key, values)
    }

    /// Creates a set as [`create`](Self::create) does, and fails with `EEXIST` if the key is in use.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Errno, Key, SemaphoreSet};
    /// let set = SemaphoreSet::create_new(&ns, Key::new(5), &[1])?;
    /// let again = SemaphoreSet::create_new(&ns, Key::new(5), &[1]);
    /// assert_eq!(again.unwrap_err().errno(), Errno::EXIST);
    /// # set.remove()?;
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create), but for `EACCES` and `ETIMEDOUT`; `EEXIST` the key is in use.
    ///
    /// # References
    ///
    /// semget(2)
    pub fn create_new(ns: &Namespace, key: Key, values: &[u16]) -> Result<SemaphoreSet> {
        SemaphoreSet::options().exclusive().create(ns, key, values)
    }

    /// Opens the set of `key`, as it is. Whether a C program that created it has yet to give it its values,
    /// [`stat`](Self::stat) may tell: its `otime` is 0 then.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, SemaphoreSet};
    /// let set = SemaphoreSet::create(&ns, Key::new(5), &[1, 2, 3])?;
    /// assert_eq!(SemaphoreSet::open(&ns, Key::new(5))?.stat()?.nsems, 3);
    /// # set.remove()?;
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `ENOENT` no set has the key. No right is asked for yet.
    ///
    /// # References
    ///
    /// semget(2)
    pub fn open(ns: &Namespace, key: Key) -> Result<SemaphoreSet> {
        let id = common::open("set", key, || ns.semget(key, 0, 0))?;
        Ok(SemaphoreSet { ns: ns.clone(), id })
    }

    /// Opens a set by its identifier.
    ///
    /// # Errors
    ///
    /// `EINVAL` no set has the identifier. No right is asked for yet.
    ///
    /// # References
    ///
    /// semctl(2), `SEM_STAT_ANY`
    pub fn open_id(ns: &Namespace, id: Id) -> Result<SemaphoreSet> {
        common::open_id("set", id, ns.sem_stat_index(i32::from(id.index()), true).map(|stat| stat.id))?;
        Ok(SemaphoreSet { ns: ns.clone(), id })
    }

    /// The identifier.
    pub fn id(&self) -> Id {
        self.id
    }

    /// The namespace it is in.
    pub fn namespace(&self) -> &Namespace {
        &self.ns
    }

    /// Semaphore `num` of the set, from 0, as a counting semaphore with guards.
    /// Whether the set has it is found out when it is used.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, SemaphoreSet};
    /// let set = SemaphoreSet::create(&ns, Key::PRIVATE, &[1, 4])?;
    /// let guard = set.semaphore(1).acquire()?;
    /// assert_eq!(set.values()?, [1, 3]);
    /// # drop(guard);
    /// # set.remove()?;
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn semaphore(&self, num: u16) -> Semaphore {
        Semaphore::new(self.clone(), num)
    }

    /// Does all operations (1..=`semopm`) at once, or waits until it can.
    ///
    /// A signal that is caught ends the waiting with `EINTR`, as it does the C call; [`Semaphore`] goes on waiting instead.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, SemFlags, SemOp, SemaphoreSet};
    /// let set = SemaphoreSet::create(&ns, Key::PRIVATE, &[1, 0])?;
    /// // Takes semaphore 0 if 1 is zero, and gives it back if this process ends.
    /// set.op(&[SemOp::new(1, 0), SemOp::new(0, -1).flags(SemFlags::UNDO)])?;
    /// assert_eq!(set.value(0)?, 0);
    /// # set.remove()?;
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `E2BIG` | more than `semopm` operations |
    /// | `EACCES` | the mode does not grant altering (reading, if every operation waits for zero) |
    /// | `EAGAIN` | it would have to wait for an operation that has [`SemFlags::NOWAIT`] |
    /// | `EFBIG` | an operation's semaphore is not in the set |
    /// | `EIDRM` | the set was removed meanwhile |
    /// | `EINTR` | a signal was caught |
    /// | `EINVAL` | the set does not exist (any more), or there are no operations |
    /// | `ENOMEM` | no room for the waiting call, or for what `SEM_UNDO` must remember |
    /// | `ERANGE` | a value, or what `SEM_UNDO` remembers, would be out of range |
    ///
    /// # References
    ///
    /// semop(2)
    #[doc(alias = "semop")]
    pub fn op(&self, ops: &[SemOp]) -> Result<()> {
        self.raw_op(ops, None).map_err(|e| self.operation_error(ops, e))
    }

    /// Does all operations at once if that needs no waiting, and tells whether it did.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, SemOp, SemaphoreSet};
    /// let set = SemaphoreSet::create(&ns, Key::PRIVATE, &[1])?;
    /// assert!(set.try_op(&[SemOp::new(0, -1)])?);
    /// assert!(!set.try_op(&[SemOp::new(0, -1)])?);
    /// # set.remove()?;
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`op`](Self::op), without `EAGAIN` (which is `false`), `EIDRM` and `EINTR`.
    ///
    /// # References
    ///
    /// semop(2), `IPC_NOWAIT`
    #[doc(alias = "IPC_NOWAIT")]
    pub fn try_op(&self, ops: &[SemOp]) -> Result<bool> {
        self.told(ops, self.raw_try_op(ops))
    }

    /// Does all operations at once, or waits until it can, at the longest for `timeout`; tells whether it did.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, SemOp, SemaphoreSet};
    /// use std::time::Duration;
    /// let set = SemaphoreSet::create(&ns, Key::PRIVATE, &[0])?;
    /// assert!(!set.op_timeout(&[SemOp::new(0, -1)], Duration::from_millis(1))?);
    /// # set.remove()?;
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`op`](Self::op), without `EAGAIN`, which is `false`.
    ///
    /// # References
    ///
    /// semtimedop in semop(2)
    #[doc(alias = "semtimedop")]
    pub fn op_timeout(&self, ops: &[SemOp], timeout: Duration) -> Result<bool> {
        self.told(ops, self.raw_op(ops, Some(timeout)))
    }

    /// Does all operations at once, or waits until it can, but not beyond `deadline`; tells whether it did.
    /// A deadline that has passed does what can be done at once.
    ///
    /// # Errors
    ///
    /// As [`op_timeout`](Self::op_timeout).
    ///
    /// # References
    ///
    /// semtimedop in semop(2)
    pub fn op_deadline(&self, ops: &[SemOp], deadline: Instant) -> Result<bool> {
        self.op_timeout(ops, deadline.saturating_duration_since(Instant::now()))
    }

    /// `GETVAL`: the value of semaphore `num`, 0..=32767.
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
        self.ns.sem_value(self.id.raw(), num.into()).map_err(|e| self.error_of(num, "read the value of", e))
    }

    /// `GETALL`: all values, of one instant.
    ///
    /// # Errors
    ///
    /// As [`value`](Self::value).
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "GETALL")]
    pub fn values(&self) -> Result<Vec<u16>> {
        self.ns.sem_values(self.id.raw()).map_err(|e| self.error("read the values of", e))
    }

    /// `SETVAL`: sets the value of semaphore `num` to 0..=32767. What was to be taken back from it, of all processes, is forgotten.
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
        self.ns.sem_set_value(self.id.raw(), num.into(), value.into()).map_err(|e| self.error_of(num, "set the value of", e))
    }

    /// `SETALL`: sets all values, each to 0..=32767, at one instant. What was to be taken back from the set, of all
    /// processes, is forgotten.
    ///
    /// # Errors
    ///
    /// As [`set_value`](Self::set_value); `EINVAL` also if there are not as many values as semaphores.
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "SETALL")]
    pub fn set_values(&self, values: &[u16]) -> Result<()> {
        self.ns.sem_set_values(self.id.raw(), values).map_err(|e| self.error("set the values of", e))
    }

    /// `GETPID`: the process that last changed semaphore `num`; 0: none yet.
    ///
    /// # Errors
    ///
    /// As [`value`](Self::value).
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "GETPID")]
    pub fn pid(&self, num: u16) -> Result<i32> {
        self.ns.sem_pid(self.id.raw(), num.into()).map_err(|e| self.error_of(num, "read the last process of", e))
    }

    /// `GETNCNT`: how many calls wait for semaphore `num` to grow.
    ///
    /// # Errors
    ///
    /// As [`value`](Self::value).
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "GETNCNT")]
    pub fn waiting(&self, num: u16) -> Result<u32> {
        self.ns.sem_ncnt(self.id.raw(), num.into()).map_err(|e| self.error_of(num, "count who waits for", e))
    }

    /// `GETZCNT`: how many calls wait for semaphore `num` to become zero.
    ///
    /// # Errors
    ///
    /// As [`value`](Self::value).
    ///
    /// # References
    ///
    /// semctl(2)
    #[doc(alias = "GETZCNT")]
    pub fn waiting_for_zero(&self, num: u16) -> Result<u32> {
        self.ns.sem_zcnt(self.id.raw(), num.into()).map_err(|e| self.error_of(num, "count who waits for", e))
    }

    /// `IPC_STAT`: owner, times, how many semaphores.
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
    pub fn stat(&self) -> Result<SetStat> {
        self.ns.sem_stat(self.id.raw()).map_err(|e| self.error("read the state of", e))
    }

    /// `IPC_SET`: gives it another owner, group and access mode (nine bits).
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
    pub fn set_permissions(&self, uid: u32, gid: u32, mode: u32) -> Result<()> {
        self.ns.sem_set(self.id.raw(), uid, gid, mode).map_err(|e| common::permissions_error("set", self.id, e))
    }

    /// `IPC_RMID`: removes it; whoever waits gets `EIDRM`.
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
    pub fn remove(&self) -> Result<()> {
        self.ns.sem_remove(self.id.raw()).map_err(|e| self.error("remove", e))
    }

    #[inline]
    pub(super) fn raw_op(&self, ops: &[SemOp], timeout: Option<Duration>) -> std::result::Result<(), Errno> {
        self.ns.semtimedop(self.id.raw(), ops, timeout)
    }

    pub(super) fn raw_try_op(&self, ops: &[SemOp]) -> std::result::Result<(), Errno> {
        let without_waiting = |op: &SemOp| op.flags(op.flags | SemFlags::NOWAIT);
        if let [op] = ops {
            return self.raw_op(&[without_waiting(op)], None);
        }
        self.raw_op(&ops.iter().map(without_waiting).collect::<Vec<_>>(), None)
    }

    /// Gives the new set its values, and a time of the last operation, for who waits for that.
    fn initialise(&self, values: &[u16]) -> std::result::Result<(), Errno> {
        let given = |(num, value): (usize, &u16)| SemOp::new(num as u16, *value as i16);
        let mut ops: Vec<SemOp> = values.iter().enumerate().filter(|(_, value)| **value != 0).map(given).collect();
        if ops.len() > self.ns.limits()?.semopm as usize {
            self.ns.sem_set_values(self.id.raw(), values)?;
            ops.clear();
        }
        if ops.is_empty() {
            // Changes nothing.
            match values[0] {
                0 => ops.push(SemOp::new(0, 0)),
                _ => ops.extend([SemOp::new(0, -1), SemOp::new(0, 1)]),
            }
        }
        self.raw_try_op(&ops)
    }

    fn wait_until_initialised(&self) -> std::result::Result<(), Errno> {
        let mut deadline = None;
        loop {
            // Asks for no right.
            let stat = self.ns.sem_stat_index(self.id.index().into(), true)?;
            if stat.id != self.id {
                return Err(Errno::INVAL);
            }
            if stat.otime != 0 {
                return Ok(());
            }
            if Instant::now() >= *deadline.get_or_insert_with(|| Instant::now() + PATIENCE) {
                return Err(Errno::TIMEDOUT);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn told(&self, ops: &[SemOp], done: std::result::Result<(), Errno>) -> Result<bool> {
        match done {
            Ok(()) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(e) => Err(self.operation_error(ops, e)),
        }
    }

    pub(super) fn operation_error(&self, ops: &[SemOp], errno: Errno) -> Error {
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

    fn error_of(&self, num: u16, verb: &str, errno: Errno) -> Error {
        let error = self.error(&format!("{verb} semaphore {num} of"), errno);
        if errno == Errno::INVAL { error.reason("it does not exist (any more), or has no such semaphore") } else { error }
    }

    fn error(&self, verb: &str, errno: Errno) -> Error {
        let error = common::error(verb, "set", self.id, errno);
        match errno {
            Errno::RANGE => error.reason(format!("a value would not be in 0..={}", Limits::SEMVMX)),
            Errno::NOMEM => error.reason("there is no room for the waiting call, or for what SEM_UNDO must remember"),
            _ => error,
        }
    }
}
