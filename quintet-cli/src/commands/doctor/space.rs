//! The file system of the namespace: its kind, and whether there is room.

use super::finding::Finding;
use super::mount::Mount;
use crate::size::spoken;
use rustix::fs::{StatVfs, StatVfsMountFlags};
use std::path::Path;

/// Examines the file system that `dir` is on; `used` is what the namespace holds, if that is known.
pub fn examine(dir: &Path, used: Option<u64>, findings: &mut Vec<Finding>) {
    match rustix::fs::statvfs(dir) {
        Ok(fs) => {
            findings.push(space(&fs, used));
            findings.extend(inodes(&fs));
            findings.push(executable(&fs));
        }
        Err(e) => findings.push(Finding::fail(
            "space",
            format!("the file system does not tell its size: {}", crate::failure::reason(&e.into())),
            "see that the directory can be reached",
        )),
    }
    if let Some(mount) = Mount::of(dir) {
        findings.push(kind(&mount));
        findings.push(huge_pages(&mount));
    }
}

fn space(fs: &StatVfs, used: Option<u64>) -> Finding {
    let size = fs.f_blocks.saturating_mul(fs.f_frsize);
    let free = fs.f_bavail.saturating_mul(fs.f_frsize);
    let ours = used.map_or(String::new(), |used| format!(", of which this namespace uses {}", spoken(used)));
    let message = format!("{} of {} are free{ours}", spoken(free), spoken(size));
    let remedy = "remove what is not needed ('quintet rm --orphans'), or enlarge it: mount -o remount,size=...";
    match share_used(size, free) {
        // Some file systems, such as those of size 0, do not count.
        _ if size == 0 => Finding::ok("space", "the file system has no fixed size"),
        100 => Finding::fail("space", message, remedy),
        81.. => Finding::warn("space", message, remedy),
        _ => Finding::ok("space", message),
    }
}

fn inodes(fs: &StatVfs) -> Option<Finding> {
    if fs.f_files == 0 {
        return None;
    }
    let message = format!("{} of {} files can still be made", fs.f_favail, fs.f_files);
    let remedy = "remove files, or allow more: mount -o remount,nr_inodes=...";
    Some(match share_used(fs.f_files, fs.f_favail) {
        100 => Finding::fail("files", message, remedy),
        81.. => Finding::warn("files", message, remedy),
        _ => Finding::ok("files", message),
    })
}

/// Percent in use; 100 only if nothing is left.
fn share_used(size: u64, free: u64) -> u64 {
    if free == 0 { 100 } else { (u128::from(size - free.min(size)) * 100 / u128::from(size.max(1))).min(99) as u64 }
}

fn executable(fs: &StatVfs) -> Finding {
    if fs.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        let message = "mounted noexec: segments cannot be attached with SHM_EXEC (few programs do)";
        return Finding::warn("noexec", message, "if a program needs it, use a namespace on another file system");
    }
    Finding::ok("noexec", "segments can be attached with SHM_EXEC")
}

fn kind(mount: &Mount) -> Finding {
    if mount.kind == "tmpfs" || mount.kind == "hugetlbfs" {
        return Finding::ok(
            "file system",
            format!("{}: in memory; objects live until they are removed or the system stops", mount.kind),
        );
    }
    let message = format!("{}: on a disk, whose pages are written back, which costs time", mount.kind);
    Finding::warn("file system", message, "use a namespace under /dev/shm, unless objects must survive a restart")
}

fn huge_pages(mount: &Mount) -> Finding {
    match mount.option("huge") {
        Some(policy) if policy != "never" => Finding::ok("huge pages", format!("the mount gives them (huge={policy})")),
        _ => Finding::ok(
            "huge pages",
            "the mount gives none; if large segments are to have them: mount -o remount,huge=within_size",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_is_only_what_is_full() {
        assert_eq!(share_used(100, 100), 0);
        assert_eq!(share_used(100, 19), 81);
        assert_eq!(share_used(1_000_000, 1), 99);
        assert_eq!(share_used(100, 0), 100);
        assert_eq!(share_used(0, 5), 0);
    }
}
