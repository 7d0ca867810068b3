//! Programs: where they are, and whether the drop-in can be loaded into them. What cannot
//! work is said before it is tried, because the loader ignores `LD_PRELOAD` in silence.
//!
//! The tool asks before it runs a program, and the drop-in before the program runs another one; there the files are
//! looked at by the kernel's own calls, because the C library's may be somebody's who pretends (fakeroot), or ours.

mod elf;
mod file;
mod privileges;
mod script;
mod search;

use file::Looked;
use rustix::fs::{Access, AtFlags, CWD, StatVfsMountFlags};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

pub use file::{describe, in_terminal};
pub use search::{NotFound, find, in_path};

/// How deep a script's interpreter may itself be a script.
const MAX_SCRIPTS: u32 = 4;

/// Why a program cannot run under the drop-in.
#[derive(Debug)]
pub struct Refusal {
    /// What is the matter, as a sentence without its end.
    pub reason: String,
    /// What can be done.
    pub remedy: Option<&'static str>,
    /// What becomes of it if it is run all the same.
    pub effect: Effect,
}

/// What becomes of a program that cannot be carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// It cannot be run at all.
    Fails,
    /// It runs without the drop-in, and hands the environment on to what it runs.
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

/// Whether the file is a program that can be run with the drop-in.
pub fn check(path: &Path) -> Result<(), Refusal> {
    check_nested(path, MAX_SCRIPTS)
}

fn check_nested(path: &Path, scripts_left: u32) -> Result<(), Refusal> {
    let stat = rustix::fs::stat(path).map_err(|e| Refusal::new(describe(e)))?;
    executable(path, &stat)?;
    let Ok(file) = Looked::at(path) else {
        // It may be run and not read: what it is, only its rights tell.
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
        // What execvp(3) does with a file that the kernel does not know.
        check_nested(Path::new("/bin/sh"), 0)
    }
}

/// What starts a program.
#[derive(Debug, Default)]
pub struct StartedBy {
    /// Those that run a script, in their order; the last one is no script.
    pub interpreters: Vec<PathBuf>,
    /// The loader of the last of them, or of the program itself.
    pub loader: Option<PathBuf>,
}

/// What starts a program, as far as it can be seen.
pub fn started_by(path: &Path) -> StartedBy {
    let mut found = StartedBy::default();
    let mut at = path.to_owned();
    for _ in 0..=MAX_SCRIPTS {
        let Ok(file) = Looked::at(&at) else { break };
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
        Refusal::new("you may not execute it").remedy("'chmod +x' makes a file of yours executable")
    } else {
        Refusal::new(describe(error))
    })
}
