//! Levels, and the messages of each.
//!
//! # Safety
//!
//! `getenv` gets a NUL-terminated name, and its value is copied at once.
#![allow(unsafe_code)]

use crate::base::errno::preserving_errno;
use crate::log::line::{Bytes, Line};
use crate::log::output;
use libc::{c_char, c_int};
use rustix::time::{ClockId, clock_gettime};
use std::ffi::CStr;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::*};

/// How much is reported. Each level includes the levels before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    Off,
    /// Nothing works.
    Error,
    /// Something will not work, and the program cannot tell why.
    Warn,
    /// Events of the process: the namespace, forks, exec, credentials.
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

/// Greater than every level: the environment has not been read yet.
const UNKNOWN: u8 = u8::MAX;

static LEVEL: AtomicU8 = AtomicU8::new(UNKNOWN);

/// Returns `true` if calls are traced, or if the level is not known yet. Every call loads this one
/// word.
#[inline(always)]
pub fn may_trace() -> bool {
    LEVEL.load(Relaxed) >= Level::Debug as u8
}

/// Returns `true` if lines of this level are wanted.
#[cold]
pub fn wants(level: Level) -> bool {
    if LEVEL.load(Acquire) == UNKNOWN {
        set_up();
    }
    match LEVEL.load(Acquire) {
        // Another thread is reading the environment.
        UNKNOWN => level <= Level::Warn,
        now => level as u8 <= now,
    }
}

/// Reports that something will not work as the program expects.
#[cold]
pub fn warn(what: fmt::Arguments) {
    report(Level::Warn, "warning: ", what);
}

/// Reports why nothing works. A process reports the same text once.
#[cold]
pub fn error(what: fmt::Arguments) {
    if wants(Level::Error) && is_first(what) {
        report(Level::Error, "error: ", what);
    }
}

/// Reports an event of this process.
#[cold]
pub fn info(what: fmt::Arguments) {
    report(Level::Info, "", what);
}

fn report(level: Level, kind: &str, what: fmt::Arguments) {
    line(level, |line| {
        let _ = line.write_str(kind).and_then(|()| line.write_fmt(what));
    });
}

/// Writes a line of a level; `write` supplies its text.
#[cold]
pub fn line(level: Level, write: impl FnOnce(&mut Line)) {
    if !wants(level) {
        return;
    }
    preserving_errno(|| {
        // On a terminal a warning stands alone. In a file it is one of many lines, which carry a
        // time.
        let mut line = if level <= Level::Warn && output::is_stderr() {
            let mut line = Line::new();
            let _ = line.write_str("quintet: ");
            line
        } else {
            stamped()
        };
        write(&mut line);
        output::put(&mut line);
    });
}

/// Returns a line that begins with the process, the thread and the time (UTC).
pub fn stamped() -> Line {
    let mut line = Line::new();
    let (pid, tid) = (rustix::process::getpid().as_raw_nonzero(), rustix::thread::gettid().as_raw_nonzero());
    let _ = write!(line, "quintet[{pid}");
    if tid != pid {
        let _ = write!(line, "/{tid}");
    }
    let now = clock_gettime(ClockId::Realtime);
    let second = now.tv_sec.rem_euclid(24 * 60 * 60);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let _ = write!(line, "] {hour:02}:{minute:02}:{second:02}.{:06} ", now.tv_nsec / 1000);
    line
}

/// Reports that the program has called a function that changes its credentials.
#[cold]
pub fn changed_credentials(function: &str, ret: c_int) {
    line(Level::Info, |line| {
        let _ = if ret == -1 {
            write!(line, "{function} failed")
        } else {
            let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            write!(line, "{function}: the effective user id is now {user}, the group id {group}")
        };
    });
}

/// Returns `true` the first time that a process reports this text. (A vfork child marks it for its
/// parent, too.)
fn is_first(what: fmt::Arguments) -> bool {
    const MOST: usize = 16;
    static REPORTED: [AtomicU64; MOST] = [const { AtomicU64::new(0) }; MOST];
    let mut hash = Fnv1a(0xcbf2_9ce4_8422_2325);
    let _ = hash.write_fmt(what);
    for reported in &REPORTED {
        match reported.compare_exchange(0, hash.0, Relaxed, Relaxed) {
            Ok(_) => return true,
            Err(known) if known == hash.0 => return false,
            Err(_) => {}
        }
    }
    false
}

struct Fnv1a(u64);

impl Write for Fnv1a {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).max(1);
        }
        Ok(())
    }
}

/// Reads the environment, once.
#[cold]
fn set_up() {
    static BEGUN: AtomicBool = AtomicBool::new(false);
    if BEGUN.swap(true, AcqRel) {
        return;
    }
    output::remember_stderr();
    preserving_errno(|| {
        let name_fits = variable(c"QUINTET_LOG_FILE").is_none_or(output::set_file);
        let wanted = variable(c"QUINTET_LOG");
        let known = wanted.map(|name| Level::NAMES.iter().find(|known| known.0 == name));
        let level = known.flatten().map_or(Level::Warn, |known| known.1);
        LEVEL.store(level as u8, Release);
        if !name_fits {
            let most = output::NAME;
            warn(format_args!("QUINTET_LOG_FILE is longer than {most} bytes and is not used; choose a shorter name"));
        }
        if let (Some(name), Some(None)) = (wanted, known) {
            warn(format_args!("there is no QUINTET_LOG={}; use off, error, warn, info or debug", Bytes(name)));
        }
    });
    // After a panic the level must not stay unknown.
    let _ = LEVEL.compare_exchange(UNKNOWN, Level::Warn as u8, Release, Relaxed);
}

/// Returns the value of a variable that is set and not empty. A program that has gained privileges
/// ignores its environment: its caller must not choose where it writes.
fn variable(name: &CStr) -> Option<&'static [u8]> {
    // SAFETY: a number; then a NUL-terminated name.
    let value: *const c_char =
        unsafe { if libc::getauxval(libc::AT_SECURE) != 0 { std::ptr::null() } else { libc::getenv(name.as_ptr()) } };
    // SAFETY: null, or a NUL-terminated string that is used before the program can change it.
    (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) }.to_bytes()).filter(|value| !value.is_empty())
}

/// Returns the monotonic time in nanoseconds.
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}
