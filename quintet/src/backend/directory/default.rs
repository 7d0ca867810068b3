//! The default namespace.

use crate::backend::directory::{Directory, hidden};
use crate::sys::{credentials, fd_thread, file};
use crate::types::error::{Errno, Error, Result};
use crate::types::kind::Kind;
use rustix::fs::{self, FileType};
use std::path::{Path, PathBuf};

/// The environment variable that names the namespace.
pub const VARIABLE: &str = "QUINTET_NAMESPACE";

/// Returns the path of the default namespace: `$QUINTET_NAMESPACE`, else the user's own namespace.
pub fn default_path() -> PathBuf {
    match std::env::var_os(VARIABLE) {
        Some(path) if !path.is_empty() => path.into(),
        _ if credentials::euid() == 0 => hidden::default_in(&user_path()).unwrap_or_else(user_path),
        _ => user_path(),
    }
}

/// Returns the path of the user's own namespace.
///
/// It lies in `/dev/shm` if that exists, else in `$XDG_RUNTIME_DIR`, else in the temporary
/// directory.
pub fn user_path() -> PathBuf {
    let uid = credentials::euid();
    let memory = Path::new("/dev/shm");
    if file::is_directory(memory) {
        return memory.join(format!("quintet-{uid}"));
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if Path::new(&dir).is_absolute() => Path::new(&dir).join("quintet"),
        _ => std::env::temp_dir().join(format!("quintet-{uid}")),
    }
}

/// Fails with `EACCES` if `path` exists but is not a directory of the calling user.
///
/// The parent directory is public, so another user may have created the name first.
fn require_own(path: &Path) -> Result<()> {
    let Ok(stat) = fs::lstat(path) else { return Ok(()) };
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if is_directory && stat.st_uid == credentials::euid() {
        return Ok(());
    }
    Err(Error::at(Errno::ACCES, "use", path)
        .reason("it is not a directory that belongs to you")
        .hint(format!("have its owner remove it, or set {VARIABLE} to another directory")))
}

impl Directory {
    /// Opens the default namespace. Creates it on first use.
    pub fn open_default() -> Result<&'static Directory> {
        fd_thread::run(Directory::open_or_create_default)
    }

    fn open_or_create_default() -> Result<&'static Directory> {
        let is_named = std::env::var_os(VARIABLE).is_some_and(|path| !path.is_empty());
        let is_root = credentials::euid() == 0;
        if !is_named {
            require_own(&user_path())?;
        }
        let path = if is_root && !is_named { hidden::choose_default(&user_path())? } else { default_path() };
        match Directory::open(&path) {
            Err(e) if e.errno() == Errno::NOENT => {}
            other => return other,
        }
        let kind = if is_root { Kind::Shared } else { Kind::Private };
        Directory::create(&path, kind)
    }
}

/// Creates a shared namespace with an unguessable name in `parent`.
pub fn create_hidden(parent: &Path) -> Result<&'static Directory> {
    Directory::create(&parent.join(hidden::random_name()), Kind::Shared)
}
