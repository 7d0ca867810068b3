//! The files of a namespace's directory: creating and removing them, and the errors.

use crate::layout::{self, HEADER_BYTES, Header, REGISTRY_BYTES, Registry};
use crate::sys::fd::Fd;
use crate::sys::file;
use crate::types::error::{Errno, Error, Result, shell_word};
use crate::types::kind::Kind;
use crate::types::limits::Limits;
use rustix::fs::{self, Mode};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

/// The names of the directories and files in a namespace's directory.
const FOLDERS: [&str; 4] = ["shm", "sem", "msg", "key"];
const FILES: [&str; 2] = ["namespace", "registry"];

/// Removes the namespace's files and its directory. Leaves files that this crate did not create.
pub fn remove_files(path: &Path) -> Result<()> {
    // Without the header, no further process can open the namespace.
    for name in FILES {
        remove_if_exists(&path.join(name))?;
    }
    for name in FOLDERS {
        let folder = path.join(name);
        for entry in file::entries(&folder).unwrap_or_default() {
            if is_namespace_file(name, &entry) {
                remove_if_exists(&folder.join(entry))?;
            }
        }
        match std::fs::remove_dir(&folder) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io_error("remove", &folder, &e)),
            _ => {}
        }
    }
    std::fs::remove_dir(path).map_err(|e| io_error("remove", path, &e))
}

/// Returns `true` if this crate creates files of this name in `folder`.
fn is_namespace_file(folder: &str, name: &std::ffi::OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    match folder {
        "key" => ["shm.", "sem.", "msg."].iter().any(|class| name.starts_with(class)),
        _ => name.strip_suffix(".data").unwrap_or(name).parse::<u16>().is_ok(),
    }
}

fn remove_if_exists(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io_error("remove", path, &e)),
        _ => Ok(()),
    }
}

fn io_error(verb: &str, path: &Path, e: &std::io::Error) -> Error {
    Error::at(Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)), verb, path)
}

/// Returns the name of the kind for messages.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Private => "private",
        Kind::Shared => "shared",
    }
}

/// Stores the limits in the header.
pub fn store_limits(header: &Header, limits: &Limits) {
    header.shmmax.store(limits.shmmax, Relaxed);
    header.shmall.store(limits.shmall, Relaxed);
    header.shmmni.store(limits.shmmni, Relaxed);
    header.shm_rmid_forced.store(u32::from(limits.shm_rmid_forced), Relaxed);
    header.semmsl.store(limits.semmsl, Relaxed);
    header.semmns.store(limits.semmns, Relaxed);
    header.semopm.store(limits.semopm, Relaxed);
    header.semmni.store(limits.semmni, Relaxed);
    header.msgmax.store(limits.msgmax, Relaxed);
    header.msgmnb.store(limits.msgmnb, Relaxed);
    header.msgmni.store(limits.msgmni, Relaxed);
}

/// Creates the namespace's files in a directory.
///
/// The directory is empty, or another process has created some of the files. That process may still
/// run or may have exited.
pub fn create_files(path: &Path, kind: Kind) -> Result<()> {
    let shared = kind == Kind::Shared;
    for name in file::entries(path).map_err(|e| Error::at(e, "read", path))? {
        if !FOLDERS.iter().chain(&FILES).any(|known| name == *known) {
            return Err(Error::at(Errno::NOTEMPTY, "create the namespace", path)
                .reason(format!("the directory is not empty: it contains {}", name.display()))
                .hint("use a new or an empty directory"));
        }
    }
    let create = || -> std::result::Result<(), Errno> {
        // The files that need space come first, before any name is visible.
        let registry = layout::image::<Registry>(Registry::set_up);
        let reserved = Registry::FIRST_BYTES;
        let registry = create_unnamed(path, registry_mode(kind), REGISTRY_BYTES, reserved, &registry[..reserved as usize])?;
        let header = layout::image::<Header>(|header| {
            header.set_up(shared);
            store_limits(header, &Limits::DEFAULT);
        });
        let header = create_unnamed(path, if shared { 0o644 } else { 0o600 }, HEADER_BYTES, HEADER_BYTES, &header)?;
        for name in FOLDERS {
            match fs::mkdir(path.join(name), Mode::RWXU) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
        }
        publish(path, "registry", &registry)?;
        set_modes(path, kind)?;
        publish(path, "namespace", &header)
    };
    create().map_err(|e| explain_create(e, path))
}

fn registry_mode(kind: Kind) -> u32 {
    match kind {
        Kind::Private => 0o600,
        Kind::Shared => 0o666,
    }
}

/// Sets the modes that depend on the kind. The files may have the modes of the other kind, if
/// another process began to create them.
pub fn set_modes(path: &Path, kind: Kind) -> std::result::Result<(), Errno> {
    let folder_mode = match kind {
        Kind::Private => 0o700,
        Kind::Shared => 0o1777,
    };
    fs::chmod(path.join("registry"), Mode::from_raw_mode(registry_mode(kind)))?;
    for folder in FOLDERS.iter().map(|name| path.join(name)).chain([path.to_owned()]) {
        fs::chmod(&folder, Mode::from_raw_mode(folder_mode))?;
    }
    Ok(())
}

fn c_string(path: &Path) -> std::result::Result<CString, Errno> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)
}

/// Creates a complete file without a name.
pub fn create_unnamed(path: &Path, mode: u32, len: u64, reserved: u64, content: &[u8]) -> std::result::Result<Fd, Errno> {
    file::create_unnamed(&c_string(path)?, mode, len, reserved, content)
}

/// Gives the file its name. Succeeds without effect if another process created the name first.
pub fn publish(path: &Path, name: &str, fd: &Fd) -> std::result::Result<(), Errno> {
    match file::publish(fd, &c_string(&path.join(name))?) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// Returns the error for a damaged file of a namespace.
pub fn damaged(path: &Path, name: &str) -> Error {
    Error::at(Errno::BADMSG, "open the namespace", path).reason(format!("its file '{name}' is damaged")).hint(format!(
        "save what you need of shm/*.data, then run 'quintet namespace rm --force {}'; nothing was changed",
        shell_word(&path.to_string_lossy())
    ))
}

/// Returns the hint to create the namespace at `path`.
pub fn create_hint(path: &Path) -> String {
    format!("create it with 'quintet namespace create {}'", shell_word(&path.to_string_lossy()))
}

/// Returns the error for a namespace that cannot be opened.
pub fn explain_open(errno: Errno, path: &Path) -> Error {
    let error = Error::at(errno, "open the namespace", path);
    match errno {
        Errno::NOENT => error.reason("the directory is not a namespace").hint(create_hint(path)),
        Errno::ACCES => error
            .reason("you have no permission to enter or write it")
            .hint("ask its owner for access, or use your own namespace"),
        Errno::BADMSG => damaged(path, "namespace"),
        Errno::ROFS => error.hint("use a directory on a writable file system"),
        _ => error,
    }
}

/// Returns the error for a namespace that cannot be created.
pub fn explain_create(errno: Errno, path: &Path) -> Error {
    let error = Error::at(errno, "create the namespace", path);
    match errno {
        Errno::ACCES | Errno::PERM => error.hint("use a directory that you have permission to write"),
        Errno::ROFS => error.hint("use a directory on a writable file system"),
        Errno::NOSPC => error.hint("make room on the file system, or use another one"),
        Errno::NOTDIR | Errno::EXIST => error.reason("a file is in the way").hint("choose another path"),
        Errno::NAMETOOLONG => error.hint("choose a shorter path"),
        Errno::OPNOTSUPP | Errno::ISDIR => {
            error.reason("its file system has no unnamed files (O_TMPFILE)").hint("use a directory on tmpfs, ext4, xfs or btrfs")
        }
        _ => error,
    }
}
