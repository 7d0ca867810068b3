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
        NotFound::NoName => Failure::new("cannot execute a program: its name is empty").exit(Exit::NotFound),
        NotFound::NotInPath => {
            Failure::new(format!("cannot execute {shown}: no directory in PATH contains it")).exit(Exit::NotFound)
        }
        NotFound::Path(errno) => {
            let exit = if matches!(errno, Errno::NOENT | Errno::NOTDIR) { Exit::NotFound } else { Exit::CannotRun };
            Failure::io("execute", Path::new(name), &errno.into()).exit(exit)
        }
    })
}

/// Finds a program, and checks that it can run with the drop-in library.
pub fn find_interceptable(name: &OsStr) -> Result<PathBuf, Failure> {
    let path = find(name)?;
    match quintet_program::check(&path) {
        Ok(()) => Ok(path),
        Err(Refusal { reason, errno, remedy, .. }) => {
            let (path, reason) = (clean(&path.to_string_lossy()), clean(&reason));
            let errno = errno.map(|errno| quintet::Errno::from_raw(errno.raw_os_error()));
            let shown = errno.map_or_else(String::new, |errno| format!(" ({errno:?})"));
            let failure = Failure::new(format!("cannot execute {path}: {reason}{shown}")).exit(Exit::CannotRun);
            let failure = errno.into_iter().fold(failure, Failure::errno);
            Err(remedy.into_iter().fold(failure, Failure::remedy))
        }
    }
}
