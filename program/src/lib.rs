//! Finds programs and checks that the drop-in can be loaded into them. The loader ignores
//! `LD_PRELOAD` silently, so the check comes first.
//!
//! The tool checks before it runs a program, and the drop-in before its program executes another
//! one. The checks use system calls directly. Functions of the C library may be intercepted by
//! fakeroot or by the drop-in itself.

mod check;
mod elf;
mod file;
mod privileges;
mod refusal;
mod script;
mod search;

use file::ProgramFile;
use std::path::{Path, PathBuf};

pub use check::check;
pub use file::{describe, in_terminal};
pub use refusal::{Effect, Refusal};
pub use search::{NotFound, find, in_path};

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
    for _ in 0..=script::MAX_DEPTH {
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
