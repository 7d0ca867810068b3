//! Which path is which file.
//!
//! # Safety
//!
//! A path that the kernel has just read ends with a NUL. The program leaves it alone during the
//! call, as the kernel requires.
#![allow(unsafe_code)]

use crate::base::preload_api::ProcFile;
use crate::proc::descriptor::target;
use libc::{c_char, c_int};
use rustix::fs::{PROC_SUPER_MAGIC, fstatfs};
use rustix::process::getcwd;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Returns the path if its last component is the name of an emulated file.
#[inline(always)]
pub unsafe fn candidate<'a>(path: *const c_char) -> Option<&'a [u8]> {
    // A sandbox's filter may have refused the call before the path was read.
    if path.is_null() {
        return None;
    }
    // SAFETY: the kernel has read the path.
    let path = unsafe { CStr::from_ptr(path) }.to_bytes();
    let may_be = matches!(path.last(), Some(b'm' | b'g' | b'x' | b'l' | b'i' | b'd' | b'b'));
    if may_be && is_name(path) { Some(path) } else { None }
}

fn is_name(path: &[u8]) -> bool {
    const LONGEST: usize = "/shm_rmid_forced".len();
    let end = &path[path.len().saturating_sub(LONGEST)..];
    let name = end.rsplit(|byte| *byte == b'/').next().unwrap_or(end);
    // All the names begin like this, and most other names do not.
    matches!(name, [b's' | b'm', ..])
        && ProcFile::ALL.iter().any(|file| file.path().as_bytes().rsplit(|byte| *byte == b'/').next() == Some(name))
}

/// Returns the file of a path that the kernel has not read yet.
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

/// Returns the file of a path relative to a directory. `opened` is what the kernel found there.
pub fn file(directory: c_int, path: &[u8], opened: Option<BorrowedFd<'_>>) -> Option<ProcFile> {
    if !is_name(path) {
        return None;
    }
    by_name(directory, path).or_else(|| by_descriptor(opened?))
}

/// Finds the file by the text of the path.
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
            // `..` after a link refers to the parent of the link's target. `self` leads to a
            // sibling, so the textual parent is right.
            b".." => drop(all.pop()),
            name => all.push(name),
        }
    }
    let [b"proc", below @ ..] = all.as_slice() else { return None };
    ProcFile::ALL.into_iter().find(|file| file.path().split('/').map(str::as_bytes).eq(below.iter().copied()))
}

/// Finds the file by what the kernel opened, wherever proc(5) is mounted and whichever links lead
/// there.
fn by_descriptor(opened: BorrowedFd<'_>) -> Option<ProcFile> {
    if fstatfs(opened).ok()?.f_type != PROC_SUPER_MAGIC {
        return None;
    }
    let path = target(opened.as_raw_fd())?;
    let is = |file: &ProcFile| path.strip_suffix(file.path().as_bytes()).is_some_and(|before| before.ends_with(b"/"));
    ProcFile::ALL.into_iter().find(is)
}
