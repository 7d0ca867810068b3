//! The verbs of segments.

use crate::api::namespace::Namespace;
use crate::backend::any::with_backend;
use crate::backend::verbs::{NamespaceVerbs, SegmentVerbs};
use crate::types::error::{Errno, Error, Result};
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::mechanism::Mechanism;
use crate::types::shm::{SegmentStat, SegmentStatus, Usage};
use std::ffi::c_void;

impl Namespace {
    /// The identifier that the next created segment will have, `shm_next_id`, if one has been asked for.
    ///
    /// # Errors
    ///
    /// As [`Namespace::limits`].
    pub fn shm_next_id(&self) -> std::result::Result<Option<Id>, Errno> {
        with_backend!(self.backend, backend => backend.next_id(Mechanism::Shm))
    }

    /// Asks for the identifier of the next created segment (where its index is free); `None` takes that back.
    ///
    /// # Errors
    ///
    /// `EPERM` the caller is not the namespace's owner.
    pub fn set_shm_next_id(&self, id: Option<Id>) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.set_next_id(Mechanism::Shm, id))
    }

    /// `int shmget(key_t key, size_t size, int shmflg)`: finds the segment of `key`, or creates it.
    ///
    /// `size` in bytes; `flags` the C flags: `IPC_CREAT`, `IPC_EXCL`, `SHM_HUGETLB`, `SHM_NORESERVE` and nine bits of mode.
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the segment exists and its mode does not grant what `flags` asks for |
    /// | `EEXIST` | `IPC_CREAT` and `IPC_EXCL`, and the key is in use |
    /// | `EINVAL` | new: `size` is 0 or over `shmmax`; existing: `size` is greater than the segment's |
    /// | `ENOENT` | no segment has the key, and `IPC_CREAT` is not given |
    /// | `ENOMEM` | the memory cannot be promised: the file system has no room |
    /// | `ENOSPC` | the limit `shmmni` or `shmall` is reached |
    ///
    /// # References
    ///
    /// shmget(2)
    pub fn shmget(&self, key: Key, size: u64, flags: i32) -> std::result::Result<Id, Errno> {
        with_backend!(self.backend, backend => backend.shmget(key, size, flags))
    }

    /// `void *shmat(int shmid, const void *shmaddr, int shmflg)`: maps a segment.
    ///
    /// `address` 0: the system chooses; `flags` of `SHM_RDONLY`, `SHM_RND`, `SHM_REMAP`, `SHM_EXEC`.
    /// [`crate::api::segment::Segment::attach`] is the safe form.
    ///
    /// # Safety
    ///
    /// With `SHM_REMAP` whatever is mapped at `address` goes. Memory that others write must be
    /// accessed by atomic or volatile operations.
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant the access |
    /// | `EIDRM` | the segment was destroyed while being attached |
    /// | `EINVAL` | no such identifier; `address` is unaligned, in use, or 0 with `SHM_REMAP` |
    /// | `ENOMEM` | no room in the address space |
    ///
    /// # References
    ///
    /// shmop(2)
    #[allow(unsafe_code)]
    pub unsafe fn shmat(&self, id: i32, address: usize, flags: i32) -> std::result::Result<*mut c_void, Errno> {
        // SAFETY: the caller vouches for the address.
        with_backend!(self.backend, backend => unsafe { backend.shmat(id, address, flags) })
    }

    /// `int shmdt(const void *shmaddr)`: unmaps the segment attached at `address`.
    ///
    /// # Safety
    ///
    /// Nothing may use the memory any more.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no segment is attached at `address`.
    ///
    /// # References
    ///
    /// shmop(2)
    #[allow(unsafe_code)]
    pub unsafe fn shmdt(&self, address: usize) -> std::result::Result<(), Errno> {
        // SAFETY: the caller vouches that the memory is not used any more.
        with_backend!(self.backend, backend => unsafe { backend.shmdt(address) })
    }

    /// `IPC_STAT`.
    ///
    /// # Errors
    ///
    /// `EINVAL` no such identifier; `EACCES` the mode does not grant reading.
    ///
    /// # References
    ///
    /// shmctl(2)
    pub fn shm_stat(&self, id: i32) -> std::result::Result<SegmentStat, Errno> {
        with_backend!(self.backend, backend => backend.shm_stat(id))
    }

    /// `SHM_STAT` (`any` false) and `SHM_STAT_ANY` (true, which asks for no right): by index.
    ///
    /// `index` 0..=32767; of a greater number the low 15 bits count, as in the kernel.
    ///
    /// # Errors
    ///
    /// `EINVAL` the index is not in use; `EACCES` the mode does not grant reading.
    pub fn shm_stat_index(&self, index: i32, any: bool) -> std::result::Result<SegmentStat, Errno> {
        with_backend!(self.backend, backend => backend.shm_stat_index(index, any))
    }

    /// `IPC_SET`: sets owner, group and access mode (the low nine bits of `mode`).
    ///
    /// # Errors
    ///
    /// `EINVAL` no such identifier, or an id of -1; `EPERM` the caller is neither owner nor creator nor privileged.
    pub fn shm_set(&self, id: i32, uid: u32, gid: u32, mode: u32) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.shm_set(id, uid, gid, mode))
    }

    /// `IPC_RMID`: marks the segment for removal; it goes with the last detach.
    ///
    /// # Errors
    ///
    /// `EINVAL` no such identifier; `EPERM` the caller is neither owner nor creator nor privileged.
    pub fn shm_remove(&self, id: i32) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.shm_remove(id))
    }

    /// `SHM_LOCK` (`locked` true) and `SHM_UNLOCK`: keeps the segment out of swap.
    ///
    /// # Errors
    ///
    /// `EINVAL` no such identifier; `EPERM` not the owner, or nothing may be locked (`RLIMIT_MEMLOCK` 0);
    /// `ENOMEM` the segment is larger than `RLIMIT_MEMLOCK`.
    pub fn shm_lock(&self, id: i32, locked: bool) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.shm_lock(id, locked))
    }

    /// `SHM_INFO`: what the segments use.
    ///
    /// # Errors
    ///
    /// None for a directory; the kernel's may fail under a security policy.
    pub fn shm_usage(&self) -> std::result::Result<Usage, Errno> {
        with_backend!(self.backend, backend => backend.shm_usage())
    }

    /// All segments, by index, with those who are attached.
    ///
    /// # Errors
    ///
    /// Those of reading the directory, or `/proc/sysvipc/shm`.
    pub fn segments(&self) -> Result<Vec<SegmentStatus>> {
        with_backend!(self.backend, backend => backend.segments()).map_err(|e| Error::new(e, "cannot list the segments"))
    }
}
