//! Private and shared namespaces.

/// The users that a namespace is for.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
/// use quintet::{Kind, Namespace};
/// let ns = Namespace::create(&path, Kind::Shared)?;
/// assert_eq!(ns.kind(), Kind::Shared);
/// # Ok::<(), quintet::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Mode 0700: only the owner and the superuser can use it.
    Private,
    /// Mode 1777, like `/tmp`: all users can use it. The mode of each object decides, as for the
    /// kernel's objects.
    Shared,
}
