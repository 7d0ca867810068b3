//! The drop-in library that this binary carries, and the file that it becomes.

mod directory;

use crate::failure::Failure;
use directory::usable;
use rustix::fs::{Mode, OFlags};
use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The library, as build.rs has built it.
pub const LIBRARY: &[u8] = include_bytes!(env!("QUINTET_PRELOAD"));

/// Its file name, which differs when the content does: an update never touches what runs.
const FILE_NAME: &str = concat!("libquintet-", env!("QUINTET_PRELOAD_HASH"), ".so");

/// Writes the library to the first directory that will do, or finds it there.
pub fn install() -> Result<PathBuf, Failure> {
    let mut reasons = Vec::new();
    for dir in candidates() {
        let installed = usable(&dir).and_then(|()| place(&dir));
        match installed {
            Ok(path) => return Ok(path),
            Err(reason) => reasons.push(format!("{}: {reason}", crate::output::clean(&dir.to_string_lossy()))),
        }
    }
    Err(Failure::new(format!("no directory will take the drop-in library ({})", reasons.join("; ")))
        .remedy("set XDG_CACHE_HOME to a directory of yours that is not mounted noexec"))
}

/// Whether this is the drop-in of some version, so that it is not loaded twice.
pub fn is_ours(library: &[u8]) -> bool {
    let name = library.rsplit(|b| *b == b'/').next().unwrap_or(library);
    name.starts_with(b"libquintet-") && name.ends_with(b".so")
}

/// The directories to try. The superuser's programs drop rights and must still find it, so
/// not in a home directory.
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

fn place(dir: &Path) -> Result<PathBuf, String> {
    let path = dir.join(FILE_NAME);
    if !is_intact(&path) {
        write(dir, &path).map_err(|e| format!("cannot write {FILE_NAME}: {}", crate::failure::reason(&e)))?;
    }
    Ok(path)
}

/// Whether the file is exactly what we would write: same bytes, and nobody else could change them.
fn is_intact(path: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let Ok(file) = rustix::fs::open(path, flags, Mode::empty()) else { return false };
    let file = File::from(file);
    let Ok(metadata) = file.metadata() else { return false };
    let trusted = metadata.is_file() && directory::is_trusted(&metadata) && metadata.mode() & 0o555 == 0o555;
    trusted && metadata.len() == LIBRARY.len() as u64 && same_bytes(file)
}

fn same_bytes(file: File) -> bool {
    let mut bytes = Vec::with_capacity(LIBRARY.len());
    file.take(LIBRARY.len() as u64 + 1).read_to_end(&mut bytes).is_ok() && bytes == LIBRARY
}

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
    fn knows_itself_under_any_path() {
        assert!(is_ours(format!("/tmp/x/{FILE_NAME}").as_bytes()));
        assert!(is_ours(b"libquintet-0123456789abcdef.so") && !is_ours(b"/usr/lib/libfakeroot.so") && !is_ours(b""));
    }

    #[test]
    fn is_kept_if_intact_and_replaced_if_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = place(dir.path()).unwrap();
        let inode = path.metadata().unwrap().ino();
        assert_eq!(std::fs::read(&path).unwrap(), LIBRARY);
        assert_eq!(place(dir.path()).unwrap().metadata().unwrap().ino(), inode);

        std::fs::write(&path, b"something else").unwrap();
        place(dir.path()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), LIBRARY);

        std::fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        place(dir.path()).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o755);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }
}
