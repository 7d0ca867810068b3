//! The verbs of semaphore sets.

use crate::api::namespace::Namespace;
use crate::backend::any::with_backend;
use crate::backend::verbs::{NamespaceVerbs, SetVerbs};
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::mechanism::Mechanism;
use crate::types::sem::{SemOp, SemUsage, SetStat, SetStatus};
use std::time::Duration;

impl Namespace {
    /// The identifier that the next created set will have, `sem_next_id`, if one has been asked for.
    ///
    /// # Errors
    ///
    /// As [`Namespace::limits`].
    pub fn sem_next_id(&self) -> std::result::Result<Option<Id>, Errno> {
        with_backend!(self.backend, backend => backend.next_id(Mechanism::Sem))
    }

    /// Asks for the identifier of the next created set (where its index is free); `None` takes that back.
    ///
    /// # Errors
    ///
    /// `EPERM` the caller is not the namespace's owner.
    pub fn set_sem_next_id(&self, id: Option<Id>) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.set_next_id(Mechanism::Sem, id))
    }

    /// `int semget(key_t key, int nsems, int semflg)`: finds the set of `key`, or creates it, with all values 0.
    ///
    /// `nsems` how many semaphores it shall have (new), or at least has (existing; 0: any); `flags` the C flags:
    /// `IPC_CREAT`, `IPC_EXCL` and nine bits of mode.
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the set exists and its mode does not grant what `flags` asks for |
    /// | `EEXIST` | `IPC_CREAT` and `IPC_EXCL`, and the key is in use |
    /// | `EINVAL` | `nsems` is below 0 or over `semmsl`; new: 0; existing: greater than the set's |
    /// | `ENOENT` | no set has the key, and `IPC_CREAT` is not given |
    /// | `ENOMEM` | the file system has no room |
    /// | `ENOSPC` | the limit `semmni` or `semmns` is reached |
    ///
    /// # References
    ///
    /// semget(2)
    pub fn semget(&self, key: Key, nsems: i32, flags: i32) -> std::result::Result<Id, Errno> {
        with_backend!(self.backend, backend => backend.semget(key, nsems, flags))
    }

    /// As [`Namespace::semget`]; a new set has these values, one for each semaphore, from its first instant. `None`: the kernel cannot do that.
    pub(crate) fn semget_with(&self, key: Key, flags: i32, values: &[u16]) -> Option<std::result::Result<Id, Errno>> {
        with_backend!(self.backend, backend => backend.semget_with(key, flags, values))
    }

    /// `int semtimedop(int semid, struct sembuf *sops, size_t nsops, const struct timespec *timeout)`: does all
    /// operations at once, or waits until it can; `None` waits without end, as `semop` does.
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `E2BIG` | more than `semopm` operations |
    /// | `EACCES` | the mode does not grant altering (reading, if every operation waits for zero) |
    /// | `EAGAIN` | it would have to wait and `IPC_NOWAIT` is given, or the timeout has passed |
    /// | `EFBIG` | an operation's semaphore is not in the set |
    /// | `EIDRM` | the set was removed meanwhile |
    /// | `EINTR` | a signal was caught |
    /// | `EINVAL` | no such identifier, or no operation |
    /// | `ENOMEM` | no room for the waiting call, or for what `SEM_UNDO` must remember |
    /// | `ERANGE` | a value, or what `SEM_UNDO` remembers, would be out of range |
    ///
    /// # References
    ///
    /// semop(2)
    #[doc(alias = "semop")]
    pub fn semtimedop(&self, id: i32, ops: &[SemOp], timeout: Option<Duration>) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.semtimedop(id, ops, timeout))
    }

    /// `GETVAL`: the value of semaphore `num`, 0..=32767.
    ///
    /// # Errors
    ///
    /// `EINVAL` no such identifier or semaphore; `EACCES` the mode does not grant reading.
    ///
    /// # References
    ///
    /// semctl(2)
    pub fn sem_value(&self, id: i32, num: i32) -> std::result::Result<u16, Errno> {
        with_backend!(self.backend, backend => backend.sem_value(id, num))
    }

    /// `GETPID`: the process that last changed semaphore `num`; 0: none yet.
    ///
    /// # Errors
    ///
    /// As [`Namespace::sem_value`].
    pub fn sem_pid(&self, id: i32, num: i32) -> std::result::Result<i32, Errno> {
        with_backend!(self.backend, backend => backend.sem_pid(id, num))
    }

    /// `GETNCNT`: how many wait for semaphore `num` to grow.
    ///
    /// # Errors
    ///
    /// As [`Namespace::sem_value`].
    pub fn sem_ncnt(&self, id: i32, num: i32) -> std::result::Result<u32, Errno> {
        with_backend!(self.backend, backend => backend.sem_ncnt(id, num))
    }

    /// `GETZCNT`: how many wait for semaphore `num` to become zero.
    ///
    /// # Errors
    ///
    /// As [`Namespace::sem_value`].
    pub fn sem_zcnt(&self, id: i32, num: i32) -> std::result::Result<u32, Errno> {
        with_backend!(self.backend, backend => backend.sem_zcnt(id, num))
    }

    /// `GETALL`: all values at one instant.
    ///
    /// # Errors
    ///
    /// As [`Namespace::sem_value`].
    pub fn sem_values(&self, id: i32) -> std::result::Result<Vec<u16>, Errno> {
        with_backend!(self.backend, backend => backend.sem_values(id))
    }

    /// `SETVAL`: sets the value of semaphore `num`, and forgets what was to be taken back from it.
    ///
    /// # Errors
    ///
    /// `ERANGE` the value is not in 0..=32767; `EINVAL` no such identifier or semaphore; `EACCES` the mode does
    /// not grant altering.
    ///
    /// # References
    ///
    /// semctl(2)
    pub fn sem_set_value(&self, id: i32, num: i32, value: i32) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.sem_set_value(id, num, value))
    }

    /// `SETALL`: sets all values, and forgets what was to be taken back from the set.
    ///
    /// # Errors
    ///
    /// As [`Namespace::sem_set_value`]; `EINVAL` also if there are not as many values as semaphores.
    pub fn sem_set_values(&self, id: i32, values: &[u16]) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.sem_set_values(id, values))
    }

    /// `IPC_STAT`.
    ///
    /// # Errors
    ///
    /// `EINVAL` no such identifier; `EACCES` the mode does not grant reading.
    ///
    /// # References
    ///
    /// semctl(2)
    pub fn sem_stat(&self, id: i32) -> std::result::Result<SetStat, Errno> {
        with_backend!(self.backend, backend => backend.sem_stat(id))
    }

    /// `SEM_STAT` (`any` false) and `SEM_STAT_ANY` (true, which asks for no right): by index.
    ///
    /// `index` 0..=32767; of a greater number the low 15 bits count, as in the kernel.
    ///
    /// # Errors
    ///
    /// `EINVAL` the index is not in use; `EACCES` the mode does not grant reading.
    pub fn sem_stat_index(&self, index: i32, any: bool) -> std::result::Result<SetStat, Errno> {
        with_backend!(self.backend, backend => backend.sem_stat_index(index, any))
    }

    /// `IPC_SET`: sets owner, group and access mode (the low nine bits of `mode`).
    ///
    /// # Errors
    ///
    /// `EINVAL` no such identifier, or an id of -1; `EPERM` the caller is neither owner nor creator nor privileged.
    pub fn sem_set(&self, id: i32, uid: u32, gid: u32, mode: u32) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.sem_set(id, uid, gid, mode))
    }

    /// `IPC_RMID`: removes the set; whoever waits gets `EIDRM`.
    ///
    /// # Errors
    ///
    /// `EINVAL` no such identifier; `EPERM` the caller is neither owner nor creator nor privileged.
    pub fn sem_remove(&self, id: i32) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.sem_remove(id))
    }

    /// `SEM_INFO`: what the sets use.
    ///
    /// # Errors
    ///
    /// None for a directory; the kernel's may fail under a security policy.
    pub fn sem_usage(&self) -> std::result::Result<SemUsage, Errno> {
        with_backend!(self.backend, backend => backend.sem_usage())
    }

    /// All sets, by index, with their values, who waits, and what will be taken back from whom.
    ///
    /// # Errors
    ///
    /// Those of reading the directory.
    pub fn sets(&self) -> std::result::Result<Vec<SetStatus>, Errno> {
        with_backend!(self.backend, backend => backend.sets())
    }
}
