//! The PID namespace of this process.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Whether it is the caller's. Of two that are not known it is not said: their numbers may mean different processes.
pub fn is_own(other: u64) -> bool {
    other != 0 && other == number()
}

/// The inode number of this process's PID namespace, 0 where `/proc` does not tell. It never changes: asked once, as a new process's `/proc`
/// has to be made first, which costs half as much as a fork.
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

/// `/proc` does not tell; a program that has locked itself in may not ask again.
const UNKNOWN: u64 = u64::MAX;

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// In a child of the process `parent`, which it sees if it is in the same PID namespace.
pub fn forget(parent: u32) {
    let sees = rustix::process::getppid().is_some_and(|seen| seen.as_raw_nonzero().get() as u32 == parent);
    if !sees {
        NUMBER.store(0, Relaxed);
    }
}
