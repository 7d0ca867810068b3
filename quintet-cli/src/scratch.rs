//! Throw-away namespaces, for `run --private` and `demo`.

use crate::context::kind_for_programs;
use crate::failure::Failure;
use quintet::{Errno, Kind, Namespace};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A fresh namespace that goes when it is closed.
pub struct Scratch {
    path: PathBuf,
    ns: Namespace,
}

impl Scratch {
    /// Makes one in memory, or if that is not possible in the directory for temporary files.
    pub fn create() -> Result<Scratch, Failure> {
        Scratch::create_in(Path::new("/dev/shm")).or_else(|_| Scratch::create_in(&std::env::temp_dir()))
    }

    fn create_in(parent: &Path) -> Result<Scratch, Failure> {
        // The name is taken with a directory of our own, so that nobody else can have prepared what is in it.
        let dir = tempfile::Builder::new().prefix("quintet-private-").tempdir_in(parent);
        let dir = dir.map_err(|e| Failure::io("make a namespace in", parent, &e))?;
        if kind_for_programs() == Kind::Private {
            let ns = Namespace::create(dir.path(), Kind::Private)?;
            return Ok(Scratch { path: dir.keep(), ns });
        }
        // Programs that give up their rights go on using it, and nobody else finds it.
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o711)).map_err(|e| Failure::io("open", dir.path(), &e))?;
        let ns = Namespace::create_unlisted(dir.path())?;
        let path = ns.path().unwrap_or(dir.path()).to_owned();
        // The library removes the directory around it together with it.
        let _ = dir.keep();
        Ok(Scratch { path, ns })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn namespace(&self) -> &Namespace {
        &self.ns
    }

    /// Removes it, unless processes still use it; then it tells them.
    pub fn close(self) -> Result<(), Failure> {
        let users = self.ns.participants().unwrap_or_default();
        match self.ns.destroy(false) {
            Ok(()) => Ok(()),
            Err(error) if error.errno() == Errno::BUSY => {
                let pids: Vec<String> = users.iter().map(|u| u.pid.to_string()).collect();
                let path = self.path.display();
                Err(Failure::new(format!("the namespace {path} stays, because processes still use it (pid {})", pids.join(", ")))
                    .remedy(format_args!("'quintet namespace rm {path}' removes it later")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes it in any case.
    pub fn discard(self) -> Result<(), Failure> {
        Ok(self.ns.destroy(true)?)
    }
}
