//! The namespace of a program that names none.

use crate::backend::directory::{Directory, hidden};
use crate::sys::{credentials, fd_thread, file};
use crate::types::error::{Errno, Error, Result};
use crate::types::kind::Kind;
use rustix::fs::{self, FileType};
use std::path::{Path, PathBuf};

/// The environment variable that names the namespace.
pub const VARIABLE: &str = "QUINTET_NAMESPACE";

/// `$QUINTET_NAMESPACE`, else the user's own.
pub fn default_path() -> PathBuf {
    match std::env::var_os(VARIABLE) {
        Some(path) if !path.is_empty() => path.into(),
        _ if credentials::euid() == 0 => hidden::default_in(&own_path()).unwrap_or_else(own_path),
        _ => own_path(),
    }
}

/// The user's own namespace: in shared memory, else where sockets and the like are, else with the temporary files.
pub fn own_path() -> PathBuf {
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

/// Somebody else may have put something in the place of a directory of ours.
fn require_own(path: &Path) -> Result<()> {
    let Ok(stat) = fs::lstat(path) else { return Ok(()) };
    let folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if folder && stat.st_uid == credentials::euid() {
        return Ok(());
    }
    Err(Error::at(Errno::ACCES, "use", path)
        .reason("it is not a directory of your own")
        .hint(format!("have it removed, or set {VARIABLE} to another directory")))
}

impl Directory {
    /// Opens the default namespace, and makes it on first use.
    pub fn open_default() -> Result<&'static Directory> {
        fd_thread::run(Directory::open_or_make_default)
    }

    fn open_or_make_default() -> Result<&'static Directory> {
        let named = std::env::var_os(VARIABLE).is_some_and(|path| !path.is_empty());
        let superuser = credentials::euid() == 0;
        if !named {
            require_own(&own_path())?;
        }
        let path = if superuser && !named { hidden::choose_default(&own_path())? } else { default_path() };
        match Directory::open(&path) {
            Err(e) if e.errno() == Errno::NOENT => {}
            other => return other,
        }
        let kind = if superuser { Kind::Shared } else { Kind::Private };
        Directory::create(&path, kind)
    }
}

/// Makes a shared namespace under an unguessable name in `parent`.
pub fn create_hidden(parent: &Path) -> Result<&'static Directory> {
    Directory::create(&parent.join(hidden::random_name()), Kind::Shared)
}
