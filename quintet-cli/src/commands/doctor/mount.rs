//! The mount that a directory is on, from /proc/self/mountinfo.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A mounted file system.
#[derive(PartialEq, Eq, Debug)]
pub struct Mount {
    /// The mount point.
    pub point: String,
    /// The type: `tmpfs`, `ext4`.
    pub kind: String,
    /// The options, separated by commas: `rw,nosuid,size=24G,huge=within_size`.
    pub options: String,
}

impl Mount {
    /// Returns the mount of a directory, if it is known.
    pub fn of(dir: &Path) -> Option<Mount> {
        let device = dir.metadata().ok()?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        find(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, &format!("{major}:{minor}"))
    }

    /// Returns the value of an option, such as `huge=`.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.split(',').find_map(|o| o.strip_prefix(name)?.strip_prefix('='))
    }
}

fn find(mountinfo: &str, device: &str) -> Option<Mount> {
    let line = mountinfo.lines().find(|line| line.split(' ').nth(2) == Some(device))?;
    let point = line.split(' ').nth(4)?.to_owned();
    let (_, file_system) = line.split_once(" - ")?;
    let mut fields = file_system.split(' ');
    let kind = fields.next()?.to_owned();
    Some(Mount { point, kind, options: fields.nth(1).unwrap_or_default().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_mountinfo() {
        let text = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n30 22 0:26 / /dev/shm rw,nosuid shared:5 - tmpfs tmpfs rw,size=1024k,huge=always\n";
        let mount = find(text, "0:26").unwrap();
        assert_eq!(mount.point, "/dev/shm");
        assert_eq!((mount.kind.as_str(), mount.option("huge"), mount.option("size")), ("tmpfs", Some("always"), Some("1024k")));
        assert_eq!(find(text, "254:0").unwrap().option("huge"), None);
        assert_eq!(find(text, "9:9"), None);
    }
}
