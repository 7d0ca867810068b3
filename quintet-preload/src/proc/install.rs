//! A descriptor with what a file says.
//!
//! # Safety
//!
//! A descriptor is owned here from its making until it has the number that the program is told; a number that is borrowed is the program's, and
//! open.
#![allow(unsafe_code)]

use crate::base::preload_api::{self, ProcFile};
use crate::proc::descriptor::link;
use crate::proc::errors::no_file;
use crate::proc::{memfd, writable};
use libc::c_int;
use quintet::Errno;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{DupFlags, FdFlags};
use rustix::{fs, io};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

type Result<T> = std::result::Result<T, Errno>;

/// Opens a file as the flags say, under the number of `in_place_of`, or the lowest one. What was open there is gone, also after an
/// error.
pub fn open(file: ProcFile, flags: OFlags, in_place_of: Option<c_int>) -> Result<c_int> {
    let Some(fd) = in_place_of else {
        let made = Made::new(file, flags)?;
        let mut lowest = made.memfd;
        match made.again {
            Some(again) => io::dup3(again, &mut lowest, dup_flags(flags))?,
            None if flags.contains(OFlags::CLOEXEC) => {}
            None => io::fcntl_setfd(&lowest, FdFlags::empty())?,
        }
        return Ok(lowest.into_raw_fd());
    };
    let Err(error) = put(file, flags, fd) else { return Ok(fd) };
    // SAFETY: the caller's, just opened for the program, which has not been told of it.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    // If it was the last one, it will do.
    if error == Errno::MFILE { open(file, flags, None) } else { Err(error) }
}

/// Opens a file as the flags say, under a number that is the caller's.
pub fn put(file: ProcFile, flags: OFlags, fd: c_int) -> Result<()> {
    let made = Made::new(file, flags)?;
    // SAFETY: open, and not closed here.
    let mut place = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(io::dup3(made.again.as_ref().unwrap_or(&made.memfd), &mut place, dup_flags(flags))?)
}

fn dup_flags(flags: OFlags) -> DupFlags {
    if flags.contains(OFlags::CLOEXEC) { DupFlags::CLOEXEC } else { DupFlags::empty() }
}

struct Made {
    memfd: OwnedFd,
    /// The same with the access that was asked for, where there is a /proc to open it again by.
    again: Option<OwnedFd>,
}

impl Made {
    fn new(file: ProcFile, flags: OFlags) -> Result<Made> {
        may_be_opened(file, flags)?;
        let memfd = memfd::create(file, flags)?;
        let keep = OFlags::ACCMODE | OFlags::NONBLOCK;
        let again = fs::openat(CWD, link(memfd.as_raw_fd()), flags & keep | OFlags::CLOEXEC, Mode::empty()).ok();
        if memfd::is_writable(flags) {
            writable::add(memfd.as_fd(), file);
        }
        Ok(Made { memfd, again })
    }
}

/// What the kernel would refuse, which it may not have come to.
fn may_be_opened(file: ProcFile, flags: OFlags) -> Result<()> {
    if flags.contains(OFlags::CREATE | OFlags::EXCL) {
        return Err(Errno::EXIST);
    }
    if flags.contains(OFlags::DIRECTORY) {
        return Err(Errno::NOTDIR);
    }
    if flags.contains(OFlags::DIRECT) {
        return Err(Errno::INVAL);
    }
    if memfd::is_writable(flags) && !preload_api::proc_may_write(file).map_err(no_file)? {
        return Err(Errno::ACCES);
    }
    Ok(())
}
