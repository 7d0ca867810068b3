//! Setting the limits of a namespace.
//!
//! # Safety
//!
//! A call maps the whole header writable, from a file of its size, and unmaps it at its end.
#![allow(unsafe_code)]

use crate::backend::directory::Directory;
use crate::backend::directory::files::store_limits;
use crate::layout::{HEADER_BYTES, Header, Shared};
use crate::sys::memory::{self, Access, Place};
use crate::sys::path_buffer::PathBuffer;
use crate::sys::{fd_thread, file};
use crate::types::error::Errno;
use crate::types::id::MAX_OBJECTS;
use crate::types::limits::Limits;

impl Directory {
    /// Sets the limits. Fails with `EPERM` if the caller may not write the header, and with
    /// `EINVAL` if a limit is out of range.
    pub fn set_limits(&self, limits: &Limits) -> std::result::Result<(), Errno> {
        let Limits { shmmni, semmni, msgmni, semmsl, semopm, .. } = *limits;
        if shmmni.max(semmni).max(msgmni) > MAX_OBJECTS
            || semmsl > Limits::MAX_SEMMSL
            || semopm > Limits::MAX_SEMOPM
            || [limits.semmns, limits.msgmax, limits.msgmnb].iter().any(|limit| i32::try_from(*limit).is_err())
        {
            return Err(Errno::INVAL);
        }
        let at = fd_thread::run(|| {
            let name = PathBuffer::new(self.core.directory(), format_args!("/namespace"));
            let (fd, _) = file::open(name.c_str(), true).map_err(|e| if e == Errno::ACCES { Errno::PERM } else { e })?;
            // SAFETY: `Place::Anywhere` replaces no mapping.
            unsafe { memory::map(&fd, HEADER_BYTES as usize, Access::WRITE, Place::Anywhere) }
        })?;
        // SAFETY: this call mapped the header. It is unmapped below, after the last use.
        let header = unsafe { Shared::<Header>::new(at) };
        store_limits(&header, limits);
        // SAFETY: this call mapped it, and no other thread knows the address.
        let _ = unsafe { memory::unmap(at, HEADER_BYTES as usize) };
        if limits.shm_rmid_forced {
            self.core.sweep()?;
        }
        Ok(())
    }

    /// Returns `true` if the caller may set the limits.
    pub fn may_set_limits(&self) -> bool {
        let name = PathBuffer::new(self.core.directory(), format_args!("/namespace"));
        file::open(name.c_str(), true).is_ok()
    }
}
