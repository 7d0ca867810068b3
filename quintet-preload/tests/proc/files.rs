//! System calls and streams on the files.
//!
//! # Safety
//!
//! See the crate.
#![allow(unsafe_code)]

use crate::support::errno;
use libc::{O_RDONLY, c_char, c_int};
use std::ffi::CStr;

pub const SHMMNI: &CStr = c"/proc/sys/kernel/shmmni";
pub const SEM: &CStr = c"/proc/sys/kernel/sem";
pub const LIST: &CStr = c"/proc/sysvipc/shm";

/// Returns the value of a call, or the error number.
pub fn outcome(ret: isize) -> Result<isize, c_int> {
    if ret >= 0 { Ok(ret) } else { Err(errno()) }
}

pub fn open(path: &CStr, flags: c_int) -> Result<c_int, c_int> {
    // SAFETY: see the module.
    outcome(unsafe { libc::open(path.as_ptr(), flags, 0o600) } as isize).map(|fd| fd as c_int)
}

pub fn close(fd: c_int) {
    // SAFETY: a number.
    assert_eq!(unsafe { libc::close(fd) }, 0);
}

pub fn write(fd: c_int, text: &[u8]) -> Result<isize, c_int> {
    // SAFETY: see the module.
    outcome(unsafe { libc::write(fd, text.as_ptr().cast(), text.len()) })
}

pub fn position(fd: c_int) -> isize {
    // SAFETY: numbers.
    unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) as isize }
}

pub fn read(fd: c_int) -> Result<String, c_int> {
    let mut buffer = [0u8; 4096];
    // SAFETY: see the module.
    let len = outcome(unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) })?;
    Ok(String::from_utf8_lossy(&buffer[..len as usize]).into_owned())
}

/// Returns the contents of a file.
pub fn text(path: &CStr) -> Result<String, c_int> {
    let fd = open(path, O_RDONLY)?;
    let text = read(fd);
    close(fd);
    text
}

pub type Stream = *mut libc::FILE;

pub fn stream(path: &CStr, mode: &CStr) -> Stream {
    // SAFETY: see the module.
    unsafe { libc::fopen(path.as_ptr(), mode.as_ptr()) }
}

pub fn put(stream: Stream, text: &CStr) {
    // SAFETY: an open stream.
    assert!(unsafe { libc::fputs(text.as_ptr(), stream) } >= 0);
}

pub fn line(stream: Stream) -> String {
    let mut buffer = [0 as c_char; 100];
    // SAFETY: an open stream, and a buffer of that length.
    unsafe {
        let read = libc::fgets(buffer.as_mut_ptr(), 100, stream);
        if read.is_null() { String::new() } else { CStr::from_ptr(read).to_str().unwrap().to_owned() }
    }
}

unsafe extern "C" {
    pub static mut stdout: Stream;
    pub fn freopen64(path: *const c_char, mode: *const c_char, stream: Stream) -> Stream;
    pub fn dprintf(fd: c_int, format: *const c_char, ...) -> c_int;
}
