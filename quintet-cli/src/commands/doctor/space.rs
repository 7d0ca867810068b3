//! The file system of the namespace: its kind and its free space.

use super::finding::Finding;
use super::mount::Mount;
use crate::failure::reason_with_errno;
use crate::words::{shell_word, size};
use rustix::fs::{StatVfs, StatVfsMountFlags};
use std::path::Path;

/// Examines the file system of `dir`. `used` is the memory that the namespace uses, if that is
/// known.
pub fn examine(dir: &Path, used: Option<u64>, findings: &mut Vec<Finding>) {
    let mount = Mount::of(dir);
    match rustix::fs::statvfs(dir) {
        Ok(fs) => {
            findings.push(space(&fs, used, mount.as_ref()));
            findings.extend(inodes(&fs, mount.as_ref()));
            findings.push(exec(&fs));
        }
        Err(e) => findings.push(Finding::fail(
            "space",
            format!("cannot read the size of the file system: {}", reason_with_errno(&e.into())),
            "check that the directory exists and can be entered",
        )),
    }
    if let Some(mount) = mount {
        findings.push(kind(&mount));
        findings.push(huge_pages(&mount));
    }
}

fn space(fs: &StatVfs, used: Option<u64>, mount: Option<&Mount>) -> Finding {
    let total = fs.f_blocks.saturating_mul(fs.f_frsize);
    let free = fs.f_bavail.saturating_mul(fs.f_frsize);
    let usage = used.map_or(String::new(), |used| format!("; this namespace uses {}", size(used)));
    let message = format!("{} of {} are free{usage}", size(free), size(total));
    let remedy = enlarge(&format!("size={}k", total.saturating_mul(2) / 1024), mount);
    match percent_used(total, free) {
        // Some file systems report the size 0 because they have no limit.
        _ if total == 0 => Finding::ok("space", "the file system has no fixed size"),
        100 => Finding::fail("space", message, remedy),
        81.. => Finding::warn("space", message, remedy),
        _ => Finding::ok("space", message),
    }
}

fn inodes(fs: &StatVfs, mount: Option<&Mount>) -> Option<Finding> {
    if fs.f_files == 0 {
        return None;
    }
    let message = format!("{} of {} files can still be created", fs.f_favail, fs.f_files);
    let remedy = enlarge(&format!("nr_inodes={}", fs.f_files.saturating_mul(2)), mount);
    Some(match percent_used(fs.f_files, fs.f_favail) {
        100 => Finding::fail("files", message, remedy),
        81.. => Finding::warn("files", message, remedy),
        _ => Finding::ok("files", message),
    })
}

/// Returns the advice for a full file system. The mount option `option` enlarges a tmpfs.
fn enlarge(option: &str, mount: Option<&Mount>) -> String {
    match mount.filter(|mount| mount.kind == "tmpfs") {
        Some(mount) => {
            let point = shell_word(&mount.point);
            format!("remove unused files, or enlarge it as root: mount -o remount,{option} {point}")
        }
        None => "remove unused files, or use a namespace on another file system".to_owned(),
    }
}

/// Returns the percentage in use. It is 100 only if nothing is free.
fn percent_used(total: u64, free: u64) -> u64 {
    if free == 0 {
        return 100;
    }
    (u128::from(total - free.min(total)) * 100 / u128::from(total.max(1))).min(99) as u64
}

fn exec(fs: &StatVfs) -> Finding {
    if fs.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        let message = "mounted noexec: shmat with SHM_EXEC fails (few programs need it)";
        return Finding::warn("noexec", message, "use a namespace on another file system if a program needs it");
    }
    Finding::ok("noexec", "shmat with SHM_EXEC works")
}

fn kind(mount: &Mount) -> Finding {
    if mount.kind == "tmpfs" || mount.kind == "hugetlbfs" {
        let message = format!("{}: in memory; objects exist until they are removed or the system stops", mount.kind);
        return Finding::ok("file system", message);
    }
    let message = format!("{}: on disk; pages are written back, which takes time", mount.kind);
    Finding::warn("file system", message, "use a namespace under /dev/shm, unless objects must survive a restart")
}

fn huge_pages(mount: &Mount) -> Finding {
    let message = match mount.option("huge") {
        Some(policy) if policy != "never" => format!("the mount provides huge pages (huge={policy})"),
        _ if mount.kind == "tmpfs" => {
            let point = shell_word(&mount.point);
            format!("the mount provides none; for large segments: mount -o remount,huge=within_size {point}")
        }
        _ => format!("{} provides none", mount.kind),
    };
    Finding::ok("huge pages", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_file_system_is_100_percent_used() {
        assert_eq!(percent_used(100, 100), 0);
        assert_eq!(percent_used(100, 19), 81);
        assert_eq!(percent_used(1_000_000, 1), 99);
        assert_eq!(percent_used(100, 0), 100);
        assert_eq!(percent_used(0, 5), 0);
    }
}
