//! The PID namespace of this process.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Returns `true` if `other` is the caller's PID namespace. Two unknown ones do not count as the
/// same, because process ids may mean different processes in them.
pub fn is_own(other: u64) -> bool {
    other != 0 && other == number()
}

/// Returns the inode number of this process's PID namespace, or 0 if `/proc` does not have it.
///
/// The number never changes and is read once: the kernel has to make the `/proc` entry of a new
/// process first, which costs half as much as a fork.
pub fn number() -> u64 {
    match NUMBER.load(Relaxed) {
        0 => {
            let number = rustix::fs::stat(c"/proc/self/ns/pid").map_or(0, |stat| stat.st_ino & u64::from(u32::MAX));
            NUMBER.store(if number == 0 { UNKNOWN } else { number }, Relaxed);
            number
        }
        UNKNOWN => 0,
        known => known,
    }
}

/// Stands for a number that `/proc` does not have. It is not read again, because a sandbox may have
/// closed `/proc` since.
const UNKNOWN: u64 = u64::MAX;

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Forgets the number in a child of the process `parent`, unless the child sees that process id as
/// its parent's and so is in the same PID namespace.
pub fn forget(parent: u32) {
    let sees = rustix::process::getppid().is_some_and(|seen| seen.as_raw_nonzero().get() as u32 == parent);
    if !sees {
        NUMBER.store(0, Relaxed);
    }
}
