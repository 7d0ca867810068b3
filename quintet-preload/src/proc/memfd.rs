//! The memfd that stands for one of the files, and its contents.

use crate::base::preload_api::{self, ProcFile};
use crate::proc::errors::no_file;
use quintet::Errno;
use rustix::fs::{self, MemfdFlags, Mode, OFlags, SealFlags, Timespec, Timestamps};
use rustix::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

type Result<T> = std::result::Result<T, Errno>;

/// Returns the name of the memfd that stands for a file.
fn name(file: ProcFile) -> String {
    format!("quintet:{}", file.path())
}

/// Returns the file that a memfd stands for, by the [`target`](super::descriptor::target) of its
/// descriptor.
pub fn of_target(target: &[u8]) -> Option<ProcFile> {
    let label = target.strip_prefix(b"/memfd:")?.strip_suffix(b" (deleted)")?;
    ProcFile::ALL.into_iter().find(|file| name(*file).as_bytes() == label)
}

/// Returns `true` if the flags ask for write access.
pub fn is_writable(flags: OFlags) -> bool {
    flags & OFlags::ACCMODE != OFlags::RDONLY
}

pub fn create(file: ProcFile, flags: OFlags) -> Result<OwnedFd> {
    let name = name(file);
    let create = |further| fs::memfd_create(&name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | further);
    // Kernels before 6.3 do not have `MFD_NOEXEC_SEAL`.
    let memfd = create(MemfdFlags::NOEXEC_SEAL).or_else(|_| create(MemfdFlags::empty()))?;
    fs::fchmod(&memfd, Mode::from_raw_mode(file.mode()))?;
    // A descriptor that cannot be read has its end at 0, as the kernel's does.
    if flags & OFlags::ACCMODE != OFlags::WRONLY {
        write_contents(memfd.as_fd(), &preload_api::proc_text(file).map_err(no_file)?)?;
    }
    if is_writable(flags) {
        mark_clean(memfd.as_fd())?;
    } else {
        fs::fcntl_add_seals(&memfd, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    }
    Ok(memfd)
}

fn write_contents(memfd: BorrowedFd<'_>, text: &str) -> Result<()> {
    let mut done = 0;
    while done < text.len() {
        done += io::pwrite(memfd, &text.as_bytes()[done..], done as u64)?;
    }
    Ok(())
}

/// Marks the memfd as free of pending writes.
fn mark_clean(memfd: BorrowedFd<'_>) -> Result<()> {
    let never = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(fs::futimens(memfd, &Timestamps { last_access: never, last_modification: never })?)
}

/// Restores the current contents of a file after a write.
pub fn refresh(fd: BorrowedFd<'_>, file: ProcFile) -> Result<()> {
    fs::ftruncate(fd, 0)?;
    if fs::fcntl_getfl(fd)? & OFlags::ACCMODE == OFlags::RDWR {
        write_contents(fd, &preload_api::proc_text(file)?)?;
    }
    mark_clean(fd)
}
