//! Checks whether a directory may hold the drop-in library.
//!
//! Every intercepted program runs the library's code, so no other user may be able to replace the
//! file or a directory above it.

use rustix::fs::StatVfsMountFlags;
use std::ffi::OsStr;
use std::fs::{DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// Creates the directory if it is missing. Returns the reason if it cannot hold the library.
pub fn prepare(dir: &Path) -> Result<(), String> {
    if !is_preloadable(dir.as_os_str()) {
        return Err("LD_PRELOAD cannot name a path with white space, a colon or a dollar sign".to_owned());
    }
    create(dir).map_err(|e| format!("cannot be created: {}", crate::failure::reason(&e)))?;
    let metadata = dir.symlink_metadata().map_err(|e| crate::failure::reason(&e))?;
    if !metadata.is_dir() {
        return Err("is not a directory".to_owned());
    }
    if !is_trusted(&metadata) {
        return Err(format!("another user can write to it (owner {}, mode {:04o})", metadata.uid(), metadata.mode() & 0o7777));
    }
    if let Some(open) = dir.ancestors().skip(1).find(|above| above.metadata().is_ok_and(|m| is_open_to_renames(&m))) {
        return Err(format!("any user can rename files in {}", open.display()));
    }
    let mount = rustix::fs::statvfs(dir).map_err(|e| crate::failure::reason(&e.into()))?;
    if mount.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err("is on a file system mounted noexec".to_owned());
    }
    Ok(())
}

/// Returns `true` if the caller or the superuser owns a file or directory, and only the owner may
/// write to it.
pub fn is_trusted(metadata: &Metadata) -> bool {
    let owner = metadata.uid();
    let ours = owner == 0 || owner == rustix::process::geteuid().as_raw();
    ours && metadata.mode() & 0o022 == 0
}

/// Returns `true` if LD_PRELOAD can name `path`: the loader splits the variable at white space and
/// colons, and expands what begins with a dollar sign.
fn is_preloadable(path: &OsStr) -> bool {
    !path.as_bytes().iter().any(|b| b.is_ascii_whitespace() || matches!(b, b':' | b'$'))
}

/// Returns `true` if every user may rename files of other users in a directory: it is writable and
/// has no sticky bit.
fn is_open_to_renames(metadata: &Metadata) -> bool {
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
        // A program that changes its user id must still read the library, so the umask must not
        // apply.
        Ok(()) => std::fs::set_permissions(dir, Permissions::from_mode(0o755)),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creates_missing_directories_that_every_user_can_read() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b/quintet");
        prepare(&dir).unwrap();
        assert_eq!(dir.metadata().unwrap().mode() & 0o777, 0o755);
        prepare(&dir).unwrap();
    }

    #[test]
    fn refuses_directories_of_other_users_and_paths_that_ld_preload_cannot_name() {
        let root = tempfile::tempdir().unwrap();
        let open = root.path().join("open");
        prepare(&open).unwrap();
        std::fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        assert!(prepare(&open).unwrap_err().contains("another user can write"));
        assert!(prepare(&open.join("below")).unwrap_err().contains("any user can rename"));

        let link = root.path().join("link");
        std::os::unix::fs::symlink("/usr", &link).unwrap();
        assert!(prepare(&link).unwrap_err().contains("not a directory"));
        for name in ["a b", "a:b", "$a"] {
            assert!(prepare(&root.path().join(name)).unwrap_err().contains("LD_PRELOAD"));
        }
        let file = root.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(prepare(&file.join("x")).unwrap_err().contains("cannot be created"));
    }
}
