//! How a segment is created.

use crate::api::common::{self, Class};
use crate::api::namespace::Namespace;
use crate::api::segment::Segment;
use crate::types::error::{Errno, Error, Result};
use crate::types::key::Key;

/// Choices for the creation of a segment. [`Segment::options`] returns the defaults.
#[derive(Clone, Debug)]
pub struct SegmentOptions {
    mode: u32,
    exclusive: bool,
    huge: bool,
    no_reserve: bool,
}

impl SegmentOptions {
    pub(crate) fn new() -> SegmentOptions {
        SegmentOptions { mode: 0o600, exclusive: false, huge: false, no_reserve: false }
    }

    /// Sets the access mode: the nine bits `rwxrwxrwx`, 0..=0o777. The default is 0o600.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, Segment};
    /// let segment = Segment::options().mode(0o640).create(&ns, Key::PRIVATE, 4096)?;
    /// assert_eq!(segment.stat()?.perm.mode, 0o640);
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
    /// use quintet::{Errno, Key, Segment};
    /// let options = Segment::options().exclusive();
    /// options.create(&ns, Key::new(5), 4096)?;
    /// assert_eq!(options.create(&ns, Key::new(5), 4096).unwrap_err().errno(), Errno::EXIST);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    #[doc(alias = "IPC_EXCL")]
    pub fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    /// Uses huge pages (`SHM_HUGETLB`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, Segment};
    /// // The creation fails if the system has no huge pages.
    /// if let Ok(segment) = Segment::options().huge_pages().create(&ns, Key::PRIVATE, 1 << 21) {
    ///     assert_eq!(segment.stat()?.size, 1 << 21);
    /// }
    /// # Ok::<(), quintet::Error>(())
    /// ```
    #[doc(alias = "SHM_HUGETLB")]
    pub fn huge_pages(mut self) -> Self {
        self.huge = true;
        self
    }

    /// Reserves no memory (`SHM_NORESERVE`).
    ///
    /// A later write raises SIGBUS if the file system is full then.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, Segment};
    /// let sparse = Segment::options().no_reserve().create(&ns, Key::PRIVATE, 1 << 30)?;
    /// assert_eq!(sparse.stat()?.size, 1 << 30);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    #[doc(alias = "SHM_NORESERVE")]
    pub fn no_reserve(mut self) -> Self {
        self.no_reserve = true;
        self
    }

    /// Creates the segment of `key` with `size` bytes (1..=`shmmax`), or opens the existing one.
    ///
    /// With [`Key::PRIVATE`] it always creates a segment.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, Segment};
    /// let options = Segment::options().mode(0o660);
    /// let segment = options.create(&ns, Key::new(5), 4096)?;
    /// assert_eq!(options.create(&ns, Key::new(5), 4096)?.id(), segment.id());
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the segment exists and its mode does not grant the mode asked for |
    /// | `EEXIST` | the key is in use, and [`exclusive`](Self::exclusive) was asked for |
    /// | `EINVAL` | new: `size` is 0 or over `shmmax`; existing: it is smaller than `size` |
    /// | `ENOMEM` | the file system has no room |
    /// | `ENOSPC` | the limit `shmmni` or `shmall` is reached |
    ///
    /// # References
    ///
    /// shmget(2)
    pub fn create(&self, ns: &Namespace, key: Key, size: u64) -> Result<Segment> {
        let mut flags = self.mode as i32 | libc::IPC_CREAT;
        for (is_set, flag) in
            [(self.exclusive, libc::IPC_EXCL), (self.huge, libc::SHM_HUGETLB), (self.no_reserve, libc::SHM_NORESERVE)]
        {
            if is_set {
                flags |= flag;
            }
        }
        let id = ns.shmget(key, size, flags).map_err(|e| creation_error(ns, key, size, e))?;
        Ok(Segment { ns: ns.clone(), id })
    }
}

fn creation_error(ns: &Namespace, key: Key, size: u64, errno: Errno) -> Error {
    let error = Error::new(errno, format!("cannot create a segment of {size} bytes with key {key}"));
    let limits = ns.limits().unwrap_or_default();
    match errno {
        Errno::INVAL if size == 0 => error.reason("a segment has at least 1 byte"),
        Errno::INVAL if size > limits.shmmax => error
            .reason(format!("the limit shmmax is {} bytes", limits.shmmax))
            .hint(format!("raise it with {}", common::command(ns, format_args!("namespace limits --shmmax {size}")))),
        Errno::INVAL => error.reason("a smaller segment has this key"),
        Errno::NOSPC => error
            .reason(format!("the limit shmmni ({} segments) or shmall ({} pages) is reached", limits.shmmni, limits.shmall))
            .hint(format!("remove segments, or raise the limit: {} shows both", common::command(ns, "namespace limits"))),
        _ => common::creation_error(ns, Class::SEGMENT, key, error),
    }
}

impl Segment {
    /// Returns the choices for the creation of a segment.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, Segment};
    /// let segment = Segment::options().mode(0o640).exclusive().create(&ns, Key::new(5), 1 << 20)?;
    /// assert_eq!(segment.stat()?.perm.mode, 0o640);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// shmget(2)
    pub fn options() -> SegmentOptions {
        SegmentOptions::new()
    }
}
