//! Removing a namespace.

use crate::backend::directory::default::user_path;
use crate::backend::directory::files::remove_files;
use crate::backend::directory::{Directory, hidden};
use crate::sys::credentials::{self, capable};
use crate::types::error::{Errno, Error, Result, shell_word};
use rustix::fs;
use rustix::thread::CapabilitySet;
use std::path::Path;

impl Directory {
    /// Removes the namespace. Leaves files that this crate did not create.
    ///
    /// Without `force`, fails with `EBUSY` if a process uses the namespace. Existing attachments
    /// stay valid.
    pub fn destroy(&self, force: bool) -> Result<()> {
        let error = |e: Errno| Error::at(e, "remove the namespace", self.core.path());
        if !self.core.is_owner() {
            return Err(error(Errno::PERM).reason("it belongs to another user"));
        }
        let me = self.core.participants.me_if_joined();
        let peers = self.core.participants.all().map_err(error)?.len() - usize::from(me.is_some());
        let users = peers + usize::from(!self.segments.attachments.is_empty());
        if users > 0 && !force {
            return Err(error(Errno::BUSY)
                .reason(if users == 1 { "1 process uses it".to_owned() } else { format!("{users} processes use it") })
                .hint(format!(
                    "end the processes first, or run 'quintet namespace rm --force {}'",
                    shell_word(&self.core.path().to_string_lossy())
                )));
        }
        remove_files(self.core.path())?;
        hidden::remove_parent(&user_path(), self.core.path());
        Ok(())
    }

    /// Removes a namespace that cannot be opened, without regard to processes that use it.
    pub fn destroy_damaged(path: &Path) -> Result<()> {
        let error = |e: Errno| Error::at(e, "remove the namespace", path);
        let stat = fs::stat(path).map_err(|e| error(e.into()))?;
        if stat.st_uid != credentials::euid() && !capable(CapabilitySet::SYS_ADMIN) {
            return Err(error(Errno::PERM).reason("it belongs to another user"));
        }
        if fs::stat(path.join("namespace")).is_err() {
            return Err(error(Errno::NOENT).reason("the directory is not a namespace"));
        }
        remove_files(path)
    }
}
