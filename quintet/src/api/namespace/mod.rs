//! Namespaces: a directory, or the kernel's own System V IPC, behind the same verbs.

use crate::backend::any::{AnyBackend, with_backend};
use crate::backend::directory::{Directory, default};
use crate::backend::kernel::Kernel;
use crate::backend::verbs::NamespaceVerbs;
use crate::types::error::{Errno, Result};
use crate::types::kind::Kind;
use crate::types::limits::Limits;
use crate::types::shm::Attacher;
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
    pub(crate) backend: AnyBackend,
}

mod msg;
mod sem;
mod shm;

impl Namespace {
    /// The kernel's own System V IPC, of this process's IPC namespace.
    pub fn kernel() -> Namespace {
        Namespace { backend: AnyBackend::Kernel(Kernel) }
    }

    /// The directory that is used when none is named: `$QUINTET_NAMESPACE`, else `/dev/shm/quintet-UID`.
    pub fn default_path() -> PathBuf {
        default::default_path()
    }

    /// Opens the default namespace, and creates it on first use: private to the user; the superuser's is shared,
    /// because its programs change their user and go on, but under a name that nobody else can list.
    ///
    /// # Errors
    ///
    /// As [`Namespace::open`] and [`Namespace::create`]; `EACCES` also if the default directory
    /// belongs to somebody else.
    pub fn open_default() -> Result<Namespace> {
        Directory::open_default().map(Namespace::directory)
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
        Directory::open(path.as_ref()).map(Namespace::directory)
    }

    /// Creates a namespace, or opens the one that is there. The parent directory must exist.
    ///
    /// # Errors
    ///
    /// As [`Namespace::open`]; `ENOSPC` the file system is full; `ENOTEMPTY` a directory with other
    /// things in it is there; `EEXIST` a namespace of the other kind is there.
    pub fn create(path: impl AsRef<Path>, kind: Kind) -> Result<Namespace> {
        Directory::create(path.as_ref(), kind).map(Namespace::directory)
    }

    /// Creates a shared namespace under a random name in `parent`, a directory that others should be able to search but not
    /// to list (mode 0711): for programs that give up the superuser's rights and go on. Who is not told the name does not get in.
    ///
    /// # Errors
    ///
    /// As [`Namespace::create`].
    pub fn create_hidden(parent: impl AsRef<Path>) -> Result<Namespace> {
        default::create_hidden(parent.as_ref()).map(Namespace::directory)
    }

    fn directory(directory: &'static Directory) -> Namespace {
        Namespace { backend: AnyBackend::Directory(directory) }
    }

    /// The directory; `None` for the kernel's namespace.
    pub fn path(&self) -> Option<&Path> {
        with_backend!(self.backend, backend => NamespaceVerbs::path(backend))
    }

    /// Whether it is private or shared; the kernel's is shared.
    pub fn kind(&self) -> Kind {
        with_backend!(self.backend, backend => NamespaceVerbs::kind(backend))
    }

    /// The limits in force.
    ///
    /// # Errors
    ///
    /// For the kernel's namespace those of reading `/proc/sys/kernel`.
    pub fn limits(&self) -> std::result::Result<Limits, Errno> {
        with_backend!(self.backend, backend => backend.limits())
    }

    /// Sets the limits. Objects beyond a lowered limit stay.
    ///
    /// # Errors
    ///
    /// `EPERM` the caller is not the namespace's owner; `EINVAL` `shmmni`, `semmni` or `msgmni` over 32768, `semmsl` over 65535,
    /// `semopm` over 500, `semmns`, `msgmax` or `msgmnb` over `2^31 - 1`.
    pub fn set_limits(&self, limits: &Limits) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => NamespaceVerbs::set_limits(backend, limits))
    }

    /// Sees to it that what the dead left is cleared: attach counts, segments that only they
    /// kept, half-made objects. Any call does this where it matters; `doctor` and `rm --orphans` ask for it.
    ///
    /// # Errors
    ///
    /// Those of reading the directory.
    pub fn sweep(&self) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.sweep())
    }

    /// The processes that use the namespace now: process id, user id, and whether the pid is of
    /// the caller's PID namespace (`count` is the number of its attachments). Empty for the kernel's.
    ///
    /// # Errors
    ///
    /// Those of reading the directory.
    pub fn participants(&self) -> std::result::Result<Vec<Attacher>, Errno> {
        with_backend!(self.backend, backend => backend.participants())
    }

    /// Removes the namespace and all its objects. Refused while processes use it, unless `force`.
    ///
    /// # Errors
    ///
    /// `EBUSY` processes use it; `EPERM` not the owner; `EINVAL` for the kernel's.
    pub fn destroy(self, force: bool) -> Result<()> {
        with_backend!(self.backend, backend => NamespaceVerbs::destroy(backend, force))
    }

    /// Removes the namespace at `path` although it is damaged, or of another version, and cannot be opened.
    /// Only files that a namespace has are removed. Whether somebody uses it cannot be told.
    ///
    /// # Errors
    ///
    /// `EPERM` not the owner; `ENOENT` no namespace is there; `ENOTEMPTY` other files are there, which stay.
    pub fn destroy_damaged(path: impl AsRef<Path>) -> Result<()> {
        Directory::destroy_damaged(path.as_ref())
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
