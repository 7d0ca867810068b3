//! The program that the user names.

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::clean;
use quintet_program::{NotFound, Refusal, describe};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::path::PathBuf;

/// Finds a program as execvp(3) does.
pub fn locate(name: &OsStr) -> Result<PathBuf, Failure> {
    let shown = clean(&name.to_string_lossy());
    quintet_program::find(name).map_err(|missing| match missing {
        NotFound::NoName => Failure::new("cannot run a program without a name").exit(Exit::NotFound),
        NotFound::NotInPath => {
            Failure::new(format!("cannot run {shown}: no directory of PATH has a program of this name")).exit(Exit::NotFound)
        }
        NotFound::Path(e) => Failure::new(format!("cannot run {shown}: {}", describe(e))).exit(match e {
            Errno::NOENT | Errno::NOTDIR => Exit::NotFound,
            _ => Exit::CannotRun,
        }),
    })
}

/// The same, and makes sure that it can be run with the drop-in.
pub fn find(name: &OsStr) -> Result<PathBuf, Failure> {
    let path = locate(name)?;
    match quintet_program::check(&path) {
        Ok(()) => Ok(path),
        Err(Refusal { reason, remedy, .. }) => {
            let path = clean(&path.to_string_lossy());
            let failure = Failure::new(format!("cannot run {path}: {reason}")).exit(Exit::CannotRun);
            Err(match remedy {
                Some(remedy) => failure.remedy(remedy),
                None => failure,
            })
        }
    }
}
