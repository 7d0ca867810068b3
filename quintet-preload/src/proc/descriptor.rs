//! Descriptors of the program.
//!
//! # Safety
//!
//! A borrowed number is used for calls only, and the kernel refuses a number that is not open.
#![allow(unsafe_code)]

use libc::c_int;
use rustix::fs::{CWD, readlinkat};
use std::fmt::Write;
use std::os::fd::BorrowedFd;

/// Borrows a descriptor that the program has passed. Returns `None` for a negative number.
pub fn borrow<'a>(fd: c_int) -> Option<BorrowedFd<'a>> {
    // SAFETY: a descriptor is never -1, and a call with a closed one fails.
    (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Returns the path in `/proc/self/fd` that leads to a descriptor's file.
pub fn link(fd: c_int) -> String {
    let mut name = String::from("/proc/self/fd/");
    let _ = write!(name, "{fd}");
    name
}

/// Returns the name that the kernel shows for a descriptor's file.
pub fn target(fd: c_int) -> Option<Vec<u8>> {
    Some(readlinkat(CWD, link(fd), Vec::new()).ok()?.into_bytes())
}
