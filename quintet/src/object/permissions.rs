//! Permission checks, as `ipcperms` of the kernel makes them.

use crate::sys::credentials::{self, capable};
use crate::types::permissions::Permissions;
use rustix::thread::CapabilitySet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The permission bits of an access, for owner, group and other users.
pub const READ: u32 = 0o444;
pub const WRITE: u32 = 0o222;
pub const EXECUTE: u32 = 0o111;

/// Returns `true` if the mode grants the access in `flags` to every user. The check then needs no
/// user id.
pub fn granted_to_all(perm: &Permissions, flags: u32) -> bool {
    grants(perm.mode >> 6 & perm.mode >> 3 & perm.mode, flags)
}

fn grants(bits: u32, flags: u32) -> bool {
    let requested = (flags >> 6 | flags >> 3 | flags) & 7;
    requested & !bits & 7 == 0
}

/// Returns `true` if the calling thread has the access in `flags`. Calls `euid` only if the answer
/// depends on it.
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

/// Returns `true` if the calling thread may change or remove the object.
pub fn may_control(perm: &Permissions) -> bool {
    let euid = credentials::euid();
    euid == perm.cuid || euid == perm.uid || capable(CapabilitySet::SYS_ADMIN)
}

/// The cached permissions of the calling process for one object.
///
/// The cache is valid until [`credentials::changed`] reports that the credentials may differ.
#[repr(transparent)]
pub struct PermissionCache(AtomicU64);

impl PermissionCache {
    /// Empties the cache.
    pub fn forget(&self) {
        self.0.store(0, Relaxed);
    }

    /// Returns `true` if the thread may write the object, or read it if `write` is `false`.
    ///
    /// `tag` has 16 bits and names the mapping of the object. `version` names the version of its
    /// permissions. Calls `perm` only if the cache has no answer for both.
    #[inline(always)]
    pub fn allows(&self, write: bool, tag: u64, version: u32, perm: impl FnOnce() -> Permissions) -> bool {
        let version = u64::from(version & 0xfffff) << 22 | tag << 42 | u64::from(credentials::generation() & 0xfffff) << 2;
        let known = self.0.load(Relaxed);
        if known & !3 == version && known & (1 << u64::from(write)) != 0 {
            return true;
        }
        self.evaluate(write, version, &perm())
    }

    #[cold]
    #[inline(never)]
    fn evaluate(&self, write: bool, version: u64, perm: &Permissions) -> bool {
        let permits = |flags| u64::from(permits(perm, flags, credentials::euid));
        let bits = permits(READ) | permits(WRITE) << 1;
        self.0.store(version | bits, Relaxed);
        bits >> u64::from(write) & 1 != 0
    }
}
