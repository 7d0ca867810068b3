//! Search for a program in PATH.

use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Why a program is not found.
#[derive(Debug)]
pub enum NotFound {
    /// The name is empty.
    NoName,
    /// No directory of `PATH` has it.
    NotInPath,
    /// The path does not exist.
    Path(Errno),
}

/// Returns the file that execvp(3) would run. A name with a slash is a path; any other is searched
/// in `PATH`.
///
/// # Errors
///
/// Why no file is found.
pub fn find(name: &OsStr) -> Result<PathBuf, NotFound> {
    if name.is_empty() {
        return Err(NotFound::NoName);
    }
    if name.as_bytes().contains(&b'/') {
        return rustix::fs::stat(name).map(|_| name.into()).map_err(NotFound::Path);
    }
    in_path(name).ok_or(NotFound::NotInPath)
}

/// Returns what a name in a script's first line means. A name with a slash is a path, even if it
/// does not exist.
pub fn resolve(name: &OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') { Some(name.into()) } else { in_path(name) }
}

/// Returns the first executable file of this name, or else the first file.
pub fn in_path(name: &OsStr) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let mut forbidden = None;
    for dir in std::env::split_paths(&path) {
        // An empty entry is the working directory.
        let file = if dir.as_os_str().is_empty() { Path::new(".").join(name) } else { dir.join(name) };
        if !rustix::fs::stat(&file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile) {
            continue;
        }
        if rustix::fs::accessat(CWD, &file, Access::EXEC_OK, AtFlags::EACCESS).is_ok() {
            return Some(file);
        }
        forbidden.get_or_insert(file);
    }
    forbidden
}
