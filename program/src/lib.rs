//! Finds programs and checks that the drop-in can be loaded into them. The loader ignores
//! `LD_PRELOAD` silently, so the check comes first.
//!
//! The tool checks before it runs a program, and the drop-in before its program executes another
//! one. The checks use system calls directly. Functions of the C library may be intercepted by
//! fakeroot or by the drop-in itself.

mod elf;
mod file;
mod privileges;
mod script;
mod search;

use file::ProgramFile;
use rustix::fs::{Access, AtFlags, CWD, StatVfsMountFlags};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

pub use file::{describe, in_terminal};
pub use search::{NotFound, find, in_path};

/// Maximal depth of nested script interpreters.
const MAX_SCRIPTS: u32 = 4;

/// Why a program cannot run with the drop-in.
#[derive(Debug)]
pub struct Refusal {
    /// The reason: a clause with the subject "it".
    pub reason: String,
    /// A hint for the user.
    pub remedy: Option<&'static str>,
    /// What happens if the program runs anyway.
    pub effect: Effect,
}

/// What happens to a program that cannot be intercepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// It cannot run at all.
    Fails,
    /// It runs without the drop-in, and passes the environment to its children.
    Bypassed,
    /// Its loader fails if `LD_PRELOAD` names the drop-in.
    Hindered,
}

impl Refusal {
    /// See [`Effect::Fails`].
    fn new(reason: impl Into<String>) -> Refusal {
        Refusal { reason: reason.into(), remedy: None, effect: Effect::Fails }
    }

    /// See [`Effect::Bypassed`].
    fn bypassed(reason: impl Into<String>) -> Refusal {
        Refusal { effect: Effect::Bypassed, ..Refusal::new(reason) }
    }

    /// See [`Effect::Hindered`].
    fn hindered(reason: impl Into<String>) -> Refusal {
        Refusal { effect: Effect::Hindered, ..Refusal::new(reason) }
    }

    fn remedy(mut self, remedy: &'static str) -> Refusal {
        self.remedy = Some(remedy);
        self
    }
}

/// Checks that a file is a program that can run with the drop-in.
pub fn check(path: &Path) -> Result<(), Refusal> {
    check_nested(path, MAX_SCRIPTS)
}

fn check_nested(path: &Path, scripts_left: u32) -> Result<(), Refusal> {
    let stat = rustix::fs::stat(path).map_err(|e| Refusal::new(describe(e)))?;
    executable(path, &stat)?;
    let Ok(file) = ProgramFile::open(path) else {
        // It is executable but not readable, so only its permissions can be checked.
        return privileges::check(path, &stat);
    };
    let head = file.head();
    if head.starts_with(elf::MAGIC) {
        elf::check(&file, path)?;
        privileges::check(path, &stat)
    } else if head.starts_with(b"#!") {
        script::check(head, scripts_left)
    } else if head.contains(&0) {
        Err(Refusal::new("it is neither an ELF program nor a script"))
    } else if scripts_left == 0 {
        Err(script::too_deep())
    } else {
        // As execvp(3) does for a file that the kernel does not recognize.
        check_nested(Path::new("/bin/sh"), 0)
    }
}

/// The files that start a program.
#[derive(Debug, Default)]
pub struct StartedBy {
    /// The interpreters of a script in order. The last one is not a script.
    pub interpreters: Vec<PathBuf>,
    /// The loader of the last interpreter, or of the program.
    pub loader: Option<PathBuf>,
}

/// Returns the files that start a program, as far as they can be read.
pub fn started_by(path: &Path) -> StartedBy {
    let mut found = StartedBy::default();
    let mut at = path.to_owned();
    for _ in 0..=MAX_SCRIPTS {
        let Ok(file) = ProgramFile::open(&at) else { break };
        let named = match file.head() {
            head if head.starts_with(elf::MAGIC) => {
                found.loader = elf::loader(&file);
                break;
            }
            head if head.starts_with(b"#!") => script::interpreters(head),
            head if head.contains(&0) => break,
            _ => vec!["/bin/sh".into()],
        };
        let Some(last) = named.last() else { break };
        at.clone_from(last);
        found.interpreters.extend(named);
    }
    found
}

fn executable(path: &Path, stat: &rustix::fs::Stat) -> Result<(), Refusal> {
    use rustix::fs::FileType;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(Refusal::new("it is a directory")),
        _ => return Err(Refusal::new("it is not a regular file")),
    }
    let Err(error) = rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) else { return Ok(()) };
    let noexec = rustix::fs::statvfs(path).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::NOEXEC));
    Err(if noexec {
        Refusal::new("it is on a file system mounted noexec").remedy("copy it elsewhere")
    } else if error == Errno::ACCESS {
        Refusal::new("you may not execute it").remedy("make it executable with 'chmod +x'")
    } else {
        Refusal::new(describe(error))
    })
}
