//! Owner, creator and access mode of an object.

/// Owner, creator and access mode of an object: `struct ipc_perm`.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
/// use quintet::{Key, Kind, MessageQueue, Namespace};
/// let ns = Namespace::create(&path, Kind::Private)?;
/// let queue = MessageQueue::options().mode(0o640).create(&ns, Key::new(0x5eed))?;
/// let perm = queue.stat()?.perm;
/// assert_eq!(perm.mode, 0o640);
/// assert_eq!(perm.uid, perm.cuid); // until the queue is given to another user
/// # Ok::<(), quintet::Error>(())
/// ```
///
/// # References
///
/// sysvipc(7)
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[doc(alias = "ipc_perm")]
pub struct Permissions {
    /// The owner's user id.
    pub uid: u32,
    /// The owner's group id.
    pub gid: u32,
    /// The creator's user id.
    pub cuid: u32,
    /// The creator's group id.
    pub cgid: u32,
    /// The access mode: the nine bits `rwxrwxrwx`, 0..=0o777.
    pub mode: u32,
}
