//! Access to the program's memory. A pointer of the program may be bad. The kernel is therefore
//! asked before the pointer is used, unless [`page_cache`] has an answer that is still valid.
//!
//! The question is asked with `futex`, page by page. A program that restricts its system calls
//! (seccomp) allows `futex`, because its C library needs it; hardly any other suitable call is
//! allowed. Neither question sleeps, wakes a thread or changes a byte.
//!
//! | question | operation | answers |
//! |---|---|---|
//! | is it readable? | `FUTEX_CMP_REQUEUE` of no waiters | 0, `EAGAIN`; `EFAULT` |
//! | is it writable? | `FUTEX_WAKE_OP`, which atomically adds 0 to the word | 0; `EFAULT` |
//!
//! # Safety
//!
//! These system calls fail with `EFAULT` where memory is missing, also beyond the end of a mapped
//! file. Memory that is readable or writable stays so for the duration of the call if the program
//! keeps to the C contract.
#![allow(unsafe_code)]

use crate::base::page_cache::{self, Access, PAGE};
use libc::{c_char, c_int, c_void};
use quintet::Errno;
use std::mem::MaybeUninit;

fn last_error() -> Errno {
    Errno::from_raw(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EFAULT))
}

/// Returns `true` if a range is known to be readable.
#[inline(always)]
pub fn is_known_readable(start: *const c_void, len: usize) -> bool {
    page_cache::allows(start as usize, len, Access::Read)
}

/// Returns `true` if a range is known to be writable.
#[inline(always)]
pub fn is_known_writable(start: *const c_void, len: usize) -> bool {
    page_cache::allows(start as usize, len, Access::Write)
}

/// Asks the kernel whether the range is readable; fails with `EFAULT` if not.
#[cold]
pub fn ask_readable(start: *const c_void, len: usize) -> Result<(), Errno> {
    ask(start as usize, len, Access::Read)
}

/// Asks the kernel whether the range is writable; fails with `EFAULT` if not.
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

/// Asks about the page of this address. If a sandbox forbids `futex` or this operation, the answer
/// is unknown; then every pointer outside the first page is accepted.
fn page_allows(at: usize, access: Access) -> bool {
    // An aligned word lies in one page.
    let word = at & !3;
    const NO_WAITER: c_int = 0;
    let (operation, argument) = match access {
        Access::Read => (libc::FUTEX_CMP_REQUEUE, 0),
        Access::Write => (libc::FUTEX_WAKE_OP, ADD_NOTHING),
    };
    // SAFETY: numbers, and a pointer that the kernel checks.
    let ret = unsafe {
        libc::syscall(libc::SYS_futex, word, operation | libc::FUTEX_PRIVATE_FLAG, NO_WAITER, NO_WAITER, word, argument)
    };
    match ret {
        -1 => match last_error() {
            Errno::FAULT => false,
            Errno::AGAIN => true,
            _ => at >= PAGE,
        },
        _ => true,
    }
}

/// `FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, -2048)`. The kernel wakes one waiter even for a
/// count of zero if the comparison holds, so the comparison is one that hardly ever does. (A
/// program with waiters of its own in a buffer that it passes must expect spurious wakeups in any
/// case.)
const ADD_NOTHING: c_int = 1 << 28 | 0x800;

/// Copies bytes from the program.
pub fn read_bytes(from: *const c_void, to: &mut [MaybeUninit<u8>]) -> Result<(), Errno> {
    if !is_known_readable(from, to.len()) {
        ask_readable(from, to.len())?;
    }
    // SAFETY: the whole range is readable, and the program keeps it so for the duration of the
    // call.
    unsafe { std::ptr::copy_nonoverlapping(from.cast(), to.as_mut_ptr(), to.len()) };
    Ok(())
}

/// Reads a plain C structure, of integers only, from the program.
pub fn read<T: Copy>(from: *const T) -> Result<T, Errno> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the bytes of a local, which may be uninitialized.
    let bytes = unsafe { std::slice::from_raw_parts_mut(value.as_mut_ptr().cast::<MaybeUninit<u8>>(), size_of::<T>()) };
    read_bytes(from.cast(), bytes)?;
    // SAFETY: fully written, and integers have no invalid values.
    Ok(unsafe { value.assume_init() })
}

/// Writes a plain C structure to the program.
pub fn write<T: Copy>(to: *mut T, value: &T) -> Result<(), Errno> {
    write_all(to, std::slice::from_ref(value))
}

/// Writes an array of plain C structures to the program.
pub fn write_all<T: Copy>(to: *mut T, values: &[T]) -> Result<(), Errno> {
    let len = size_of_val(values);
    ensure_writable(to.cast(), len)?;
    // SAFETY: the value is a local, and the program's range is writable. The pointer need not be
    // aligned.
    unsafe { std::ptr::copy_nonoverlapping(values.as_ptr().cast::<u8>(), to.cast::<u8>(), len) };
    Ok(())
}

/// Makes sure that the range is writable; asks the kernel only if that is not known.
#[inline(always)]
pub fn ensure_writable(to: *mut c_void, len: usize) -> Result<(), Errno> {
    if is_known_writable(to, len) { Ok(()) } else { ask_writable(to, len) }
}

/// Returns the inode and the minor device number of a file, for `ftok`.
pub fn inode_and_device(path: *const c_char) -> Result<(u64, u32), Errno> {
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: a local of the right type, and a path that the kernel checks.
    let ret = unsafe { libc::syscall(libc::SYS_statx, libc::AT_FDCWD, path, 0, libc::STATX_INO, stat.as_mut_ptr()) };
    if ret != 0 {
        return Err(last_error());
    }
    // SAFETY: zeroes are valid, and the kernel has filled the structure.
    let stat = unsafe { stat.assume_init() };
    Ok((stat.stx_ino, stat.stx_dev_minor))
}
