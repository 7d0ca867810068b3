//! Namespaces: a directory, or the kernel's own System V IPC, behind the same verbs.

use crate::backend::kernel;
use crate::object::core::Engine;
use crate::types::error::Errno;
use crate::types::error::{Error, Result};
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::kind::Kind;
use crate::types::limits::Limits;
use crate::types::shm::Usage;
use crate::types::shm::{SegmentStat, SegmentStatus};
use std::ffi::c_void;
use std::path::{Path, PathBuf};

/// A set of objects that find each other by key and by identifier.
///
/// A cheap handle: clones, and namespaces opened twice by one process, are the same namespace.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use quintet::{Key, Kind, Namespace, Segment};
/// let ns = Namespace::create(dir.path().join("ns"), Kind::Private)?;
/// let memory = Segment::create(&ns, Key::new(7), 4096)?.attach()?;
/// memory.write(0, b"hello")?;
/// # Ok::<(), quintet::Error>(())
/// ```
#[derive(Clone)]
pub struct Namespace {
    backend: Backend,
}

#[derive(Clone, Copy)]
enum Backend {
    Kernel,
    Directory(&'static Engine),
}

/// Calls the same verb of whichever backend it is.
macro_rules! either {
    ($self:ident, $verb:ident ( $($arg:expr),* )) => {
        match $self.backend {
            Backend::Kernel => kernel::$verb($($arg),*),
            Backend::Directory(engine) => engine.$verb($($arg),*),
        }
    };
}

mod msg;
mod sem;

impl Namespace {
    /// The kernel's own System V IPC, of this process's IPC namespace.
    pub fn kernel() -> Namespace {
        Namespace { backend: Backend::Kernel }
    }

    /// The directory that is used when none is named: `$QUINTET_NAMESPACE`, else `/dev/shm/quintet-UID`.
    pub fn default_path() -> PathBuf {
        crate::object::core::default_path()
    }

    /// Opens the default namespace, and creates it on first use: private to the user; the superuser's is shared,
    /// because its programs change their user and go on, but under a name that nobody else can list.
    ///
    /// # Errors
    ///
    /// As [`Namespace::open`] and [`Namespace::create`]; `EACCES` also if the default directory
    /// belongs to somebody else.
    pub fn open_default() -> Result<Namespace> {
        Engine::open_default().map(Namespace::directory)
    }

    /// Opens an existing namespace.
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `ENOENT` | there is no such directory, or it is no namespace |
    /// | `ENOTDIR` | the path is not a directory |
    /// | `EACCES` | it may not be entered or written |
    /// | `EROFS` | it is on a read-only file system |
    /// | `EBADMSG` | its header is damaged |
    /// | `EPROTONOSUPPORT` | it has another layout version |
    pub fn open(path: impl AsRef<Path>) -> Result<Namespace> {
        Engine::open(path.as_ref()).map(Namespace::directory)
    }

    /// Creates a namespace, or opens the one that is there. The parent directory must exist.
    ///
    /// # Errors
    ///
    /// As [`Namespace::open`]; `ENOSPC` the file system is full; `ENOTEMPTY` a directory with other
    /// things in it is there; `EEXIST` a namespace of the other kind is there.
    pub fn create(path: impl AsRef<Path>, kind: Kind) -> Result<Namespace> {
        Engine::create(path.as_ref(), kind).map(Namespace::directory)
    }

    /// Creates a shared namespace under a random name in `parent`, a directory that others should be able to search but not
    /// to list (mode 0711): for programs that give up the superuser's rights and go on. Who is not told the name does not get in.
    ///
    /// # Errors
    ///
    /// As [`Namespace::create`].
    pub fn create_unlisted(parent: impl AsRef<Path>) -> Result<Namespace> {
        crate::backend::directory::hidden::create(parent.as_ref()).map(Namespace::directory)
    }

    fn directory(engine: &'static Engine) -> Namespace {
        Namespace { backend: Backend::Directory(engine) }
    }

    /// The directory; `None` for the kernel's namespace.
    pub fn path(&self) -> Option<&Path> {
        match self.backend {
            Backend::Kernel => None,
            Backend::Directory(engine) => Some(engine.path()),
        }
    }

    /// Whether it is private or shared; the kernel's is shared.
    pub fn kind(&self) -> Kind {
        match self.backend {
            Backend::Kernel => Kind::Shared,
            Backend::Directory(engine) => engine.kind(),
        }
    }

    /// The limits in force.
    ///
    /// # Errors
    ///
    /// For the kernel's namespace those of reading `/proc/sys/kernel`.
    pub fn limits(&self) -> std::result::Result<Limits, Errno> {
        either!(self, limits())
    }

    /// Sets the limits. Objects beyond a lowered limit stay.
    ///
    /// # Errors
    ///
    /// `EPERM` the caller is not the namespace's owner; `EINVAL` `shmmni`, `semmni` or `msgmni` over 32768, `semmsl` over 65535,
    /// `semopm` over 500, `semmns`, `msgmax` or `msgmnb` over `2^31 - 1`.
    pub fn set_limits(&self, limits: &Limits) -> std::result::Result<(), Errno> {
        either!(self, set_limits(limits))
    }

    /// The identifier that the next created segment will have, `shm_next_id`, if one has been asked for.
    ///
    /// # Errors
    ///
    /// As [`Namespace::limits`].
    pub fn shm_next_id(&self) -> std::result::Result<Option<Id>, Errno> {
        either!(self, shm_next_id())
    }

    /// Asks for the identifier of the next created segment (where its index is free); `None` takes that back.
    ///
    /// # Errors
    ///
    /// `EPERM` the caller is not the namespace's owner.
    pub fn set_shm_next_id(&self, id: Option<Id>) -> std::result::Result<(), Errno> {
        either!(self, set_shm_next_id(id))
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
        either!(self, shmget(key, size, flags))
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
        match self.backend {
            // SAFETY: the caller vouches for the address.
            Backend::Kernel => unsafe { kernel::shmat(id, address, flags) },
            // SAFETY: the caller vouches for the address.
            Backend::Directory(engine) => unsafe { engine.shmat(id, address, flags) },
        }
    }

    /// Maps a segment where there is room: its address, and its size, which is that of what was mapped.
    pub(crate) fn attach_somewhere(&self, id: i32, flags: i32) -> std::result::Result<(usize, usize), Errno> {
        debug_assert_eq!(flags & libc::SHM_REMAP, 0);
        match self.backend {
            Backend::Kernel => {
                #[allow(unsafe_code)]
                // SAFETY: address 0 without SHM_REMAP replaces nothing.
                let at = unsafe { kernel::shmat(id, 0, flags) }? as usize;
                match kernel::shm_stat_index(id, true) {
                    Ok(stat) => Ok((at, stat.size as usize)),
                    Err(e) => {
                        #[allow(unsafe_code)]
                        // SAFETY: nothing has used the memory yet.
                        let _ = unsafe { kernel::shmdt(at) };
                        Err(e)
                    }
                }
            }
            Backend::Directory(engine) => {
                #[allow(unsafe_code)]
                // SAFETY: address 0 without SHM_REMAP replaces nothing.
                let (mapped, size) = unsafe { engine.attach(id, 0, flags) }?;
                Ok((mapped.address, size))
            }
        }
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
        match self.backend {
            // SAFETY: the caller vouches that the memory is not used any more.
            Backend::Kernel => unsafe { kernel::shmdt(address) },
            // SAFETY: the caller vouches that the memory is not used any more.
            Backend::Directory(engine) => unsafe { engine.shmdt(address) },
        }
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
        either!(self, shm_stat(id))
    }

    /// `SHM_STAT` (`any` false) and `SHM_STAT_ANY` (true, which asks for no right): by index.
    ///
    /// `index` 0..=32767; of a greater number the low 15 bits count, as in the kernel.
    ///
    /// # Errors
    ///
    /// `EINVAL` the index is not in use; `EACCES` the mode does not grant reading.
    pub fn shm_stat_index(&self, index: i32, any: bool) -> std::result::Result<SegmentStat, Errno> {
        either!(self, shm_stat_index(index, any))
    }

    /// `IPC_SET`: sets owner, group and access mode (the low nine bits of `mode`).
    ///
    /// # Errors
    ///
    /// `EINVAL` no such identifier, or an id of -1; `EPERM` the caller is neither owner nor creator nor privileged.
    pub fn shm_set(&self, id: i32, uid: u32, gid: u32, mode: u32) -> std::result::Result<(), Errno> {
        either!(self, shm_set(id, uid, gid, mode))
    }

    /// `IPC_RMID`: marks the segment for removal; it goes with the last detach.
    ///
    /// # Errors
    ///
    /// `EINVAL` no such identifier; `EPERM` the caller is neither owner nor creator nor privileged.
    pub fn shm_remove(&self, id: i32) -> std::result::Result<(), Errno> {
        either!(self, shm_remove(id))
    }

    /// `SHM_LOCK` (`locked` true) and `SHM_UNLOCK`: keeps the segment out of swap.
    ///
    /// # Errors
    ///
    /// `EINVAL` no such identifier; `EPERM` not the owner, or nothing may be locked (`RLIMIT_MEMLOCK` 0);
    /// `ENOMEM` the segment is larger than `RLIMIT_MEMLOCK`.
    pub fn shm_lock(&self, id: i32, locked: bool) -> std::result::Result<(), Errno> {
        either!(self, shm_lock(id, locked))
    }

    /// `SHM_INFO`: what the segments use.
    ///
    /// # Errors
    ///
    /// None for a directory; the kernel's may fail under a security policy.
    pub fn shm_usage(&self) -> std::result::Result<Usage, Errno> {
        either!(self, shm_usage())
    }

    /// All segments, by index, with those who are attached.
    ///
    /// # Errors
    ///
    /// Those of reading the directory, or `/proc/sysvipc/shm`.
    pub fn segments(&self) -> Result<Vec<SegmentStatus>> {
        either!(self, segments()).map_err(|e| Error::new(e, "cannot list the segments"))
    }

    /// Sees to it that what the dead left is cleared: attach counts, segments that only they
    /// kept, half-made objects. Any call does this where it matters; `doctor` and `rm --orphans` ask for it.
    ///
    /// # Errors
    ///
    /// Those of reading the directory.
    pub fn sweep(&self) -> std::result::Result<(), Errno> {
        match self.backend {
            Backend::Kernel => Ok(()),
            Backend::Directory(engine) => engine.sweep(),
        }
    }

    /// The processes that use the namespace now: process id, user id, and whether the pid is of
    /// the caller's PID namespace (`count` is the number of its attachments). Empty for the kernel's.
    ///
    /// # Errors
    ///
    /// Those of reading the directory.
    pub fn participants(&self) -> std::result::Result<Vec<crate::types::shm::Attacher>, Errno> {
        match self.backend {
            Backend::Kernel => Ok(Vec::new()),
            Backend::Directory(engine) => engine.participants(),
        }
    }

    /// Removes the namespace and all its objects. Refused while processes use it, unless `force`.
    ///
    /// # Errors
    ///
    /// `EBUSY` processes use it; `EPERM` not the owner; `EINVAL` for the kernel's.
    pub fn destroy(self, force: bool) -> Result<()> {
        match self.backend {
            Backend::Kernel => Err(Error::new(Errno::INVAL, "the kernel's namespace cannot be removed")),
            Backend::Directory(engine) => engine.destroy(force),
        }
    }

    /// Removes the namespace at `path` although it is damaged, or of another version, and cannot be opened.
    /// Only files that a namespace has are removed. Whether somebody uses it cannot be told.
    ///
    /// # Errors
    ///
    /// `EPERM` not the owner; `ENOENT` no namespace is there; `ENOTEMPTY` other files are there, which stay.
    pub fn destroy_damaged(path: impl AsRef<Path>) -> Result<()> {
        Engine::destroy_damaged(path.as_ref())
    }
}

impl std::fmt::Debug for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.path() {
            Some(path) => f.debug_tuple("Namespace").field(&path).finish(),
            None => f.write_str("Namespace(kernel)"),
        }
    }
}
