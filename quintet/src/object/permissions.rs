//! Who may do what to an object: `ipcperms` of the kernel.

use crate::sys::credentials::{self, capable};
use crate::types::permissions::Permissions;
use rustix::thread::CapabilitySet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bits of an access that a mode grants or not.
pub const READ: u32 = 0o444;
pub const WRITE: u32 = 0o222;
pub const EXECUTE: u32 = 0o111;

/// Whether the mode grants the access that `flags` names to everybody: then nobody need be asked who calls.
pub fn granted_to_all(perm: &Permissions, flags: u32) -> bool {
    grants(perm.mode >> 6 & perm.mode >> 3 & perm.mode, flags)
}

fn grants(bits: u32, flags: u32) -> bool {
    let wanted = (flags >> 6 | flags >> 3 | flags) & 7;
    wanted & !bits & 7 == 0
}

/// Whether the calling thread has the access that `flags` names. Its effective user id is asked for only if it matters.
pub fn permits(perm: &Permissions, flags: u32, euid: impl FnOnce() -> u32) -> bool {
    if granted_to_all(perm, flags) {
        return true;
    }
    let euid = euid();
    let granted = if euid == perm.cuid || euid == perm.uid {
        perm.mode >> 6
    } else if credentials::in_groups(perm.cgid, perm.gid) {
        perm.mode >> 3
    } else {
        perm.mode
    };
    grants(granted, flags) || capable(CapabilitySet::IPC_OWNER)
}

/// Whether the calling thread may change or remove the object.
pub fn may_control(perm: &Permissions) -> bool {
    let euid = credentials::euid();
    euid == perm.cuid || euid == perm.uid || capable(CapabilitySet::SYS_ADMIN)
}

/// What the calling thread may do to an object, as last found out. It is believed until [`credentials::changed`] is told that it may be otherwise.
#[repr(transparent)]
pub struct Remembered(AtomicU64);

impl Remembered {
    /// Nothing is known any more.
    pub fn forget(&self) {
        self.0.store(0, Relaxed);
    }

    /// Whether the thread may read (`write` false) or write the object that is mapped with this tag of 16 bits, and has this version of its rights.
    #[inline(always)]
    pub fn may(&self, write: bool, tag: u64, version: u32, perm: impl FnOnce() -> Permissions) -> bool {
        let version = u64::from(version & 0xfffff) << 22 | tag << 42 | u64::from(credentials::generation() & 0xfffff) << 2;
        let known = self.0.load(Relaxed);
        if known & !3 == version && known & (1 << u64::from(write)) != 0 {
            return true;
        }
        self.ask(write, version, &perm())
    }

    #[cold]
    #[inline(never)]
    fn ask(&self, write: bool, version: u64, perm: &Permissions) -> bool {
        let permits = |flags| u64::from(permits(perm, flags, credentials::euid));
        let bits = permits(READ) | permits(WRITE) << 1;
        self.0.store(version | bits, Relaxed);
        bits >> u64::from(write) & 1 != 0
    }
}
