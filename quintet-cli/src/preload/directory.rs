//! Which directory may hold the library: whoever can write there runs code in every program.

use rustix::fs::StatVfsMountFlags;
use std::ffi::OsStr;
use std::fs::{DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// Makes the directory if it is missing, and tells why it will not do.
pub fn usable(dir: &Path) -> Result<(), String> {
    if !can_be_named(dir.as_os_str()) {
        return Err("LD_PRELOAD cannot name a path with a space, a colon or a dollar sign".to_owned());
    }
    create(dir).map_err(|e| format!("cannot be created: {}", crate::failure::reason(&e)))?;
    let metadata = dir.symlink_metadata().map_err(|e| crate::failure::reason(&e))?;
    if !metadata.is_dir() {
        return Err("is not a directory".to_owned());
    }
    if !is_trusted(&metadata) {
        return Err(format!("others could write there (owner {}, mode {:04o})", metadata.uid(), metadata.mode() & 0o7777));
    }
    if let Some(open) = dir.ancestors().skip(1).find(|a| a.metadata().is_ok_and(|m| anybody_may_rename_in(&m))) {
        return Err(format!("anybody may rename what is in {}", open.display()));
    }
    let mount = rustix::fs::statvfs(dir).map_err(|e| crate::failure::reason(&e.into()))?;
    if mount.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err("is on a file system mounted noexec".to_owned());
    }
    Ok(())
}

/// Whether a file or directory is ours or the superuser's, and nobody else may write it.
pub fn is_trusted(metadata: &Metadata) -> bool {
    let owner = metadata.uid();
    let ours = owner == 0 || owner == rustix::process::geteuid().as_raw();
    ours && metadata.mode() & 0o022 == 0
}

/// The separators of LD_PRELOAD, and the start of what the loader expands.
fn can_be_named(path: &OsStr) -> bool {
    !path.as_bytes().iter().any(|b| b.is_ascii_whitespace() || matches!(b, b':' | b'$'))
}

fn anybody_may_rename_in(metadata: &Metadata) -> bool {
    metadata.mode() & 0o002 != 0 && metadata.mode() & 0o1000 == 0
}

fn create(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    match DirBuilder::new().mode(0o755).create(dir) {
        // The umask may have taken away what programs that drop their rights need.
        Ok(()) => std::fs::set_permissions(dir, Permissions::from_mode(0o755)),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_what_is_missing_readable_for_others() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b/quintet");
        usable(&dir).unwrap();
        assert_eq!(dir.metadata().unwrap().mode() & 0o777, 0o755);
        usable(&dir).unwrap();
    }

    #[test]
    fn refuses_what_others_control_or_the_loader_cannot_read() {
        let root = tempfile::tempdir().unwrap();
        let open = root.path().join("open");
        usable(&open).unwrap();
        std::fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        assert!(usable(&open).unwrap_err().contains("others could write"));
        assert!(usable(&open.join("below")).unwrap_err().contains("anybody may rename"));

        let link = root.path().join("link");
        std::os::unix::fs::symlink("/usr", &link).unwrap();
        assert!(usable(&link).unwrap_err().contains("not a directory"));
        for name in ["a b", "a:b", "$a"] {
            assert!(usable(&root.path().join(name)).unwrap_err().contains("LD_PRELOAD"));
        }
        let file = root.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(usable(&file.join("x")).unwrap_err().contains("cannot be created"));
    }
}
