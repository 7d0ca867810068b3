//! Programs that gain privileges when executed. For these the loader ignores LD_PRELOAD.

use crate::Refusal;
use rustix::fs::{Stat, StatVfsMountFlags};
use rustix::process::{getgid, getuid};
use std::path::Path;

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o0010;

/// Refuses a program that would run with other privileges.
pub fn check(path: &Path, stat: &Stat) -> Result<(), Refusal> {
    let mode = stat.st_mode;
    let changes_user = mode & SETUID != 0 && stat.st_uid != getuid().as_raw();
    // Without the execute bit, setgid has another meaning.
    let both = SETGID | GROUP_EXECUTE;
    let changes_group = mode & both == both && stat.st_gid != getgid().as_raw();
    let gains = if changes_user {
        Some("it is setuid and runs as another user")
    } else if changes_group {
        Some("it is setgid and runs as another group")
    } else if !getuid().is_root() && has_capabilities(path) {
        Some("it has file capabilities")
    } else {
        None
    };
    match gains {
        Some(gains) if !privileges_ignored(path) => Err(Refusal::bypassed(format!("{gains}, so the loader ignores LD_PRELOAD"))
            .remedy("run it as that user, or use a copy without these privileges")),
        _ => Ok(()),
    }
}

fn has_capabilities(path: &Path) -> bool {
    let mut value = [0u8; 64];
    rustix::fs::getxattr(path, "security.capability", &mut value).is_ok_and(|len| len > 0)
}

/// Returns `true` if the kernel grants no privileges: on a nosuid mount, or with `no_new_privs`.
fn privileges_ignored(path: &Path) -> bool {
    let nosuid = rustix::fs::statvfs(path).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::NOSUID));
    nosuid || rustix::thread::no_new_privs().unwrap_or(false)
}
