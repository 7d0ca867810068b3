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
/// The value is a cheap handle. Clones refer to the same namespace, and so does a namespace that
/// one process opens twice.
///
/// # Examples
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use quintet::{Key, Kind, Namespace, Segment};
/// let ns = Namespace::create(dir.path().join("ns"), Kind::Private)?;
/// let memory = Segment::open_or_create(&ns, Key::new(7), 4096)?.attach()?;
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
    /// Returns the kernel's own System V IPC, of the IPC namespace of this process.
    ///
    /// # Examples
    ///
    /// ```
    /// use quintet::Namespace;
    /// assert_eq!(Namespace::kernel().path(), None);
    /// ```
    ///
    /// # References
    ///
    /// sysvipc(7)
    pub fn kernel() -> Namespace {
        Namespace { backend: AnyBackend::Kernel(Kernel) }
    }

    /// Returns the path of the default namespace: `$QUINTET_NAMESPACE`, else
    /// `/dev/shm/quintet-UID`.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!quintet::Namespace::default_path().as_os_str().is_empty());
    /// ```
    pub fn default_path() -> PathBuf {
        default::default_path()
    }

    /// Opens the default namespace, and creates it on first use.
    ///
    /// It is private to the user. That of the superuser is shared, because its programs may change
    /// their user; it has a name that only the superuser can list.
    ///
    /// # Errors
    ///
    /// Those of [`Namespace::open`] and [`Namespace::create`], and:
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the default directory belongs to another user |
    pub fn open_default() -> Result<Namespace> {
        Directory::open_default().map(Namespace::directory)
    }

    /// Opens an existing namespace.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Kind, Namespace};
    /// let path = dir.path().join("ns");
    /// assert_eq!(Namespace::open(&path)?.kind(), Kind::Private);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the directory may not be entered or written |
    /// | `EBADMSG` | its header is damaged |
    /// | `ENOENT` | the directory does not exist, or is not a namespace |
    /// | `ENOTDIR` | the path is not a directory |
    /// | `EPROTONOSUPPORT` | it has another layout version |
    /// | `EROFS` | it is on a read-only file system |
    pub fn open(path: impl AsRef<Path>) -> Result<Namespace> {
        Directory::open(path.as_ref()).map(Namespace::directory)
    }

    /// Creates a namespace, or opens the existing one. The parent directory must exist.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Kind, Namespace};
    /// let other = Namespace::create(dir.path().join("other"), Kind::Shared)?;
    /// assert_eq!(other.kind(), Kind::Shared);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Namespace::open`], and:
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EEXIST` | a namespace of the other kind exists |
    /// | `ENOSPC` | the file system is full |
    /// | `ENOTEMPTY` | the directory exists and has other files |
    pub fn create(path: impl AsRef<Path>, kind: Kind) -> Result<Namespace> {
        Directory::create(path.as_ref(), kind).map(Namespace::directory)
    }

    /// Creates a shared namespace with a random name in the directory `parent`.
    ///
    /// Other users should be able to search `parent` but not to list it (mode 0711). Then only
    /// processes that know the name can open the namespace. Programs that give up the privileges of
    /// the superuser use this.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Kind, Namespace};
    /// let hidden = Namespace::create_hidden(dir.path())?;
    /// assert_eq!(hidden.path().unwrap().parent(), Some(dir.path()));
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Namespace::create`].
    pub fn create_hidden(parent: impl AsRef<Path>) -> Result<Namespace> {
        default::create_hidden(parent.as_ref()).map(Namespace::directory)
    }

    fn directory(directory: &'static Directory) -> Namespace {
        Namespace { backend: AnyBackend::Directory(directory) }
    }

    /// Returns the directory; `None` for the kernel's namespace.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// assert_eq!(ns.path(), Some(&*dir.path().join("ns")));
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn path(&self) -> Option<&Path> {
        with_backend!(self.backend, backend => NamespaceVerbs::path(backend))
    }

    /// Returns `Private` or `Shared`. The kernel's namespace is shared.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// assert_eq!(ns.kind(), quintet::Kind::Private);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn kind(&self) -> Kind {
        with_backend!(self.backend, backend => NamespaceVerbs::kind(backend))
    }

    /// Returns the limits.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// assert_eq!(ns.limits()?, quintet::Limits::DEFAULT);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// None in a directory. Those of reading `/proc/sys/kernel` for the kernel's namespace.
    ///
    /// # References
    ///
    /// proc(5)
    #[doc(alias = "IPC_INFO")]
    pub fn limits(&self) -> std::result::Result<Limits, Errno> {
        with_backend!(self.backend, backend => backend.limits())
    }

    /// Sets the limits. Existing objects beyond a lowered limit stay.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Limits;
    /// ns.set_limits(&Limits { msgmax: 65536, ..Limits::DEFAULT })?;
    /// assert_eq!(ns.limits()?.msgmax, 65536);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | `shmmni`, `semmni` or `msgmni` is over 32768 |
    /// | `EINVAL` | `semmsl` is over 65535, or `semopm` over 500 |
    /// | `EINVAL` | `semmns`, `msgmax` or `msgmnb` is over `2^31 - 1` |
    /// | `EPERM` | the caller is not the owner of the namespace |
    ///
    /// # References
    ///
    /// proc(5)
    pub fn set_limits(&self, limits: &Limits) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => NamespaceVerbs::set_limits(backend, limits))
    }

    /// Reclaims what exited processes leave: attach counts, segments that only they kept, and
    /// objects that they had not finished creating.
    ///
    /// Every call does this where it needs to. This call does it for the whole namespace.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Segment;
    /// let segment = Segment::private(&ns, 100)?;
    /// ns.sweep()?;
    /// assert_eq!(segment.stat()?.nattch, 0);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of reading the directory of the namespace, or `/proc`.
    pub fn sweep(&self) -> std::result::Result<(), Errno> {
        with_backend!(self.backend, backend => backend.sweep())
    }

    /// Returns the processes that use the namespace. `count` is the number of attachments of each.
    /// Empty for the kernel's namespace.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// let _memory = quintet::Segment::private(&ns, 100)?.attach()?;
    /// let pids: Vec<i32> = ns.participants()?.iter().map(|process| process.pid).collect();
    /// assert_eq!(pids, [std::process::id() as i32]);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of reading the directory of the namespace, or `/proc`.
    pub fn participants(&self) -> std::result::Result<Vec<Attacher>, Errno> {
        with_backend!(self.backend, backend => backend.participants())
    }

    /// Removes the namespace and all its objects. Unless `force` is set, it fails while other
    /// processes use the namespace.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// ns.destroy(true)?;
    /// assert!(!dir.path().join("ns").exists());
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EBUSY` | processes use it, and `force` is not set |
    /// | `EINVAL` | it is the kernel's namespace |
    /// | `EPERM` | the caller is not the owner |
    pub fn destroy(self, force: bool) -> Result<()> {
        with_backend!(self.backend, backend => NamespaceVerbs::destroy(backend, force))
    }

    /// Removes the namespace at `path` that cannot be opened, because it is damaged or has another
    /// layout version.
    ///
    /// Only files that a namespace has are removed. Processes that use it are not detected.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Namespace;
    /// let path = dir.path().join("ns");
    /// std::fs::write(path.join("namespace"), "damaged").unwrap();
    /// Namespace::destroy_damaged(&path)?;
    /// assert!(!path.exists());
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `ENOENT` | no namespace is there |
    /// | `ENOTEMPTY` | other files are there, which stay |
    /// | `EPERM` | the caller is not the owner |
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
