//! Owner, creator and access mode of an object.

/// Who owns an object and who may use it: `struct ipc_perm`.
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
    /// The access mode: the nine bits `rwxrwxrwx` and no others.
    pub mode: u32,
}
