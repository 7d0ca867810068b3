//! Streams (`FILE`) on emulated files.
//!
//! The descriptor of a stream is replaced beneath it. The C library writes to it with internal
//! calls that cannot be intercepted. The data is therefore applied when the stream is flushed or
//! closed, and an error is reported there, as with the kernel's file.
//!
//! # Safety
//!
//! See the module above. A stream is passed on to the C library, which knows whether it is valid.
//! The exception is the word of its flags, see [`set_error`].
#![allow(unsafe_code)]

use crate::base::cancel::deferred_call;
use crate::base::errno::{errno, missing, set_errno};
use crate::base::next::Next;
use crate::base::preload_api::ProcFile;
use crate::proc::errors::{may_be_missed, no_file};
use crate::proc::{descriptor, install, path, writable};
use libc::{AT_FDCWD, EOF, FILE, c_char, c_int};
use quintet::Errno;
use rustix::fs::{self, OFlags};
use rustix::io::{FdFlags, fcntl_getfd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, Ordering::*};

type Path = *const c_char;
type Open = unsafe extern "C-unwind" fn(Path, *const c_char) -> *mut FILE;
type Reopen = unsafe extern "C-unwind" fn(Path, *const c_char, *mut FILE) -> *mut FILE;
type End = unsafe extern "C-unwind" fn(*mut FILE) -> c_int;

// SAFETY: the C library's prototype.
static FOPEN: Next<Open> = unsafe { Next::new(c"fopen") };
// SAFETY: as above.
static FOPEN64: Next<Open> = unsafe { Next::new(c"fopen64") };
// SAFETY: as above.
static FREOPEN: Next<Reopen> = unsafe { Next::new(c"freopen") };
// SAFETY: as above.
static FREOPEN64: Next<Reopen> = unsafe { Next::new(c"freopen64") };
// SAFETY: as above.
static FFLUSH: Next<End> = unsafe { Next::new(c"fflush") };
// SAFETY: as above.
static FCLOSE: Next<End> = unsafe { Next::new(c"fclose") };

unsafe extern "C" {
    static stdout: *mut FILE;
}

/// Resolves the next library's functions.
pub fn at_load() {
    FOPEN.resolve();
    FOPEN64.resolve();
    FREOPEN.resolve();
    FREOPEN64.resolve();
    FFLUSH.resolve();
    FCLOSE.resolve();
}

/// The C library opens this instead of a file that the kernel does not have, so that it evaluates
/// the mode.
const ANYTHING: Path = c"/dev/null".as_ptr();

/// Replaces the descriptor of a stream that was just opened. Closes the stream if that fails.
///
/// # Safety
///
/// The stream is open.
unsafe fn replace_descriptor(stream: *mut FILE, file: ProcFile, before: c_int) -> *mut FILE {
    let done = deferred_call(-1, || {
        // SAFETY: the caller upholds the contract.
        let fd = unsafe { libc::fileno(stream) };
        let open = descriptor::borrow(fd).ok_or(Errno::BADF)?;
        let cloexec = fcntl_getfd(open)?.contains(FdFlags::CLOEXEC);
        let flags = fs::fcntl_getfl(open)? & (OFlags::ACCMODE | OFlags::NONBLOCK);
        install::put(file, if cloexec { flags | OFlags::CLOEXEC } else { flags }, fd).map_err(no_file)?;
        writable::set_stream(fd, stream);
        Ok(0)
    });
    if done == 0 {
        set_errno(before);
        return stream;
    }
    let error = errno();
    if let Some(real) = FCLOSE.get() {
        // SAFETY: the stream is open, and the program has not seen it.
        unsafe { real(stream) };
    }
    set_errno(error);
    null_mut()
}

/// Returns the file that a stream was opened for.
fn file_of(path: &[u8], stream: *mut FILE) -> Option<ProcFile> {
    // SAFETY: the stream was just opened.
    let fd = if stream.is_null() { -1 } else { unsafe { libc::fileno(stream) } };
    std::panic::catch_unwind(|| path::file(AT_FDCWD, path, descriptor::borrow(fd))).ok().flatten()
}

/// # Safety
///
/// As the C function.
#[inline(always)]
unsafe fn open(real: Option<Open>, path: Path, mode: *const c_char) -> *mut FILE {
    let Some(real) = real else { return missing(null_mut()) };
    let before = errno();
    // SAFETY: the caller's contract is the same.
    let stream = unsafe { real(path, mode) };
    if stream.is_null() && !may_be_missed(errno()) {
        return stream;
    }
    // SAFETY: a call that opens a file, or finds none, has read its path.
    let Some(candidate) = (unsafe { path::candidate(path) }) else { return stream };
    let Some(file) = file_of(candidate, stream) else { return stream };
    // SAFETY: the caller's contract is the same.
    let stream = if stream.is_null() { unsafe { real(ANYTHING, mode) } } else { stream };
    // SAFETY: just opened.
    if stream.is_null() { stream } else { unsafe { replace_descriptor(stream, file, before) } }
}

/// # Safety
///
/// As the C function.
#[inline(always)]
unsafe fn reopen(real: Option<Reopen>, path: Path, mode: *const c_char, stream: *mut FILE) -> *mut FILE {
    let Some(real) = real else { return missing(null_mut()) };
    let before = errno();
    // A stream that cannot be reopened is closed, so the path is checked before.
    let file = if path.is_null() { None } else { std::panic::catch_unwind(|| path::unseen_file(path)).ok().flatten() };
    if writable::any() && !stream.is_null() {
        // SAFETY: the caller's contract is the same.
        let _ = unsafe { flush(stream) };
    }
    // SAFETY: the caller's contract is the same.
    let stream = unsafe { real(if file.is_some() { ANYTHING } else { path }, mode, stream) };
    match file {
        // SAFETY: just opened.
        Some(file) if !stream.is_null() => unsafe { replace_descriptor(stream, file, before) },
        _ => stream,
    }
}

/// Flushes a stream and applies its data. Returns `EOF` with `errno` set if the data is refused.
///
/// # Safety
///
/// The stream is open.
unsafe fn flush(stream: *mut FILE) -> c_int {
    let Some(real) = FFLUSH.get() else { return missing(EOF) };
    // SAFETY: the caller upholds the contract.
    let (flushed, fd) = unsafe { (real(stream), libc::fileno(stream)) };
    if flushed != 0 || deferred_call(-1, || writable::apply(fd).map(|()| 0)) == 0 {
        return flushed;
    }
    set_error(stream);
    EOF
}

/// Sets the stream's error flag, as after a failed write. Shells check it.
fn set_error(stream: *mut FILE) {
    const ERROR: c_int = 0x20;
    // SAFETY: the first word of a stream is its flags, and this is the error flag. Macros of
    // glibc's `<bits/stdio.h>` compile it into programs, and musl uses the same.
    unsafe { AtomicI32::from_ptr(stream.cast()) }.fetch_or(ERROR, Relaxed);
}

/// Flushes the streams of emulated files, and the standard output.
pub fn flush_all() {
    // Forget streams that were closed without an intercepted call.
    writable::tidy();
    for stream in writable::streams() {
        // SAFETY: the descriptor of the stream is open, so the stream is.
        unsafe { flush(stream) };
    }
    // SAFETY: the C library's variable, which is a stream or null.
    unsafe {
        if !stdout.is_null() && writable::file(libc::fileno(stdout)).is_some() {
            flush(stdout);
        }
    }
}

/// fopen(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn fopen(path: Path, mode: *const c_char) -> *mut FILE {
    // SAFETY: the caller's contract is the same.
    unsafe { open(FOPEN.get(), path, mode) }
}

/// fopen(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn fopen64(path: Path, mode: *const c_char) -> *mut FILE {
    // SAFETY: the caller's contract is the same.
    unsafe { open(FOPEN64.get(), path, mode) }
}

/// fopen(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn freopen(path: Path, mode: *const c_char, stream: *mut FILE) -> *mut FILE {
    // SAFETY: the caller's contract is the same.
    unsafe { reopen(FREOPEN.get(), path, mode, stream) }
}

/// fopen(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn freopen64(path: Path, mode: *const c_char, stream: *mut FILE) -> *mut FILE {
    // SAFETY: the caller's contract is the same.
    unsafe { reopen(FREOPEN64.get(), path, mode, stream) }
}

/// fflush(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn fflush(stream: *mut FILE) -> c_int {
    let Some(real) = FFLUSH.get() else { return missing(EOF) };
    if !writable::any() {
        // SAFETY: the caller's contract is the same.
        return unsafe { real(stream) };
    }
    if stream.is_null() {
        // SAFETY: the caller's contract is the same.
        let ret = unsafe { real(stream) };
        flush_all();
        return ret;
    }
    // SAFETY: the caller's contract is the same.
    unsafe { flush(stream) }
}

/// fclose(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn fclose(stream: *mut FILE) -> c_int {
    let Some(real) = FCLOSE.get() else { return missing(EOF) };
    // SAFETY: the caller's contract is the same.
    if stream.is_null() || !writable::any() || writable::file(unsafe { libc::fileno(stream) }).is_none() {
        // SAFETY: as above.
        return unsafe { real(stream) };
    }
    // SAFETY: as above.
    let (flushed, fd) = unsafe { (flush(stream), libc::fileno(stream)) };
    let error = errno();
    writable::set_stream(fd, null_mut());
    // SAFETY: as above.
    let closed = unsafe { real(stream) };
    writable::tidy();
    if flushed == 0 {
        return closed;
    }
    set_errno(error);
    flushed
}
