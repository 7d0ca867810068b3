//! Removing a namespace.

use crate::backend::directory::default::own_path;
use crate::backend::directory::files::remove_files;
use crate::backend::directory::{Directory, hidden};
use crate::sys::credentials::{self, capable};
use crate::types::error::{Errno, Error, Result};
use rustix::fs;
use rustix::thread::CapabilitySet;
use std::path::Path;

impl Directory {
    /// Removes the namespace: only what this crate has put there.
    pub fn destroy(&self, force: bool) -> Result<()> {
        let error = |e: Errno| Error::at(e, "remove the namespace", self.core.path());
        if !self.core.is_owner() {
            return Err(error(Errno::PERM).reason("it belongs to somebody else"));
        }
        let me = self.core.participants.me_if_joined();
        let others = self.core.participants.all().map_err(error)?.len() - usize::from(me.is_some());
        if (others > 0 || !self.segments.attachments.is_empty()) && !force {
            return Err(error(Errno::BUSY)
                .reason(format!("{} processes use it", others + usize::from(!self.segments.attachments.is_empty())))
                .hint("end them first, or force it: they lose their memory's names, not the memory"));
        }
        remove_files(self.core.path())?;
        hidden::tidy(&own_path(), self.core.path());
        Ok(())
    }

    /// Removes a namespace that cannot be opened.
    pub fn destroy_damaged(path: &Path) -> Result<()> {
        let error = |e: Errno| Error::at(e, "remove the namespace", path);
        let stat = fs::stat(path).map_err(|e| error(e.into()))?;
        if stat.st_uid != credentials::euid() && !capable(CapabilitySet::SYS_ADMIN) {
            return Err(error(Errno::PERM).reason("it belongs to somebody else"));
        }
        if fs::stat(path.join("namespace")).is_err() {
            return Err(error(Errno::NOENT).reason("the directory is no namespace"));
        }
        remove_files(path)
    }
}
