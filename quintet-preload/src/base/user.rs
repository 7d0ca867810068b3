//! The program's pointers, which may be wrong: the kernel is asked before they are used, unless it has been
//! asked before and nothing can have changed ([`page_cache`]).
//!
//! It is asked by `futex`, page by page: programs that lock themselves in (seccomp) allow that, because their C library needs it, and
//! hardly any other call that would do. Neither question sleeps, wakes anybody or changes a byte.
//!
//! | question | asked by | answers |
//! |---|---|---|
//! | can it be read? | `FUTEX_CMP_REQUEUE` of no sleepers, which reads the word to compare it | 0, `EAGAIN`; `EFAULT` |
//! | can it be written? | `FUTEX_WAKE_OP`, which adds 0 to the word, atomically | 0; `EFAULT` |
//!
//! # Safety
//!
//! The system calls here say `EFAULT` where memory is not there, also beyond the end of a mapped file. What can be read or written
//! remains so for the call's duration, if the program keeps to the C contract.
#![allow(unsafe_code)]

use crate::base::page_cache::{self, Access, PAGE};
use libc::{c_char, c_int, c_void};
use quintet::Errno;
use std::mem::MaybeUninit;

fn last_error() -> Errno {
    Errno::from_raw(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EFAULT))
}

/// Whether a range is known to be readable.
#[inline(always)]
pub fn is_known_readable(start: *const c_void, len: usize) -> bool {
    page_cache::allows(start as usize, len, Access::Read)
}

/// Whether a range is known to be writable.
#[inline(always)]
pub fn is_known_writable(start: *const c_void, len: usize) -> bool {
    page_cache::allows(start as usize, len, Access::Write)
}

/// Makes sure that the range can be read.
#[cold]
pub fn ask_readable(start: *const c_void, len: usize) -> Result<(), Errno> {
    ask(start as usize, len, Access::Read)
}

/// Makes sure that the range can be written.
#[cold]
fn ask_writable(start: *mut c_void, len: usize) -> Result<(), Errno> {
    ask(start as usize, len, Access::Write)
}

fn ask(start: usize, len: usize, access: Access) -> Result<(), Errno> {
    let end = start.checked_add(len).ok_or(Errno::FAULT)?;
    let mut at = start & !(PAGE - 1);
    while at < end {
        if !page_allows(at.max(start), access) {
            return Err(Errno::FAULT);
        }
        at = at.checked_add(PAGE).ok_or(Errno::FAULT)?;
    }
    page_cache::learn(start, len, access);
    Ok(())
}

/// Asks about the page of this address. A sandbox in which `futex` is forbidden (or that kind of it) cannot be asked: there the
/// pointer is believed, unless it is null.
fn page_allows(at: usize, access: Access) -> bool {
    // A word lies in one page.
    let word = at & !3;
    const NOBODY: c_int = 0;
    let (operation, argument) = match access {
        Access::Read => (libc::FUTEX_CMP_REQUEUE, 0),
        Access::Write => (libc::FUTEX_WAKE_OP, ADD_NOTHING),
    };
    // SAFETY: numbers, and a pointer that the kernel checks.
    let ret =
        unsafe { libc::syscall(libc::SYS_futex, word, operation | libc::FUTEX_PRIVATE_FLAG, NOBODY, NOBODY, word, argument) };
    match ret {
        -1 => match last_error() {
            Errno::FAULT => false,
            Errno::AGAIN => true,
            _ => at >= PAGE,
        },
        _ => true,
    }
}

/// `FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, -2048)`: even "wake nobody" would wake one, if the comparison held, so it is one that
/// hardly ever does. (A program whose own sleepers lie in a buffer that it passes has to expect that they wake up for no reason, as always.)
const ADD_NOTHING: c_int = 1 << 28 | 0x800;

/// Fills bytes of ours from the program.
pub fn read_bytes(from: *const c_void, to: &mut [MaybeUninit<u8>]) -> Result<(), Errno> {
    if !is_known_readable(from, to.len()) {
        ask_readable(from, to.len())?;
    }
    // SAFETY: all of it can be read; the program keeps it so for the call's duration, as it must for the kernel.
    unsafe { std::ptr::copy_nonoverlapping(from.cast(), to.as_mut_ptr(), to.len()) };
    Ok(())
}

/// Reads a plain C structure, of integers only, from the program.
pub fn read<T: Copy>(from: *const T) -> Result<T, Errno> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the bytes of a local, which may be uninitialised.
    let bytes = unsafe { std::slice::from_raw_parts_mut(value.as_mut_ptr().cast::<MaybeUninit<u8>>(), size_of::<T>()) };
    read_bytes(from.cast(), bytes)?;
    // SAFETY: wholly written, and integers have no invalid values.
    Ok(unsafe { value.assume_init() })
}

/// Writes a plain C structure to the program.
pub fn write<T: Copy>(to: *mut T, value: &T) -> Result<(), Errno> {
    write_all(to, std::slice::from_ref(value))
}

/// Writes an array of plain C structures to the program.
pub fn write_all<T: Copy>(to: *mut T, values: &[T]) -> Result<(), Errno> {
    let len = size_of_val(values);
    make_sure_writable(to.cast(), len)?;
    // SAFETY: both can be used, as was just found of one; it need not be aligned.
    unsafe { std::ptr::copy_nonoverlapping(values.as_ptr().cast::<u8>(), to.cast::<u8>(), len) };
    Ok(())
}

/// Makes sure that the range can be written; asks only if that is not known.
#[inline(always)]
pub fn make_sure_writable(to: *mut c_void, len: usize) -> Result<(), Errno> {
    if is_known_writable(to, len) { Ok(()) } else { ask_writable(to, len) }
}

/// What `ftok` needs of a file.
pub fn inode_and_device(path: *const c_char) -> Result<(u64, u32), Errno> {
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: a local of the right type, and a path that the kernel checks.
    let ret = unsafe { libc::syscall(libc::SYS_statx, libc::AT_FDCWD, path, 0, libc::STATX_INO, stat.as_mut_ptr()) };
    if ret != 0 {
        return Err(last_error());
    }
    // SAFETY: zeroes are valid, and the kernel has filled it.
    let stat = unsafe { stat.assume_init() };
    Ok((stat.stx_ino, stat.stx_dev_minor))
}
