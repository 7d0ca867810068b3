//! The kernel's System V IPC.
//!
//! This module issues system calls directly and does not call libc. The preload library intercepts
//! libc's functions, `syscall(2)` included, so only direct calls reach the kernel under it.

mod call;
mod msg;
mod sem;
mod shm;

pub use crate::backend::kernel::call::Kernel;
use crate::backend::kernel::call::{number, set_sysctl};
use crate::backend::verbs::{Backend, NamespaceVerbs};
use crate::types::error::{self, Errno, Error};
use crate::types::id::Id;
use crate::types::kind::Kind;
use crate::types::limits::Limits;
use crate::types::mechanism::Mechanism;
use crate::types::shm::Attacher;
use std::path::Path;

type Result<T> = std::result::Result<T, Errno>;

impl Backend for Kernel {}

impl NamespaceVerbs for Kernel {
    fn path(&self) -> Option<&Path> {
        None
    }

    fn kind(&self) -> Kind {
        Kind::Shared
    }

    fn limits(&self) -> Result<Limits> {
        let limits = sem::read_limits(Limits {
            shmmax: number("shmmax")?,
            shmall: number("shmall")?,
            shmmni: number("shmmni")?,
            shm_rmid_forced: number::<u32>("shm_rmid_forced")? != 0,
            ..Limits::DEFAULT
        })?;
        msg::read_limits(limits)
    }

    fn set_limits(&self, limits: &Limits) -> Result<()> {
        set_sysctl("shmmax", &limits.shmmax.to_string())?;
        set_sysctl("shmall", &limits.shmall.to_string())?;
        set_sysctl("shmmni", &limits.shmmni.to_string())?;
        set_sysctl("shm_rmid_forced", if limits.shm_rmid_forced { "1" } else { "0" })?;
        sem::write_limits(limits)?;
        msg::write_limits(limits)
    }

    fn next_id(&self, of: Mechanism) -> Result<Option<Id>> {
        Ok(Id::from_raw(number(&format!("{}_next_id", of.name()))?).ok())
    }

    fn set_next_id(&self, of: Mechanism, id: Option<Id>) -> Result<()> {
        set_sysctl(&format!("{}_next_id", of.name()), &id.map_or(-1, Id::raw).to_string())
    }

    fn sweep(&self) -> Result<()> {
        Ok(())
    }

    fn participants(&self) -> Result<Vec<Attacher>> {
        Ok(Vec::new())
    }

    fn destroy(&self, _force: bool) -> error::Result<()> {
        Err(Error::new(Errno::INVAL, "cannot remove the kernel's namespace"))
    }
}
