//! A descriptor with what a file says.
//!
//! # Safety
//!
//! A descriptor is owned here from its making until it has the number that the program is told; a number that is borrowed is the program's, and
//! open.
#![allow(unsafe_code)]

use crate::proc::{no_file, path, written};
use libc::c_int;
use quintet::Errno;
use quintet::drop_in::{self, ProcFile};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags, Timespec, Timestamps};
use rustix::io::{DupFlags, FdFlags};
use rustix::{fs, io};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

type Result<T> = std::result::Result<T, Errno>;

/// A descriptor that the program has.
pub fn borrow<'a>(fd: c_int) -> Option<BorrowedFd<'a>> {
    // SAFETY: a descriptor is never -1, and what is asked of a closed one fails.
    (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
}

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
        let memfd = memfd(file, flags)?;
        let keep = OFlags::ACCMODE | OFlags::NONBLOCK;
        let again = fs::openat(CWD, path::link(memfd.as_raw_fd()), flags & keep | OFlags::CLOEXEC, Mode::empty()).ok();
        if is_written(flags) {
            written::add(memfd.as_fd(), file);
        }
        Ok(Made { memfd, again })
    }
}

fn is_written(flags: OFlags) -> bool {
    flags & OFlags::ACCMODE != OFlags::RDONLY
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
    if is_written(flags) && !drop_in::proc_may_write(file).map_err(no_file)? {
        return Err(Errno::ACCES);
    }
    Ok(())
}

fn memfd(file: ProcFile, flags: OFlags) -> Result<OwnedFd> {
    let name = path::memfd_name(file);
    let create = |further| fs::memfd_create(&name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | further);
    // Kernels before 6.3 do not know that a memfd is no program.
    let memfd = create(MemfdFlags::NOEXEC_SEAL).or_else(|_| create(MemfdFlags::empty()))?;
    fs::fchmod(&memfd, Mode::from_raw_mode(file.mode()))?;
    // Where nothing can be read, the end is at 0, as of the kernel's.
    if flags & OFlags::ACCMODE != OFlags::WRONLY {
        fill(memfd.as_fd(), &drop_in::proc_text(file).map_err(no_file)?)?;
    }
    if is_written(flags) {
        mark_clean(memfd.as_fd())?;
    } else {
        fs::fcntl_add_seals(&memfd, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    }
    Ok(memfd)
}

fn fill(memfd: BorrowedFd<'_>, text: &str) -> Result<()> {
    let mut done = 0;
    while done < text.len() {
        done += io::pwrite(memfd, &text.as_bytes()[done..], done as u64)?;
    }
    Ok(())
}

/// Nothing is in it that has not been carried out.
fn mark_clean(memfd: BorrowedFd<'_>) -> Result<()> {
    let never = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(fs::futimens(memfd, &Timestamps { last_access: never, last_modification: never })?)
}

/// Has a file that was written to say what it says now.
pub fn renew(fd: BorrowedFd<'_>, file: ProcFile) -> Result<()> {
    fs::ftruncate(fd, 0)?;
    if fs::fcntl_getfl(fd)? & OFlags::ACCMODE == OFlags::RDWR {
        fill(fd, &drop_in::proc_text(file)?)?;
    }
    mark_clean(fd)
}
