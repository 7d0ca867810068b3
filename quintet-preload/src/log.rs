//! What the drop-in says to people: why it does not work, and, if they ask for it, what it does.
//!
//! `QUINTET_LOG` is `off`, `error`, `warn` (if it is not set), `info` or `debug`; `QUINTET_LOG_FILE` names a file for the lines, else they go to
//! descriptor 2. A `%p` in that name is the process's number.
//!
//! The program must not notice. Nothing is allocated and no descriptor stays open; `errno` is kept; a signal that writing
//! raises is taken away again. Descriptor 2 is written to only while it is what it was when the program began, or a terminal: a program may have
//! closed it and opened a file of its own there. Each line is one write, so that those of several processes do not mix.
//!
//! # Safety
//!
//! Only system calls, which take numbers and pointers to locals; and the C library's `getenv`, whose value is copied at once.
#![allow(unsafe_code)]

use crate::trace;
use libc::{c_char, c_int, c_long};
use quintet::Kind;
use quintet::drop_in::{self, Listener};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use std::ffi::CStr;
use std::fmt::{self, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::*};

/// How much is said: each level says what those before it say, too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    Off,
    /// Nothing works.
    Error,
    /// Something will not work, and the program cannot tell why.
    Warn,
    /// What happens to the process: the namespace, forks, exec, other rights.
    Info,
    /// Every call.
    Debug,
}

impl Level {
    const NAMES: [(&[u8], Level); 5] = [
        (b"off", Level::Off),
        (b"error", Level::Error),
        (b"warn", Level::Warn),
        (b"info", Level::Info),
        (b"debug", Level::Debug),
    ];
}

/// More than all levels: nobody has looked yet.
const UNKNOWN: u8 = u8::MAX;

static LEVEL: AtomicU8 = AtomicU8::new(UNKNOWN);

/// Whether calls are to be traced, or nobody knows yet: one load, for the way of every call.
#[inline(always)]
pub fn may_trace() -> bool {
    LEVEL.load(Relaxed) >= Level::Debug as u8
}

/// Whether lines of this level are wanted.
#[cold]
pub fn wants(level: Level) -> bool {
    if LEVEL.load(Acquire) == UNKNOWN {
        set_up();
    }
    match LEVEL.load(Acquire) {
        // Another thread is at it.
        UNKNOWN => level <= Level::Warn,
        now => level as u8 <= now,
    }
}

/// What must be known before the program runs.
pub fn at_load() {
    if wants(Level::Info) {
        tell_of_forks();
    }
    drop_in::listen(&Engine);
}

struct Engine;

/// Whether this process has used a namespace.
static OPENED: AtomicBool = AtomicBool::new(false);

impl Listener for Engine {
    fn opened(&self, path: &Path, kind: Kind) {
        OPENED.store(true, Relaxed);
        info(format_args!("uses the {} namespace {}", if kind == Kind::Private { "private" } else { "shared" }, path.display()));
    }

    fn waits(&self) {
        trace::waits();
    }

    fn trouble(&self, why: &quintet::Error) {
        error(format_args!("{why}"));
    }

    fn unusable(&self, why: &quintet::Error) {
        error(format_args!("no System V IPC for this program: {why}"));
    }
}

/// The longest line.
const LINE: usize = 1024;

/// A line being written. What does not fit is left out; what would break the line is replaced.
#[derive(Clone)]
pub struct Line {
    bytes: [u8; LINE],
    len: usize,
    full: bool,
}

impl Line {
    const END: &[u8] = b"...\n";
    const ROOM: usize = LINE - Line::END.len();

    fn new() -> Line {
        Line { bytes: [0; LINE], len: 0, full: false }
    }

    /// One that begins with who writes it, and when.
    pub fn stamped() -> Line {
        let mut line = Line::new();
        stamp(&mut line);
        line
    }

    /// Writes it out.
    pub fn put(&mut self) {
        put(self.finish());
    }

    fn finish(&mut self) -> &[u8] {
        let end = if self.full { Line::END } else { b"\n" };
        self.bytes[self.len..self.len + end.len()].copy_from_slice(end);
        &self.bytes[..self.len + end.len()]
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let (mut utf8, c) = ([0; 4], if c.is_control() { '?' } else { c });
            let bytes = c.encode_utf8(&mut utf8).as_bytes();
            if self.full || self.len + bytes.len() > Line::ROOM {
                self.full = true;
                return Ok(());
            }
            self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
            self.len += bytes.len();
        }
        Ok(())
    }
}

/// Bytes of the program's, as text.
pub struct Bytes<'a>(pub &'a [u8]);

impl fmt::Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

/// Says that something will not work as the program expects: one line.
#[cold]
pub fn warn(what: fmt::Arguments) {
    say(Level::Warn, "warning: ", what);
}

/// Says why nothing works: one line, each but once in a process.
#[cold]
pub fn error(what: fmt::Arguments) {
    if wants(Level::Error) && is_news(what) {
        say(Level::Error, "error: ", what);
    }
}

/// Says what has happened to this process, to whom wants to know.
#[cold]
pub fn info(what: fmt::Arguments) {
    say(Level::Info, "", what);
}

/// A line of a level, whose text `write` writes.
#[cold]
pub fn line(level: Level, write: impl FnOnce(&mut Line)) {
    if !wants(level) {
        return;
    }
    keeping_errno(|| {
        let mut line = Line::new();
        // People read a warning on their terminal; in a file it is one of many lines.
        if level <= Level::Warn && FILE_LEN.load(Acquire) == 0 {
            let _ = line.write_str("quintet: ");
        } else {
            stamp(&mut line);
        }
        write(&mut line);
        line.put();
    });
}

/// The program has called what changes its rights.
#[cold]
pub fn changed_rights(function: &str, ret: c_int) {
    line(Level::Info, |line| {
        let _ = if ret == -1 {
            write!(line, "{function} failed")
        } else {
            let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            write!(line, "{function}: acts for user {user}, group {group} from now on")
        };
    });
}

/// Has children tell when they begin, which share with their parent what it has. (One that is made otherwise than by `fork` is known by its number alone.)
fn tell_of_forks() {
    extern "C" fn in_child() {
        if !OPENED.load(Relaxed) {
            return;
        }
        line(Level::Info, |line| {
            let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
            let _ = write!(line, "is a child of {parent}");
        });
    }
    unsafe extern "C" {
        fn pthread_atfork(
            prepare: Option<extern "C" fn()>,
            parent: Option<extern "C" fn()>,
            child: Option<extern "C" fn()>,
        ) -> c_int;
    }
    // SAFETY: the C library keeps the pointer to a function that does not unwind.
    unsafe { pthread_atfork(None, None, Some(in_child)) };
}

/// Nanoseconds since some time.
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

fn say(level: Level, kind: &str, what: fmt::Arguments) {
    line(level, |line| {
        let _ = line.write_str(kind).and_then(|()| line.write_fmt(what));
    });
}

/// Who, and when (UTC).
fn stamp(line: &mut Line) {
    let (pid, tid) = (rustix::process::getpid().as_raw_nonzero(), rustix::thread::gettid().as_raw_nonzero());
    let _ = write!(line, "quintet[{pid}");
    if tid != pid {
        let _ = write!(line, "/{tid}");
    }
    let now = clock_gettime(ClockId::Realtime);
    let second = now.tv_sec.rem_euclid(24 * 60 * 60);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let _ = write!(line, "] {hour:02}:{minute:02}:{second:02}.{:06} ", now.tv_nsec / 1000);
}

/// Does something of which the program is not to notice.
pub fn keeping_errno(body: impl FnOnce()) {
    // SAFETY: the location is valid for the thread's life.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { *errno };
    // No panic gets out.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
    // SAFETY: as above.
    unsafe { *errno = before };
}

/// Whether this has not been said yet. (A child of vfork says it for its parent, too.)
fn is_news(what: fmt::Arguments) -> bool {
    const MOST: usize = 16;
    static SAID: [AtomicU64; MOST] = [const { AtomicU64::new(0) }; MOST];
    let mut hash = Hash(0xcbf2_9ce4_8422_2325);
    let _ = hash.write_fmt(what);
    for said in &SAID {
        match said.compare_exchange(0, hash.0, Relaxed, Relaxed) {
            Ok(_) => return true,
            Err(known) if known == hash.0 => return false,
            Err(_) => {}
        }
    }
    false
}

/// FNV-1a.
struct Hash(u64);

impl Write for Hash {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).max(1);
        }
        Ok(())
    }
}

/// The longest name of the file for the lines.
const NAME: usize = 1024;

/// The name of the file for the lines, from `/` on, and its length. 0: there is none, they go to descriptor 2.
static FILE: [AtomicU8; NAME] = [const { AtomicU8::new(0) }; NAME];
static FILE_LEN: AtomicUsize = AtomicUsize::new(0);

/// What descriptor 2 was when the program began: device and inode, 0 if it was closed.
static STDERR: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Looks at the environment, once.
#[cold]
fn set_up() {
    static BEGUN: AtomicBool = AtomicBool::new(false);
    if BEGUN.swap(true, AcqRel) {
        return;
    }
    let stderr = stderr_identity();
    STDERR[0].store(stderr.0, Relaxed);
    STDERR[1].store(stderr.1, Relaxed);
    keeping_errno(|| {
        let name_fits = variable(c"QUINTET_LOG_FILE").is_none_or(set_file);
        let wanted = variable(c"QUINTET_LOG");
        let known = wanted.map(|name| Level::NAMES.iter().find(|known| known.0 == name));
        let level = known.flatten().map_or(Level::Warn, |known| known.1);
        LEVEL.store(level as u8, Release);
        if !name_fits {
            warn(format_args!("QUINTET_LOG_FILE is longer than {NAME} bytes and is not used; choose a shorter name"));
        }
        if let (Some(name), Some(None)) = (wanted, known) {
            warn(format_args!("there is no QUINTET_LOG={}; use off, error, warn, info or debug", Bytes(name)));
        }
    });
    // Not to be left at "unknown", whatever has happened.
    let _ = LEVEL.compare_exchange(UNKNOWN, Level::Warn as u8, Release, Relaxed);
}

/// A variable that is set and not empty. A program that has gained rights (where the system preloads us there, too) is not told by its caller where to write.
fn variable(name: &CStr) -> Option<&'static [u8]> {
    // SAFETY: a number; then a NUL-terminated name.
    let value: *const c_char =
        unsafe { if libc::getauxval(libc::AT_SECURE) != 0 { std::ptr::null() } else { libc::getenv(name.as_ptr()) } };
    // SAFETY: null, or a NUL-terminated string that is used before the program can change it.
    (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) }.to_bytes()).filter(|value| !value.is_empty())
}

/// Remembers the name, as it is at the beginning: the program may change its working directory. `false`: it is too long.
fn set_file(name: &[u8]) -> bool {
    let mut full = Name::new();
    if !name.starts_with(b"/") {
        let mut directory = [0u8; NAME];
        // SAFETY: a local of this length.
        let len = unsafe { libc::syscall(libc::SYS_getcwd, directory.as_mut_ptr(), NAME) };
        // With its NUL. A directory that is nowhere does not begin with a slash.
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

/// A file's name, with the NUL behind it.
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
        // One is left for the NUL.
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

/// The name for this process: `%p` is its number, `%%` a percent sign.
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

fn put(line: &[u8]) {
    match FILE_LEN.load(Acquire) {
        0 => put_to_stderr(line),
        len => put_to_file(len, line),
    }
}

fn put_to_file(len: usize, line: &[u8]) {
    let Some(name) = file_name(len) else { return };
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE;
    // A fifo that nobody reads must not hang the program.
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let path = CStr::from_bytes_until_nul(&name.bytes).unwrap_or_default();
    let written = match rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR) {
        Ok(fd) => return write_whole(std::os::fd::AsFd::as_fd(&fd), line),
        Err(e) => e,
    };
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, Relaxed) {
        let mut said = Line::new();
        let (path, why) = (Bytes(path.to_bytes()), quintet::Errno::from_raw(written.raw_os_error()));
        let _ = write!(said, "quintet: warning: cannot write to QUINTET_LOG_FILE {path}: {why}; its lines are lost");
        put_to_stderr(said.finish());
    }
}

/// Device and inode of what descriptor 2 is, or zeroes.
fn stderr_identity() -> (u64, u64) {
    // SAFETY: used for the call only, which says so if it is not open.
    let stderr = unsafe { BorrowedFd::borrow_raw(2) };
    rustix::fs::fstat(stderr).map_or((0, 0), |stat| (stat.st_dev as u64, stat.st_ino as u64))
}

fn put_to_stderr(line: &[u8]) {
    let now = stderr_identity();
    if now == (0, 0) || (now != (STDERR[0].load(Relaxed), STDERR[1].load(Relaxed)) && !stderr_is_terminal()) {
        return;
    }
    // SAFETY: open, as was just said; if another thread closes it now, the call says so.
    write_whole(unsafe { BorrowedFd::borrow_raw(2) }, line);
}

fn stderr_is_terminal() -> bool {
    // SAFETY: as above.
    let stderr = unsafe { BorrowedFd::borrow_raw(2) };
    let device = rustix::fs::fstat(stderr).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice);
    let mut settings = [0u8; 256];
    // SAFETY: larger than any `struct termios`.
    device && unsafe { libc::syscall(libc::SYS_ioctl, 2, libc::TCGETS as c_long, settings.as_mut_ptr()) } == 0
}

fn write_whole(fd: BorrowedFd, mut line: &[u8]) {
    let signals = HeldOff::begin();
    while !line.is_empty() {
        match rustix::io::write(fd, line) {
            Ok(n) if n > 0 => line = line.get(n..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::PIPE) => return signals.take_away(libc::SIGPIPE),
            Err(Errno::FBIG) => return signals.take_away(libc::SIGXFSZ),
            // A full pipe that does not block, a full disk: the rest is lost.
            _ => return,
        }
    }
}

/// The signals that writing may raise are held off while this lives: nobody reads the pipe, the file is at the process's limit,
/// the terminal stops who writes from the background.
struct HeldOff {
    before: u64,
    pending: u64,
}

/// The kernel's set of signals.
const SET: usize = size_of::<u64>();

const fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}

impl HeldOff {
    fn begin() -> HeldOff {
        let held = bit(libc::SIGPIPE) | bit(libc::SIGXFSZ) | bit(libc::SIGTTOU);
        let (mut before, mut pending) = (0u64, 0u64);
        // SAFETY: locals of the kernel's size.
        unsafe {
            let (held, before) = (&raw const held, &raw mut before);
            libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK as c_long, held, before, SET);
        }
        // Only what the program itself holds off can have been pending.
        if before & (bit(libc::SIGPIPE) | bit(libc::SIGXFSZ)) != 0 {
            // SAFETY: as above.
            unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut pending, SET) };
        }
        HeldOff { before, pending }
    }

    /// The signal that was just raised, unless it was there before.
    fn take_away(&self, signal: c_int) {
        if self.pending & bit(signal) == 0 {
            let (set, at_once) = (bit(signal), [0 as c_long; 4]);
            let no_info: *const c_long = std::ptr::null();
            // SAFETY: locals; zeroes are a timeout of whichever layout.
            unsafe { libc::syscall(libc::SYS_rt_sigtimedwait, &raw const set, no_info, &raw const at_once, SET) };
        }
    }
}

impl Drop for HeldOff {
    fn drop(&mut self) {
        let (before, no_old): (_, *const u64) = (self.before, std::ptr::null());
        // SAFETY: a local of the kernel's size.
        unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK as c_long, &raw const before, no_old, SET) };
    }
}
