//! Programs: where they are, and whether the drop-in can be loaded into them. What cannot
//! work is said before it is tried, because the loader ignores LD_PRELOAD in silence.

mod elf;
mod privileges;
mod script;
mod search;

use crate::exit::Exit;
use crate::failure::{Failure, reason};
use crate::output::clean;
use rustix::fs::{Access, AtFlags, CWD, StatVfsMountFlags};
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};

/// How deep a script's interpreter may itself be a script.
const MAX_SCRIPTS: u32 = 4;

/// Why a program cannot run under the drop-in: the reason, and what to do.
#[derive(Debug)]
struct Refusal {
    reason: String,
    remedy: Option<&'static str>,
}

impl Refusal {
    fn new(reason: impl Into<String>) -> Refusal {
        Refusal { reason: reason.into(), remedy: None }
    }

    fn remedy(mut self, remedy: &'static str) -> Refusal {
        self.remedy = Some(remedy);
        self
    }
}

pub use search::find as locate;

/// Finds a program as execvp(3) does, and makes sure that it can be run with the drop-in.
pub fn find(name: &OsStr) -> Result<PathBuf, Failure> {
    let path = search::find(name)?;
    match check(&path, MAX_SCRIPTS) {
        Ok(()) => Ok(path),
        Err(Refusal { reason, remedy }) => {
            let path = clean(&path.to_string_lossy());
            let failure = Failure::new(format!("cannot run {path}: {reason}")).exit(Exit::CannotRun);
            Err(match remedy {
                Some(remedy) => failure.remedy(remedy),
                None => failure,
            })
        }
    }
}

fn check(path: &Path, scripts_left: u32) -> Result<(), Refusal> {
    let metadata = path.metadata().map_err(|e| Refusal::new(reason(&e)))?;
    executable(path, &metadata)?;
    let Ok(mut file) = File::open(path) else {
        // It may be run and not read: what it is, only its rights tell.
        return privileges::check(path, &metadata);
    };
    let mut head = Vec::new();
    file.by_ref().take(4096).read_to_end(&mut head).map_err(|e| Refusal::new(format!("it cannot be read: {}", reason(&e))))?;
    if head.starts_with(elf::MAGIC) {
        elf::check(&file, path)?;
        privileges::check(path, &metadata)
    } else if head.starts_with(b"#!") {
        script::check(&head, scripts_left)
    } else if head.contains(&0) {
        Err(Refusal::new("it is neither an ELF program nor a script"))
    } else {
        // What execvp(3) does with a file that the kernel does not know.
        check(Path::new("/bin/sh"), 0)
    }
}

fn executable(path: &Path, metadata: &Metadata) -> Result<(), Refusal> {
    if metadata.is_dir() {
        return Err(Refusal::new("it is a directory"));
    }
    if !metadata.is_file() {
        return Err(Refusal::new("it is not a regular file"));
    }
    let Err(error) = rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) else { return Ok(()) };
    let noexec = rustix::fs::statvfs(path).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::NOEXEC));
    Err(if noexec {
        Refusal::new("it is on a file system mounted noexec").remedy("copy it elsewhere")
    } else if error == rustix::io::Errno::ACCESS {
        Refusal::new("you may not execute it").remedy("'chmod +x' makes a file of yours executable")
    } else {
        Refusal::new(reason(&error.into()))
    })
}
