//! Programs that gain rights when started: there the loader ignores LD_PRELOAD.

use crate::Refusal;
use rustix::fs::{Stat, StatVfsMountFlags};
use rustix::process::{getgid, getuid};
use std::path::Path;

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o0010;

/// Refuses a program that would run with other rights than ours.
pub fn check(path: &Path, stat: &Stat) -> Result<(), Refusal> {
    let mode = stat.st_mode;
    let changes_user = mode & SETUID != 0 && stat.st_uid != getuid().as_raw();
    // Without the execute bit, the setgid bit means something else.
    let both = SETGID | GROUP_EXECUTE;
    let changes_group = mode & both == both && stat.st_gid != getgid().as_raw();
    let gains = if changes_user {
        Some("it is setuid, and changes its user when started")
    } else if changes_group {
        Some("it is setgid, and changes its group when started")
    } else if !getuid().is_root() && has_capabilities(path) {
        Some("it has file capabilities")
    } else {
        None
    };
    match gains {
        Some(gains) if !are_ignored(path) => Err(Refusal::bypassed(format!("{gains}, so the loader ignores LD_PRELOAD"))
            .remedy("run it as the user whose rights it takes, or use a copy without them")),
        _ => Ok(()),
    }
}

fn has_capabilities(path: &Path) -> bool {
    let mut value = [0u8; 64];
    rustix::fs::getxattr(path, "security.capability", &mut value).is_ok_and(|len| len > 0)
}

/// Whether the kernel grants no such rights here: a nosuid mount, or `no_new_privs`.
fn are_ignored(path: &Path) -> bool {
    let nosuid = rustix::fs::statvfs(path).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::NOSUID));
    nosuid || rustix::thread::no_new_privs().unwrap_or(false)
}
