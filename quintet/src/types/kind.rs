//! Private and shared namespaces.

/// For whom a namespace's directory is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Mode 0700: nobody but its owner (and the superuser) gets in.
    Private,
    /// Mode 1777, like `/tmp`: everybody gets in, and each object's own mode decides, as with the kernel's objects.
    Shared,
}
