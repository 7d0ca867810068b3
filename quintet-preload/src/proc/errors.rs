//! Error numbers that mean something of their own for these files.

use libc::c_int;
use quintet::Errno;

/// Maps the error of the namespace to the error of a path: without a usable namespace the files do
/// not exist.
pub fn no_file(errno: Errno) -> Errno {
    if errno == Errno::NOSYS { Errno::NOENT } else { errno }
}

/// Returns `true` if a call may have failed because the kernel has no such file or refuses it. A
/// call that fails with one of these errors has read its path.
pub fn may_be_missed(errno: c_int) -> bool {
    matches!(errno, libc::ENOENT | libc::EACCES | libc::EROFS)
}
