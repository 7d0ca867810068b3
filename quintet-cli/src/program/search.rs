//! Finding a program in PATH.

use crate::exit::Exit;
use crate::failure::{Failure, reason};
use crate::output::clean;
use rustix::fs::{Access, AtFlags, CWD};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The file that execvp(3) would run: a name with a slash is a path, any other is looked for in PATH.
pub fn find(name: &OsStr) -> Result<PathBuf, Failure> {
    let shown = clean(&name.to_string_lossy());
    if name.is_empty() {
        return Err(Failure::new("cannot run a program without a name").exit(Exit::NotFound));
    }
    if name.as_bytes().contains(&b'/') {
        let path = Path::new(name);
        return match path.metadata() {
            Ok(_) => Ok(path.to_owned()),
            Err(e) => Err(Failure::new(format!("cannot run {shown}: {}", reason(&e))).exit(exit_code(&e))),
        };
    }
    in_path(name).ok_or_else(|| {
        Failure::new(format!("cannot run {shown}: no directory of PATH has a program of this name")).exit(Exit::NotFound)
    })
}

/// The first file of this name that may be executed, else the first that is there at all.
pub fn in_path(name: &OsStr) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let mut forbidden = None;
    for dir in std::env::split_paths(&path) {
        // An empty entry is the working directory.
        let file = if dir.as_os_str().is_empty() { Path::new(".").join(name) } else { dir.join(name) };
        if !file.is_file() {
            continue;
        }
        if rustix::fs::accessat(CWD, &file, Access::EXEC_OK, AtFlags::EACCESS).is_ok() {
            return Some(file);
        }
        forbidden.get_or_insert(file);
    }
    forbidden
}

fn exit_code(error: &io::Error) -> Exit {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Exit::NotFound,
        _ => Exit::CannotRun,
    }
}
