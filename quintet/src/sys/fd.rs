//! Owned file descriptors.
//!
//! # Safety
//!
//! `close` receives a number that the caller owns.
#![allow(unsafe_code)]

use crate::sys::errno::{errno, set_errno};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::mem::ManuallyDrop;

/// A descriptor that is closed by the system call itself. The C library's `close` is a cancellation
/// point, and a preloaded library may intercept it.
pub struct Fd(ManuallyDrop<OwnedFd>);

impl From<OwnedFd> for Fd {
    fn from(fd: OwnedFd) -> Fd {
        let fd = Fd(ManuallyDrop::new(fd));
        if fd.as_raw_fd() > 2 {
            return fd;
        }
        // The program has closed a standard stream. What another thread writes to it must not go
        // into a file of the namespace.
        rustix::io::fcntl_dupfd_cloexec(&fd, 3).map_or(fd, Fd::from)
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        close(self.as_raw_fd());
    }
}

/// Closes a descriptor, if the number is one.
pub fn close(number: RawFd) {
    let saved = errno();
    // SAFETY: passes a number. The caller owns the descriptor, or a copy of the descriptor table.
    unsafe { libc::syscall(libc::SYS_close, number) };
    set_errno(saved);
}
