//! Threads that are cancelled in these calls.
//!
//! # Safety
//!
//! See the crate.
#![allow(unsafe_code)]

use crate::compare::compare;
use crate::files::{SHMMNI, Stream, text};
use crate::support::until;
use libc::{O_RDONLY, O_WRONLY, c_char, c_int, c_void};
use std::ptr::null_mut;

// A cancelled thread is unwound out of these.
unsafe extern "C-unwind" {
    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    fn write(fd: c_int, from: *const c_void, len: usize) -> isize;
    fn fopen(path: *const c_char, mode: *const c_char) -> Stream;
    fn pthread_create(to: *mut libc::pthread_t, attributes: *const c_void, start: Start, argument: *mut c_void) -> c_int;
}
unsafe extern "C" {
    fn pthread_cancel(thread: libc::pthread_t) -> c_int;
}

type Start = unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void;

unsafe extern "C-unwind" fn opens(_: *mut c_void) -> *mut c_void {
    // SAFETY: a literal.
    unsafe { open(c"fifo".as_ptr(), O_RDONLY) as usize as *mut c_void }
}

unsafe extern "C-unwind" fn opens_a_stream(_: *mut c_void) -> *mut c_void {
    // SAFETY: literals.
    unsafe { fopen(c"fifo".as_ptr(), c"r".as_ptr()).cast() }
}

unsafe extern "C-unwind" fn writes(to: *mut c_void) -> *mut c_void {
    // SAFETY: a static.
    while unsafe { write(to as usize as c_int, [0u8; 4096].as_ptr().cast(), 4096) } > 0 {}
    null_mut()
}

/// Cancels a thread that waits in `start`. Returns `true` if it was cancelled.
fn cancelled(start: Start, argument: usize) -> bool {
    let mut thread = 0;
    let before = tasks();
    // SAFETY: a local; the thread is joined.
    unsafe {
        assert_eq!(pthread_create(&raw mut thread, std::ptr::null(), start, argument as *mut c_void), 0);
        until("it sleeps", || {
            let new: Vec<_> = tasks().into_iter().filter(|task| !before.contains(task)).collect();
            new.len() == 1 && state(&new[0]) == Some('S')
        });
        assert_eq!(pthread_cancel(thread), 0);
        let mut value = null_mut();
        assert_eq!(libc::pthread_join(thread, &raw mut value), 0);
        value as isize == -1
    }
}

fn tasks() -> Vec<String> {
    let all = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Returns the state of a task as in proc(5).
fn state(task: &str) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{task}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[test]
fn threads() {
    compare("cancelled::threads", |found| {
        // SAFETY: literals and numbers.
        unsafe { assert_eq!(libc::mkfifo(c"fifo".as_ptr(), 0o600), 0) };
        let (_reader, writer) = std::io::pipe().unwrap();
        let writer = std::os::fd::AsRawFd::as_raw_fd(&writer) as usize;
        found.add("in open", cancelled(opens, 0));
        found.add("in fopen", cancelled(opens_a_stream, 0));
        found.add("in write", cancelled(writes, writer));
        // Again while an emulated file is open.
        let fd = crate::files::open(SHMMNI, O_WRONLY).unwrap();
        found.add("in write", cancelled(writes, writer));
        found.add("a file", (crate::files::write(fd, b"5"), text(SHMMNI)));
    });
}
