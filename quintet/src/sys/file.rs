//! Files: opening without following links, publishing complete files, byte locks, access control
//! lists.
//!
//! # Safety
//!
//! The raw calls pass a valid descriptor and pointers to locals or NUL-terminated paths.
#![allow(unsafe_code)]

use crate::sys::errno::{errno, set_errno};
use crate::sys::fd::Fd;
use crate::sys::fd_thread;
use crate::sys::path_buffer::PathBuffer;
use crate::types::error::Errno;
use rustix::fd::{AsFd, AsRawFd};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use std::ffi::{CStr, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

type Result<T> = std::result::Result<T, Errno>;

/// Opens a regular file. A fifo does not block the call, and a symbolic link is not followed.
///
/// `EBADMSG`: the file is not a regular file.
pub fn open(path: &CStr, write: bool) -> Result<(Fd, Stat)> {
    let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
    let flags = access | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = match fs::openat(fs::CWD, path, flags, Mode::empty()) {
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::ISDIR | rustix::io::Errno::NXIO) => return Err(Errno::BADMSG),
        other => Fd::from(other?),
    };
    let stat = fs::fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::BADMSG);
    }
    Ok((fd, stat))
}

/// Returns the status of a file, even if the caller has no permission to open it. Makes the same
/// system calls as [`open`], because a sandbox may allow no others.
pub fn stat(path: &CStr) -> Result<Stat> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(fs::fstat(Fd::from(fs::openat(fs::CWD, path, flags, Mode::empty())?))?)
}

/// Returns `true` if the path is a directory, or a symbolic link to one.
///
/// As all functions here, it makes the system call directly. An intercepted `stat`, such as
/// fakeroot's, may call this library in turn.
pub fn is_directory(path: &Path) -> bool {
    fs::stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Returns the names in a folder, up to the first that cannot be read. The standard library's
/// `read_dir` panics if the folder cannot be closed.
pub fn entries(folder: impl rustix::path::Arg) -> Result<Vec<OsString>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = Fd::from(fs::openat(fs::CWD, folder, flags, Mode::empty())?);
    let mut buffer = Vec::with_capacity(4096);
    let mut all = Vec::new();
    let mut folder = fs::RawDir::new(&fd, buffer.spare_capacity_mut());
    while let Some(Ok(entry)) = folder.next() {
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            all.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(all)
}

/// Returns the content of a small text file, such as those of `/proc`.
pub fn read(path: impl rustix::path::Arg + Copy) -> Result<String> {
    fd_thread::run(|| read_inner(path))
}

fn read_inner(path: impl rustix::path::Arg) -> Result<String> {
    let fd = Fd::from(fs::openat(fs::CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
    let mut text = Vec::with_capacity(4096);
    loop {
        text.reserve(4096);
        match rustix::io::read(&fd, rustix::buffer::spare_capacity(&mut text)) {
            Ok(0) => return String::from_utf8(text).map_err(|_| Errno::BADMSG),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Opens a file, which was checked when it was first opened, for reading and writing.
pub fn reopen(path: &CStr) -> Result<Fd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(fs::openat(fs::CWD, path, flags, Mode::empty())?.into())
}

/// Creates an unnamed file of `len` bytes with exactly this mode. It begins with `content`, and its
/// first `reserved` bytes are allocated on the file system.
pub fn create_unnamed(directory: &CStr, mode: u32, len: u64, reserved: u64, content: &[u8]) -> Result<Fd> {
    fits_file_limit(len)?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let fd = Fd::from(fs::openat(fs::CWD, directory, flags, Mode::RUSR | Mode::WUSR)?);
    fs::ftruncate(&fd, len)?;
    reserve(&fd, reserved)?;
    let written = rustix::io::pwrite(&fd, content, 0)?;
    if written != content.len() {
        return Err(Errno::NOSPC);
    }
    fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
    Ok(fd)
}

/// Links an unnamed file. `EEXIST`: the name is taken.
pub fn publish(fd: &Fd, path: &CStr) -> Result<()> {
    match fs::linkat(fd, c"", fs::CWD, path, AtFlags::EMPTY_PATH) {
        // Without CAP_DAC_READ_SEARCH, older kernels need the path in /proc.
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::PERM) => {
            let detour = PathBuffer::new(b"/proc/thread-self/fd/", format_args!("{}", fd.as_raw_fd()));
            Ok(fs::linkat(fs::CWD, detour.c_str(), fs::CWD, path, AtFlags::SYMLINK_FOLLOW)?)
        }
        other => Ok(other?),
    }
}

/// Creates an empty file with mode 0600. The name must be free.
pub fn create(path: &CStr) -> Result<Fd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(fs::openat(fs::CWD, path, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Allocates the first `len` bytes of a file, so that a write through a mapping cannot fail.
pub fn reserve(fd: &Fd, len: u64) -> Result<()> {
    extend(fd, 0, len)
}

/// Extends a file of `from` bytes to `to` bytes, and allocates the new ones.
pub fn extend(fd: &Fd, from: u64, to: u64) -> Result<()> {
    allocate(fd, from, to, from)
}

/// Allocates the first `to` bytes of a file that has `len` bytes, some of which may be holes. Its
/// content stays.
pub fn reserve_up_to(fd: &Fd, len: u64, to: u64) -> Result<()> {
    allocate(fd, 0, to, len)
}

/// Allocates the bytes from `from` to `to` of a file that has `len` bytes.
fn allocate(fd: &Fd, from: u64, to: u64, len: u64) -> Result<()> {
    if to <= from {
        return Ok(());
    }
    loop {
        return match fs::fallocate(fd, fs::FallocateFlags::empty(), from, to - from) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::OPNOTSUPP) => write_zeroes(fd, len, to),
            Err(e) => Err(e.into()),
        };
    }
}

/// Allocates `len` bytes from `offset` on, within the size of the file.
pub fn reserve_range(fd: &Fd, offset: u64, len: u64) -> Result<()> {
    loop {
        return match fs::fallocate(fd, fs::FallocateFlags::KEEP_SIZE, offset, len) {
            // Without fallocate(2), the first write shows that the file system is full.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => Err(e.into()),
        };
    }
}

/// Frees the memory of `len` bytes from `offset` on, if the file system supports that. The bytes
/// become zeroes.
pub fn punch(fd: &Fd, offset: u64, len: u64) {
    let _ = fs::fallocate(fd, fs::FallocateFlags::KEEP_SIZE | fs::FallocateFlags::PUNCH_HOLE, offset, len);
}

/// Frees all memory of a file of `len` bytes. It becomes zeroes, or empty if the file system cannot
/// punch holes.
pub fn empty(fd: &Fd, len: u64) -> Result<()> {
    let flags = fs::FallocateFlags::KEEP_SIZE | fs::FallocateFlags::PUNCH_HOLE;
    match fs::fallocate(fd, flags, 0, len.max(1)) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::INVAL) => Ok(fs::ftruncate(fd, 0)?),
        other => Ok(other?),
    }
}

/// Overwrites the bytes from `from` to `to` with zeroes.
pub fn write_zeroes(fd: &Fd, from: u64, to: u64) -> Result<()> {
    // The stack may be small.
    static BLOCK: [u8; 4096] = [0; 4096];
    let mut at = from;
    while at < to {
        let n = (to - at).min(4096) as usize;
        at += rustix::io::pwrite(fd, &BLOCK[..n], at)? as u64;
    }
    Ok(())
}

/// Fails if `len` is above `RLIMIT_FSIZE`. Otherwise the program would get SIGXFSZ, which the
/// kernel's segments never cause.
pub fn fits_file_limit(len: u64) -> Result<()> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
    if limit.is_some_and(|limit| len > limit) { Err(Errno::NOMEM) } else { Ok(()) }
}

/// Returns the free bytes of the file system; `None` if it has no limit of its own.
pub fn free_space(fd: impl AsFd) -> Result<Option<u64>> {
    let stat = fs::fstatfs(fd)?;
    let free = (stat.f_bavail as u64).saturating_mul(stat.f_bsize as u64);
    Ok((stat.f_blocks != 0).then_some(free))
}

#[cfg(target_env = "gnu")]
type Flock = libc::flock64;
#[cfg(not(target_env = "gnu"))]
type Flock = libc::flock;

fn byte_lock(fd: &Fd, command: i32, kind: i32, at: u64) -> Result<Flock> {
    // SAFETY: zeroes are a valid flock, and l_pid must be 0.
    let mut lock: Flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as _;
    lock.l_whence = libc::SEEK_SET as _;
    lock.l_start = at as _;
    lock.l_len = 1;
    let saved = errno();
    // SAFETY: the descriptor is open and the command takes a flock.
    let ret = unsafe { libc::fcntl(fd.as_raw_fd(), command, &raw mut lock) };
    let error = errno();
    set_errno(saved);
    if ret == -1 { Err(Errno::from_raw(error)) } else { Ok(lock) }
}

/// Locks the byte at `at` until this open file description is closed. Returns `false` if another
/// one holds the lock.
pub fn lock_byte(fd: &Fd, at: u64) -> Result<bool> {
    match byte_lock(fd, libc::F_OFD_SETLK, libc::F_WRLCK as i32, at) {
        Ok(_) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCES) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Unlocks the byte at `at`. Returns `false`, because the byte is then not locked.
pub fn unlock_byte(fd: &Fd, at: u64) -> Result<bool> {
    byte_lock(fd, libc::F_OFD_SETLK, libc::F_UNLCK as i32, at).map(|_| false)
}

/// Returns `true` if another open file description holds the lock on the byte at `at`.
pub fn is_byte_locked(fd: &Fd, at: u64) -> Result<bool> {
    byte_lock(fd, libc::F_OFD_GETLK, libc::F_WRLCK as i32, at).map(|lock| i32::from(lock.l_type) != libc::F_UNLCK)
}

/// The extended attribute that holds a file's access control list.
pub const ACL: &CStr = c"system.posix_acl_access";

/// Permissions of a file beyond its nine bits, as `setfacl` sets them.
#[derive(Clone, Copy)]
pub struct Acl {
    /// The bits for owner, group and other.
    pub mode: u32,
    /// A further user with the owner's permissions, and a further group with the group's.
    pub user: Option<u32>,
    pub group: Option<u32>,
}

/// Returns the errno of an `IPC_SET` whose file cannot be given other permissions.
pub fn not_permitted(e: Errno) -> Errno {
    match e {
        Errno::IO | Errno::NOMEM | Errno::NOSPC | Errno::DQUOT | Errno::ROFS => e,
        _ => Errno::PERM,
    }
}

/// Sets the mode and the access control list of a file. The caller owns it, or is privileged.
pub fn set_acl(path: &CStr, acl: Acl) -> Result<()> {
    let (owner, group, other) = (acl.mode >> 6 & 7, acl.mode >> 3 & 7, acl.mode & 7);
    if acl.user.is_none() && acl.group.is_none() {
        match fs::removexattr(path, ACL) {
            Ok(()) | Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => {}
            Err(e) => return Err(e.into()),
        }
        return Ok(fs::chmod(path, Mode::from_raw_mode(acl.mode & 0o777))?);
    }
    const UNDEFINED: u32 = u32::MAX;
    let entries = [
        Some((0x01u16, owner, UNDEFINED)),
        acl.user.map(|u| (0x02, owner, u)),
        Some((0x04, group, UNDEFINED)),
        acl.group.map(|g| (0x08, group, g)),
        Some((0x10, owner | group, UNDEFINED)),
        Some((0x20, other, UNDEFINED)),
    ];
    let mut bytes = [0u8; 4 + 6 * 8];
    bytes[0] = 2;
    let mut len = 4;
    for (tag, bits, id) in entries.into_iter().flatten() {
        bytes[len..len + 2].copy_from_slice(&tag.to_le_bytes());
        bytes[len + 2..len + 4].copy_from_slice(&(bits as u16).to_le_bytes());
        bytes[len + 4..len + 8].copy_from_slice(&id.to_le_bytes());
        len += 8;
    }
    Ok(fs::setxattr(path, ACL, &bytes[..len], fs::XattrFlags::empty())?)
}
