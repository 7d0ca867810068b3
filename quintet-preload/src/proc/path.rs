//! Which path is which file.
//!
//! # Safety
//!
//! A path that the kernel has just read ends with a NUL; the program leaves it alone during the call, as it must for the kernel.
#![allow(unsafe_code)]

use crate::base::preload_api::ProcFile;
use crate::proc::descriptor::target;
use libc::{c_char, c_int};
use rustix::fs::{PROC_SUPER_MAGIC, fstatfs};
use rustix::process::getcwd;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The path, if its last component is the name of one of the files.
///
/// # Safety
///
/// The kernel has read the path.
#[inline(always)]
pub unsafe fn candidate<'a>(path: *const c_char) -> Option<&'a [u8]> {
    // A sandbox's filter may have refused the call before anything was read.
    if path.is_null() {
        return None;
    }
    // SAFETY: the caller's.
    let path = unsafe { CStr::from_ptr(path) }.to_bytes();
    let may_be = matches!(path.last(), Some(b'm' | b'g' | b'x' | b'l' | b'i' | b'd' | b'b'));
    if may_be && is_name(path) { Some(path) } else { None }
}

fn is_name(path: &[u8]) -> bool {
    const LONGEST: usize = "/shm_rmid_forced".len();
    let end = &path[path.len().saturating_sub(LONGEST)..];
    let name = end.rsplit(|byte| *byte == b'/').next().unwrap_or(end);
    // They all begin like this; most names do not.
    matches!(name, [b's' | b'm', ..])
        && ProcFile::ALL.iter().any(|file| file.path().as_bytes().rsplit(|byte| *byte == b'/').next() == Some(name))
}

/// The file that a path leads to which the kernel has not read yet.
pub fn unseen_file(path: *const c_char) -> Option<ProcFile> {
    let mut bytes = Vec::new();
    while bytes.len() < libc::PATH_MAX as usize {
        match crate::base::user::read(path.wrapping_add(bytes.len())).ok()? as u8 {
            0 => return file(libc::AT_FDCWD, &bytes, None),
            byte => bytes.push(byte),
        }
    }
    None
}

/// The file that a path leads to, from a directory or the current one; `opened` is what the kernel has found there.
pub fn file(directory: c_int, path: &[u8], opened: Option<BorrowedFd<'_>>) -> Option<ProcFile> {
    if !is_name(path) {
        return None;
    }
    by_name(directory, path).or_else(|| by_descriptor(opened?))
}

/// By what is written.
fn by_name(directory: c_int, path: &[u8]) -> Option<ProcFile> {
    let from = match path.first()? {
        b'/' => Vec::new(),
        _ if directory == libc::AT_FDCWD => getcwd(Vec::new()).ok()?.into_bytes(),
        _ => target(directory)?,
    };
    let mut all: Vec<&[u8]> = Vec::new();
    for component in from.split(|byte| *byte == b'/').chain(path.split(|byte| *byte == b'/')) {
        match component {
            b"" | b"." => {}
            // To go up from a link is to go up from where it leads; `self` leads to a neighbour.
            b".." => drop(all.pop()),
            name => all.push(name),
        }
    }
    let [b"proc", below @ ..] = all.as_slice() else { return None };
    ProcFile::ALL.into_iter().find(|file| file.path().split('/').map(str::as_bytes).eq(below.iter().copied()))
}

/// By what was found, wherever proc(5) is mounted and whatever links lead there.
fn by_descriptor(opened: BorrowedFd<'_>) -> Option<ProcFile> {
    if fstatfs(opened).ok()?.f_type != PROC_SUPER_MAGIC {
        return None;
    }
    let path = target(opened.as_raw_fd())?;
    let is = |file: &ProcFile| path.strip_suffix(file.path().as_bytes()).is_some_and(|before| before.ends_with(b"/"));
    ProcFile::ALL.into_iter().find(is)
}
