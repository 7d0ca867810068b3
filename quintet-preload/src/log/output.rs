//! Where lines go: the file that the user names, or descriptor 2.
//!
//! # Safety
//!
//! System calls get numbers and pointers to locals. Descriptor 2 is borrowed for the duration of a
//! call, which fails if the descriptor is closed.
#![allow(unsafe_code)]

use crate::log::line::{Bytes, Line};
use libc::{c_int, c_long};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::CStr;
use std::fmt::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::*};

/// The longest name of the file, in bytes.
pub const NAME: usize = 1024;

/// The absolute name of the file and its length. Length 0: lines go to descriptor 2.
static FILE: [AtomicU8; NAME] = [const { AtomicU8::new(0) }; NAME];
static FILE_LEN: AtomicUsize = AtomicUsize::new(0);

/// Device and inode of descriptor 2 when the library was loaded; zeroes if it was closed.
static STDERR: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Returns `true` if lines go to descriptor 2.
pub fn is_stderr() -> bool {
    FILE_LEN.load(Acquire) == 0
}

/// Remembers what descriptor 2 is now.
pub fn remember_stderr() {
    let (device, inode) = stderr_identity();
    STDERR[0].store(device, Relaxed);
    STDERR[1].store(inode, Relaxed);
}

/// Stores the file's name. A relative name is completed now, because the program may change its
/// working directory. Returns `false` if the name is too long.
pub fn set_file(name: &[u8]) -> bool {
    let mut full = Name::new();
    if !name.starts_with(b"/") {
        let mut directory = [0u8; NAME];
        // SAFETY: a local of this length.
        let len = unsafe { libc::syscall(libc::SYS_getcwd, directory.as_mut_ptr(), NAME) };
        // The length includes the NUL. The name of an unreachable directory does not begin with a
        // slash.
        let directory = usize::try_from(len).ok().and_then(|len| directory.get(..len.saturating_sub(1))).unwrap_or_default();
        if !directory.starts_with(b"/") || !full.push(directory) || !full.push(b"/") {
            return false;
        }
    }
    if !full.push(name) {
        return false;
    }
    for (to, from) in FILE.iter().zip(&full.bytes[..full.len]) {
        to.store(*from, Relaxed);
    }
    FILE_LEN.store(full.len, Release);
    true
}

/// A file name that ends with a NUL.
struct Name {
    bytes: [u8; NAME],
    len: usize,
}

impl Name {
    fn new() -> Name {
        Name { bytes: [0; NAME], len: 0 }
    }

    fn push(&mut self, more: &[u8]) -> bool {
        let end = self.len + more.len();
        // The last byte is for the NUL.
        let Some(room) = self.bytes.get_mut(self.len..end).filter(|_| end < NAME) else { return false };
        room.copy_from_slice(more);
        self.len = end;
        true
    }
}

impl Write for Name {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.push(text.as_bytes()) { Ok(()) } else { Err(fmt::Error) }
    }
}

/// Returns the name for this process: `%p` is replaced by the process id, `%%` by a percent sign.
fn file_name(len: usize) -> Option<Name> {
    let mut name = Name::new();
    let mut bytes = FILE[..len].iter().map(|byte| byte.load(Relaxed)).peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (b'%', Some(b'p')) => write!(name, "{}", rustix::process::getpid().as_raw_nonzero()).ok()?,
            (b'%', Some(b'%')) => name.push(b"%").then_some(())?,
            _ => {
                name.push(&[byte]).then_some(())?;
                continue;
            }
        }
        bytes.next();
    }
    Some(name)
}

/// Writes a line.
pub fn put(line: &mut Line) {
    let line = line.finish();
    match FILE_LEN.load(Acquire) {
        0 => put_to_stderr(line),
        len => put_to_file(len, line),
    }
}

fn put_to_file(len: usize, line: &[u8]) {
    let Some(name) = file_name(len) else { return };
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE;
    // A FIFO without a reader must not block the program.
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let path = CStr::from_bytes_until_nul(&name.bytes).unwrap_or_default();
    let error = match rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR) {
        Ok(fd) => return write_whole(fd.as_fd(), line),
        Err(e) => e,
    };
    static REPORTED: AtomicBool = AtomicBool::new(false);
    if !REPORTED.swap(true, Relaxed) {
        let mut report = Line::new();
        let (path, why) = (Bytes(path.to_bytes()), quintet::Errno::from_raw(error.raw_os_error()));
        let _ = write!(report, "quintet: warning: cannot write to QUINTET_LOG_FILE {path}: {why}; its lines are lost");
        put_to_stderr(report.finish());
    }
}

/// Returns device and inode of descriptor 2, or zeroes.
fn stderr_identity() -> (u64, u64) {
    // SAFETY: see the module.
    let stderr = unsafe { BorrowedFd::borrow_raw(2) };
    rustix::fs::fstat(stderr).map_or((0, 0), |stat| (stat.st_dev as u64, stat.st_ino as u64))
}

fn put_to_stderr(line: &[u8]) {
    let now = stderr_identity();
    if now == (0, 0) || (now != (STDERR[0].load(Relaxed), STDERR[1].load(Relaxed)) && !stderr_is_terminal()) {
        return;
    }
    // SAFETY: see the module.
    write_whole(unsafe { BorrowedFd::borrow_raw(2) }, line);
}

fn stderr_is_terminal() -> bool {
    // SAFETY: see the module.
    let stderr = unsafe { BorrowedFd::borrow_raw(2) };
    let device = rustix::fs::fstat(stderr).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice);
    let mut settings = [0u8; 256];
    // SAFETY: larger than any `struct termios`.
    device && unsafe { libc::syscall(libc::SYS_ioctl, 2, libc::TCGETS as c_long, settings.as_mut_ptr()) } == 0
}

fn write_whole(fd: BorrowedFd, mut line: &[u8]) {
    let signals = BlockedSignals::begin();
    while !line.is_empty() {
        match rustix::io::write(fd, line) {
            Ok(n) if n > 0 => line = line.get(n..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::PIPE) => return signals.consume(libc::SIGPIPE),
            Err(Errno::FBIG) => return signals.consume(libc::SIGXFSZ),
            // A full pipe that does not block, or a full disk: the rest of the line is lost.
            _ => return,
        }
    }
}

/// Blocks the signals that a write may raise, while this lives:
///
/// - `SIGPIPE` without a reader,
/// - `SIGXFSZ` at the file size limit,
/// - `SIGTTOU` from a background process on a terminal.
struct BlockedSignals {
    before: u64,
    pending: u64,
}

/// The size of the kernel's signal set.
const SET: usize = size_of::<u64>();

const fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}

impl BlockedSignals {
    fn begin() -> BlockedSignals {
        let held = bit(libc::SIGPIPE) | bit(libc::SIGXFSZ) | bit(libc::SIGTTOU);
        let (mut before, mut pending) = (0u64, 0u64);
        // SAFETY: locals of the kernel's size.
        unsafe {
            let (held, before) = (&raw const held, &raw mut before);
            libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK as c_long, held, before, SET);
        }
        // A signal can have been pending before only if the program itself blocks it.
        if before & (bit(libc::SIGPIPE) | bit(libc::SIGXFSZ)) != 0 {
            // SAFETY: as above.
            unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut pending, SET) };
        }
        BlockedSignals { before, pending }
    }

    /// Consumes the signal that a write has just raised, unless it was pending before.
    fn consume(&self, signal: c_int) {
        if self.pending & bit(signal) == 0 {
            let (set, at_once) = (bit(signal), [0 as c_long; 4]);
            let no_info: *const c_long = std::ptr::null();
            // SAFETY: locals; zeroes are a timeout in every layout of `timespec`.
            unsafe { libc::syscall(libc::SYS_rt_sigtimedwait, &raw const set, no_info, &raw const at_once, SET) };
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        let (before, no_old): (_, *const u64) = (self.before, std::ptr::null());
        // SAFETY: a local of the kernel's size.
        unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK as c_long, &raw const before, no_old, SET) };
    }
}
