//! Who may do what to an object: `ipcperms` of the kernel.

use crate::Permissions;
use crate::sys::credentials::{self, capable};
use rustix::thread::CapabilitySet;

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
pub fn governs(perm: &Permissions) -> bool {
    let euid = credentials::euid();
    euid == perm.cuid || euid == perm.uid || capable(CapabilitySet::SYS_ADMIN)
}
