//! The drop-in library: its bytes are part of this program, and [`install`] writes them to a file.

mod directory;

use crate::failure::Failure;
use rustix::fs::{Mode, OFlags};
use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The library that build.rs embedded.
pub const LIBRARY: &[u8] = include_bytes!(env!("QUINTET_PRELOAD"));

/// The file name of the library. It contains a hash of the content, so an update of Quintet never
/// replaces a file that running programs have mapped.
const FILE_NAME: &str = concat!("libquintet-", env!("QUINTET_PRELOAD_HASH"), ".so");

/// Installs the library in the first usable directory, unless it is there already, and returns its
/// path.
///
/// # Errors
///
/// No directory is usable.
pub fn install() -> Result<PathBuf, Failure> {
    let mut reasons = Vec::new();
    for dir in candidates() {
        let installed = directory::prepare(&dir).and_then(|()| install_in(&dir));
        match installed {
            Ok(path) => return Ok(path),
            Err(reason) => reasons.push(format!("{}: {reason}", crate::words::clean(&dir.to_string_lossy()))),
        }
    }
    let remedy = match rustix::process::geteuid().is_root() {
        true => "create /var/cache/quintet with mode 0755 on a file system without noexec",
        false => "set XDG_CACHE_HOME to your own directory on a file system without noexec",
    };
    Err(Failure::new(format!("cannot install the drop-in library: {}", reasons.join(", "))).remedy(remedy))
}

/// Returns `true` if `library` names an installed drop-in of any version. A program must load only
/// one.
pub fn is_ours(library: &[u8]) -> bool {
    let name = library.rsplit(|b| *b == b'/').next().unwrap_or(library);
    name.starts_with(b"libquintet-") && name.ends_with(b".so")
}

/// Returns the directories to try, in order.
///
/// The superuser's directories are outside a home directory: the superuser's programs change their
/// user id and must still be able to read the library.
fn candidates() -> Vec<PathBuf> {
    let uid = rustix::process::geteuid();
    let last = PathBuf::from(format!("/tmp/quintet-{}", uid.as_raw()));
    if uid.is_root() {
        return vec!["/var/cache/quintet".into(), "/run/quintet".into(), last];
    }
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let caches = [variable("XDG_CACHE_HOME"), variable("HOME").map(|home| home.join(".cache"))];
    caches.into_iter().flatten().map(|cache| cache.join("quintet")).chain([last]).collect()
}

/// Writes the library to `dir`, unless an intact copy is there. Returns its path.
fn install_in(dir: &Path) -> Result<PathBuf, String> {
    let path = dir.join(FILE_NAME);
    if !is_intact(&path) {
        write(dir, &path).map_err(|e| format!("cannot write {FILE_NAME}: {}", crate::failure::reason(&e)))?;
    }
    Ok(path)
}

/// Returns `true` if the file has the library's bytes, every user can load it, and no other user
/// can change it.
fn is_intact(path: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let Ok(file) = rustix::fs::open(path, flags, Mode::empty()) else { return false };
    let file = File::from(file);
    let Ok(metadata) = file.metadata() else { return false };
    let trusted = metadata.is_file() && directory::is_trusted(&metadata) && metadata.mode() & 0o555 == 0o555;
    trusted && metadata.len() == LIBRARY.len() as u64 && same_bytes(file)
}

/// Returns `true` if the file has the library's bytes.
fn same_bytes(file: File) -> bool {
    let mut bytes = Vec::with_capacity(LIBRARY.len());
    file.take(LIBRARY.len() as u64 + 1).read_to_end(&mut bytes).is_ok() && bytes == LIBRARY
}

/// Writes the library under a temporary name and renames it, so that no process sees part of it.
fn write(dir: &Path, path: &Path) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".libquintet-").tempfile_in(dir)?;
    file.write_all(LIBRARY)?;
    file.as_file().set_permissions(Permissions::from_mode(0o755))?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_the_drop_in_by_its_file_name() {
        assert!(is_ours(format!("/tmp/x/{FILE_NAME}").as_bytes()));
        assert!(is_ours(b"libquintet-0123456789abcdef.so") && !is_ours(b"/usr/lib/libfakeroot.so") && !is_ours(b""));
    }

    #[test]
    fn keeps_an_intact_library_and_replaces_a_changed_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = install_in(dir.path()).unwrap();
        let inode = path.metadata().unwrap().ino();
        assert_eq!(std::fs::read(&path).unwrap(), LIBRARY);
        assert_eq!(install_in(dir.path()).unwrap().metadata().unwrap().ino(), inode);

        std::fs::write(&path, b"something else").unwrap();
        install_in(dir.path()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), LIBRARY);

        std::fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        install_in(dir.path()).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o755);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "a temporary file is left");
    }
}
