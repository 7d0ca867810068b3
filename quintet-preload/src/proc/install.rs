//! Opens an emulated file: its memfd, under a descriptor number.
//!
//! # Safety
//!
//! A new descriptor is owned here until it has the number that the program learns. A borrowed
//! number is the program's, and open.
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

/// Opens a file with these flags, under the number of `in_place_of` or the lowest free one. The
/// previous file of that number is closed even if this fails.
pub fn open(file: ProcFile, flags: OFlags, in_place_of: Option<c_int>) -> Result<c_int> {
    let Some(fd) = in_place_of else {
        let opened = Opened::new(file, flags)?;
        let mut lowest = opened.memfd;
        match opened.reopened {
            Some(reopened) => io::dup3(reopened, &mut lowest, dup_flags(flags))?,
            None if flags.contains(OFlags::CLOEXEC) => {}
            None => io::fcntl_setfd(&lowest, FdFlags::empty())?,
        }
        return Ok(lowest.into_raw_fd());
    };
    let Err(error) = put(file, flags, fd) else { return Ok(fd) };
    // SAFETY: the number was just opened for the program, which has not learned it.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    // If that was the last free number, it is free now.
    if error == Errno::MFILE { open(file, flags, None) } else { Err(error) }
}

/// Opens a file with these flags, under a number that the caller owns.
pub fn put(file: ProcFile, flags: OFlags, fd: c_int) -> Result<()> {
    let opened = Opened::new(file, flags)?;
    // SAFETY: the number is open, and is not closed here.
    let mut place = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(io::dup3(opened.reopened.as_ref().unwrap_or(&opened.memfd), &mut place, dup_flags(flags))?)
}

fn dup_flags(flags: OFlags) -> DupFlags {
    if flags.contains(OFlags::CLOEXEC) { DupFlags::CLOEXEC } else { DupFlags::empty() }
}

struct Opened {
    memfd: OwnedFd,
    /// The memfd reopened with the requested access, if `/proc` is available.
    reopened: Option<OwnedFd>,
}

impl Opened {
    fn new(file: ProcFile, flags: OFlags) -> Result<Opened> {
        check_flags(file, flags)?;
        let memfd = memfd::create(file, flags)?;
        let keep = OFlags::ACCMODE | OFlags::NONBLOCK;
        let reopened = fs::openat(CWD, link(memfd.as_raw_fd()), flags & keep | OFlags::CLOEXEC, Mode::empty()).ok();
        if memfd::is_writable(flags) {
            writable::add(memfd.as_fd(), file);
        }
        Ok(Opened { memfd, reopened })
    }
}

/// Refuses what the kernel would refuse; the kernel may not have seen the flags.
fn check_flags(file: ProcFile, flags: OFlags) -> Result<()> {
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
