//! How a set is created and initialised.

use crate::api::common::{self, Class};
use crate::api::namespace::Namespace;
use crate::api::semaphore_set::SemaphoreSet;
use crate::types::error::{Errno, Error, Result};
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::limits::Limits;
use crate::types::sem::SemOp;
use std::time::{Duration, Instant};

/// How long the creator of a set may take to initialise it.
const INITIALISATION_TIMEOUT: Duration = Duration::from_secs(1);

/// Choices for the creation of a set. [`SemaphoreSet::options`] returns the defaults.
#[derive(Clone, Debug)]
pub struct SemaphoreSetOptions {
    mode: u32,
    exclusive: bool,
}

impl SemaphoreSetOptions {
    pub(crate) fn new() -> SemaphoreSetOptions {
        SemaphoreSetOptions { mode: 0o600, exclusive: false }
    }

    /// Sets the access mode: the nine bits `rw-rw-rw-`, where `w` is the permission to alter. The
    /// default is 0o600.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, SemaphoreSet};
    /// let set = SemaphoreSet::options().mode(0o640).create(&ns, Key::PRIVATE, &[1])?;
    /// assert_eq!(set.stat()?.perm.mode, 0o640);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode & 0o777;
        self
    }

    /// Lets the creation fail with `EEXIST` if the key is in use (`IPC_EXCL`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Errno, Key, SemaphoreSet};
    /// let options = SemaphoreSet::options().exclusive();
    /// options.create(&ns, Key::new(5), &[1])?;
    /// assert_eq!(options.create(&ns, Key::new(5), &[1]).unwrap_err().errno(), Errno::EXIST);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    #[doc(alias = "IPC_EXCL")]
    pub fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    /// Creates the set of `key`, or opens the existing one, which must have at least as many
    /// semaphores.
    ///
    /// The set has one semaphore (1..=`semmsl`) for each of `values` (each 0..=32767).
    /// [`SemaphoreSet::open_or_create`] says what holds if several processes create it at once.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, SemaphoreSet};
    /// let set = SemaphoreSet::options().mode(0o660).create(&ns, Key::new(5), &[3, 0])?;
    /// assert_eq!(set.values()?, [3, 0]);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`SemaphoreSet::open_or_create`], and:
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EEXIST` | the key is in use, and [`exclusive`](Self::exclusive) was asked for |
    ///
    /// # References
    ///
    /// semget(2)
    pub fn create(&self, ns: &Namespace, key: Key, values: &[u16]) -> Result<SemaphoreSet> {
        let failed = |errno| creation_error(ns, key, values, errno);
        if values.iter().any(|value| *value > Limits::SEMVMX) {
            return Err(failed(Errno::RANGE));
        }
        let exclusive = if self.exclusive { libc::IPC_EXCL } else { 0 };
        let flags = self.mode as i32 | libc::IPC_CREAT | exclusive;
        for _ in 0..common::MAX_ATTEMPTS {
            let id =
                ns.semget_with(key, flags, values).unwrap_or_else(|| self.create_in_steps(ns, key, values)).map_err(failed)?;
            let set = SemaphoreSet { ns: ns.clone(), id };
            match set.wait_until_initialised() {
                Ok(()) => return Ok(set),
                // The set was removed meanwhile.
                Err(Errno::INVAL | Errno::IDRM) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Err(failed(Errno::AGAIN))
    }

    /// Creates and initialises a set of the kernel, which takes two steps.
    fn create_in_steps(&self, ns: &Namespace, key: Key, values: &[u16]) -> std::result::Result<Id, Errno> {
        let nsems = i32::try_from(values.len()).map_err(|_| Errno::INVAL)?;
        let set = |id| SemaphoreSet { ns: ns.clone(), id };
        let get = |flags| ns.semget(key, nsems, flags);
        let remove = |id: Id| ns.sem_remove(id.raw());
        common::create_in_steps(self.mode as i32, self.exclusive, get, |id| set(id).initialise(values), remove)
    }
}

impl SemaphoreSet {
    /// Sets the values of the new set. The last step is an operation, because callers that open the
    /// set wait for the time of its first operation.
    fn initialise(&self, values: &[u16]) -> std::result::Result<(), Errno> {
        let add = |(num, value): (usize, &u16)| SemOp::new(num as u16, *value as i16);
        let mut ops: Vec<SemOp> = values.iter().enumerate().filter(|(_, value)| **value != 0).map(add).collect();
        if ops.len() > self.ns.limits()?.semopm as usize {
            self.ns.sem_set_values(self.id.raw(), values)?;
            ops.clear();
        }
        if ops.is_empty() {
            // These operations change no value.
            match values[0] {
                0 => ops.push(SemOp::new(0, 0)),
                _ => ops.extend([SemOp::new(0, -1), SemOp::new(0, 1)]),
            }
        }
        self.raw_try_op(&ops)
    }

    /// Waits until the creator has initialised the set.
    fn wait_until_initialised(&self) -> std::result::Result<(), Errno> {
        let mut deadline = None;
        loop {
            // This call checks no permission.
            let stat = self.ns.sem_stat_index(self.id.index().into(), true)?;
            if stat.id != self.id {
                return Err(Errno::INVAL);
            }
            if stat.otime != 0 {
                return Ok(());
            }
            if Instant::now() >= *deadline.get_or_insert_with(|| Instant::now() + INITIALISATION_TIMEOUT) {
                return Err(Errno::TIMEDOUT);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn creation_error(ns: &Namespace, key: Key, values: &[u16], errno: Errno) -> Error {
    let error = Error::new(errno, format!("cannot create a set of {} semaphores with key {key}", values.len()));
    let limits = ns.limits().unwrap_or_default();
    match errno {
        Errno::INVAL if values.is_empty() => error.reason("a set has at least 1 semaphore"),
        Errno::INVAL if values.len() > limits.semmsl as usize => error
            .reason(format!("the limit semmsl is {} semaphores", limits.semmsl))
            .hint(format!("raise it with {}", common::command(ns, format_args!("namespace limits --semmsl {}", values.len())))),
        Errno::INVAL => error.reason("a set of fewer semaphores has this key"),
        Errno::RANGE => error.reason(format!("a value is at most {}", Limits::SEMVMX)),
        Errno::NOSPC => error
            .reason(format!("the limit semmni ({} sets) or semmns ({} semaphores) is reached", limits.semmni, limits.semmns))
            .hint(format!("remove sets, or raise the limit: {} shows both", common::command(ns, "namespace limits"))),
        Errno::TIMEDOUT => error
            .reason("no process has operated on it yet, so its creator may have exited before it set the values")
            .hint(format!("remove it with {}", common::command(ns, format_args!("rm sem:key:{key}")))),
        _ => common::creation_error(ns, Class::SET, key, error),
    }
}

impl SemaphoreSet {
    /// Returns the choices for the creation of a set.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, SemaphoreSet};
    /// let set = SemaphoreSet::options().mode(0o640).exclusive().create(&ns, Key::new(5), &[1])?;
    /// assert_eq!(set.stat()?.perm.mode, 0o640);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// semget(2)
    pub fn options() -> SemaphoreSetOptions {
        SemaphoreSetOptions::new()
    }
}
