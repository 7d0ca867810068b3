//! What a namespace's directory holds: putting it there, taking it away, and what to say when that fails.

use crate::layout::{self, HEADER_BYTES, Header, REGISTRY_BYTES, Registry};
use crate::sys::fd::Fd;
use crate::sys::file;
use crate::types::error::{Errno, Error, Result};
use crate::types::kind::Kind;
use crate::types::limits::Limits;
use rustix::fs::{self, Mode};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

/// The names that a namespace's directory has.
const FOLDERS: [&str; 4] = ["shm", "sem", "msg", "key"];
const FILES: [&str; 2] = ["namespace", "registry"];

/// Removes only what this crate has put there.
pub fn remove_files(path: &Path) -> Result<()> {
    // The header first: nobody new comes in.
    for name in FILES {
        remove_if_there(&path.join(name))?;
    }
    for name in FOLDERS {
        let folder = path.join(name);
        for entry in file::entries(&folder).unwrap_or_default() {
            if is_our_name(name, &entry) {
                remove_if_there(&folder.join(entry))?;
            }
        }
        match std::fs::remove_dir(&folder) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io_error("remove", &folder, &e)),
            _ => {}
        }
    }
    std::fs::remove_dir(path).map_err(|e| io_error("remove", path, &e))
}

/// Whether a file of the folder has a name that this crate gives.
fn is_our_name(folder: &str, name: &std::ffi::OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    match folder {
        "key" => ["shm.", "sem.", "msg."].iter().any(|class| name.starts_with(class)),
        _ => name.strip_suffix(".data").unwrap_or(name).parse::<u16>().is_ok(),
    }
}

fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io_error("remove", path, &e)),
        _ => Ok(()),
    }
}

fn io_error(verb: &str, path: &Path, e: &std::io::Error) -> Error {
    Error::at(Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)), verb, path)
}

pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Private => "private",
        Kind::Shared => "shared",
    }
}

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

/// Puts what a namespace has into a directory that is empty, or half furnished by one that died or is at it.
pub fn create_files(path: &Path, kind: Kind) -> Result<()> {
    let shared = kind == Kind::Shared;
    for name in file::entries(path).map_err(|e| Error::at(e, "read", path))? {
        if !FOLDERS.iter().chain(&FILES).any(|known| name == *known) {
            return Err(Error::at(Errno::NOTEMPTY, "create the namespace", path)
                .reason(format!("the directory is not empty: there is {}", name.display()))
                .hint("choose a new or an empty directory"));
        }
    }
    let made = || -> std::result::Result<(), Errno> {
        // What needs room comes before anything is seen.
        let registry = layout::image::<Registry>(Registry::set_up);
        let first = Registry::FIRST_BYTES;
        let registry = unnamed(path, registry_mode(kind), REGISTRY_BYTES, first, &registry[..first as usize])?;
        let header = layout::image::<Header>(|header| {
            header.set_up(shared);
            store_limits(header, &Limits::DEFAULT);
        });
        let header = unnamed(path, if shared { 0o644 } else { 0o600 }, HEADER_BYTES, HEADER_BYTES, &header)?;
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
    made().map_err(|e| explain_create(e, path))
}

fn registry_mode(kind: Kind) -> u32 {
    match kind {
        Kind::Private => 0o600,
        Kind::Shared => 0o666,
    }
}

/// The modes that depend on the kind, also of what somebody made for the other kind and did not finish.
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

/// A file for the directory, complete but for its name.
pub fn unnamed(path: &Path, mode: u32, len: u64, reserved: u64, content: &[u8]) -> std::result::Result<Fd, Errno> {
    file::unpublished(&c_string(path)?, mode, len, reserved, content)
}

/// Gives it the name, unless somebody was first: then that one's serves.
pub fn publish(path: &Path, name: &str, fd: &Fd) -> std::result::Result<(), Errno> {
    match file::publish(fd, &c_string(&path.join(name))?) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

pub fn damaged(path: &Path, name: &str) -> Error {
    Error::at(Errno::BADMSG, "open the namespace", path)
        .reason(format!("its file '{name}' is damaged"))
        .hint("nothing was changed; save what you need of shm/*.data, remove the directory and create it anew")
}

pub fn explain_open(errno: Errno, path: &Path) -> Error {
    let error = Error::at(errno, "open the namespace", path);
    match errno {
        Errno::NOENT => error.reason("the directory is no namespace").hint("make it one with 'quintet namespace create'"),
        Errno::ACCES => error.reason("you may not enter or write it").hint("ask its owner, or use a namespace of your own"),
        Errno::BADMSG => damaged(path, "namespace"),
        Errno::ROFS => error.hint("a namespace must be on a file system that can be written"),
        _ => error,
    }
}

pub fn explain_create(errno: Errno, path: &Path) -> Error {
    let error = Error::at(errno, "create the namespace", path);
    match errno {
        Errno::ACCES | Errno::PERM => error.hint("choose a directory that you may write"),
        Errno::ROFS => error.hint("choose a file system that can be written"),
        Errno::NOSPC => error.hint("make room on the file system, or choose another"),
        Errno::NOTDIR | Errno::EXIST => error.reason("a file is in the way").hint("choose another path"),
        Errno::NAMETOOLONG => error.hint("choose a shorter path"),
        Errno::OPNOTSUPP | Errno::ISDIR => {
            error.reason("its file system has no unnamed files (O_TMPFILE)").hint("choose tmpfs, ext4, xfs or btrfs")
        }
        _ => error,
    }
}
