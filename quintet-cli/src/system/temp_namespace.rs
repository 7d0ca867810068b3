//! Temporary namespaces, for `run --private` and `demo`.

use crate::context::kind_for_programs;
use crate::failure::Failure;
use crate::hint;
use crate::words::{clean, shell_word};
use quintet::{Errno, Kind, Namespace};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A new namespace, removed by [`TempNamespace::close`] or [`TempNamespace::discard`].
pub struct TempNamespace {
    path: PathBuf,
    ns: Namespace,
}

impl TempNamespace {
    /// Creates a namespace in memory or, if that fails, in the directory for temporary files.
    pub fn create() -> Result<TempNamespace, Failure> {
        TempNamespace::create_in(Path::new("/dev/shm")).or_else(|_| TempNamespace::create_in(&std::env::temp_dir()))
    }

    fn create_in(parent: &Path) -> Result<TempNamespace, Failure> {
        // A new directory with a random name: no other user can have prepared its content.
        let dir = tempfile::Builder::new().prefix("quintet-private-").tempdir_in(parent);
        let dir = dir.map_err(|e| Failure::io("create a namespace in", parent, &e))?;
        if kind_for_programs() == Kind::Private {
            let ns = Namespace::create(dir.path(), Kind::Private)?;
            return Ok(TempNamespace { path: dir.keep(), ns });
        }
        // Programs that change their user id keep access, and other users cannot list the name.
        let mode = Permissions::from_mode(0o711);
        std::fs::set_permissions(dir.path(), mode).map_err(|e| Failure::io("set the mode of", dir.path(), &e))?;
        let ns = Namespace::create_hidden(dir.path())?;
        let path = ns.path().unwrap_or(dir.path()).to_owned();
        // The library removes this directory when it removes the namespace.
        let _ = dir.keep();
        Ok(TempNamespace { path, ns })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn namespace(&self) -> &Namespace {
        &self.ns
    }

    /// Removes the namespace. Fails with `EBUSY` if processes still use it.
    pub fn close(self) -> Result<(), Failure> {
        let users = self.ns.participants().unwrap_or_default();
        match self.ns.destroy(false) {
            Ok(()) => Ok(()),
            Err(error) if error.errno() == Errno::BUSY => {
                let pids: Vec<String> = users.iter().map(|u| u.pid.to_string()).collect();
                let path = self.path.to_string_lossy();
                let remove = hint::command(format_args!("namespace rm {}", shell_word(&path)));
                Err(Failure::new(format!(
                    "cannot remove the namespace {}: processes still use it: pid {} (EBUSY)",
                    clean(&path),
                    pids.join(", ")
                ))
                .errno(Errno::BUSY)
                .remedy(format_args!("{remove} removes it when they have exited")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes the namespace even if processes use it.
    pub fn discard(self) -> Result<(), Failure> {
        Ok(self.ns.destroy(true)?)
    }
}
