//! The program that the command line names.

use crate::exit::Exit;
use crate::failure::Failure;
use crate::words::clean;
use quintet_program::{NotFound, Refusal};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Finds a program as execvp(3) does.
pub fn find(name: &OsStr) -> Result<PathBuf, Failure> {
    let shown = clean(&name.to_string_lossy());
    quintet_program::find(name).map_err(|missing| match missing {
        NotFound::NoName => Failure::new("cannot run a program: its name is empty").exit(Exit::NotFound),
        NotFound::NotInPath => Failure::new(format!("cannot run {shown}: no directory in PATH contains it")).exit(Exit::NotFound),
        NotFound::Path(errno) => {
            let exit = if matches!(errno, Errno::NOENT | Errno::NOTDIR) { Exit::NotFound } else { Exit::CannotRun };
            Failure::io("run", Path::new(name), &errno.into()).exit(exit)
        }
    })
}

/// Finds a program, and checks that it can run with the drop-in library.
pub fn find_interceptable(name: &OsStr) -> Result<PathBuf, Failure> {
    let path = find(name)?;
    match quintet_program::check(&path) {
        Ok(()) => Ok(path),
        Err(Refusal { reason, remedy, .. }) => {
            let path = clean(&path.to_string_lossy());
            let failure = Failure::new(format!("cannot run {path}: {reason}")).exit(Exit::CannotRun);
            Err(remedy.into_iter().fold(failure, Failure::remedy))
        }
    }
}
