//! The program's pointers, which may be wrong: the kernel is asked before they are used, unless it has been
//! asked before and nothing can have changed ([`known`]).
//!
//! # Safety
//!
//! The system calls here read or write the program's memory and say `EFAULT` where it is not there.
#![allow(unsafe_code)]

use crate::known::{self, Access, PAGE};
use libc::{c_char, c_void, iovec};
use quintet::Errno;
use std::mem::MaybeUninit;

fn last_error() -> Errno {
    Errno::from_raw(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EFAULT))
}

/// Whether a range is known to be readable.
#[inline(always)]
pub fn is_known_readable(start: *const c_void, len: usize) -> bool {
    known::allows(start as usize, len, Access::Read)
}

/// Whether a range is known to be writable.
#[inline(always)]
pub fn is_known_writable(start: *const c_void, len: usize) -> bool {
    known::allows(start as usize, len, Access::Write)
}

/// Whether the range can be read.
#[cold]
pub fn ask_readable(start: *const c_void, len: usize) -> Result<(), Errno> {
    let start = start as usize;
    let end = start.checked_add(len).ok_or(Errno::FAULT)?;
    let mut at = start & !(PAGE - 1);
    while at < end {
        if !can_read(at.max(start)) {
            return Err(Errno::FAULT);
        }
        at = at.checked_add(PAGE).ok_or(Errno::FAULT)?;
    }
    known::learn(start, len, Access::Read);
    Ok(())
}

/// Whether the page of this address can be read: a signal mask is fetched from there, for an action that does not exist.
/// Nothing that only reads is cheaper.
fn can_read(at: usize) -> bool {
    // All in one page; and null would be no mask.
    let at = (at & !7).max(8);
    const NO_ACTION: libc::c_long = -1;
    const NO_OLD_MASK: libc::c_long = 0;
    const MASK_LEN: libc::c_long = 8;
    // SAFETY: numbers, and a pointer that the kernel checks; no mask is set.
    let ret = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, NO_ACTION, at, NO_OLD_MASK, MASK_LEN) };
    ret != -1 || last_error() != Errno::FAULT
}

/// Fills bytes of ours from the program.
pub fn read_bytes(from: *const c_void, to: &mut [MaybeUninit<u8>]) -> Result<(), Errno> {
    if !known::allows(from as usize, to.len(), Access::Read) {
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
    let bytes = iovec { iov_base: values.as_ptr().cast_mut().cast(), iov_len: size_of_val(values) };
    // SAFETY: the values are readable.
    unsafe { write_pieces(to.cast(), &[bytes]) }
}

/// Writes pieces of memory to the program, one after another.
///
/// # Safety
///
/// The pieces can be read. (Others may write there meanwhile; then it is not said what is copied.)
pub unsafe fn write_pieces(to: *mut c_void, pieces: &[iovec]) -> Result<(), Errno> {
    let len = pieces.iter().map(|piece| piece.iov_len).sum();
    if !known::allows(to as usize, len, Access::Write) {
        if copy_out(to, pieces, len)? {
            known::learn(to as usize, len, Access::Write);
            return Ok(());
        }
        if to.is_null() {
            return Err(Errno::FAULT);
        }
    }
    let mut to = to.cast::<u8>();
    for piece in pieces {
        // SAFETY: all of it could be written before, and what it is part of is still there. Or the C contract of the call,
        // unchecked as the sandbox wants it.
        unsafe { std::ptr::copy_nonoverlapping(piece.iov_base.cast::<u8>(), to, piece.iov_len) };
        to = to.wrapping_add(piece.iov_len);
    }
    Ok(())
}

/// Copies from this process to itself. `false`: a sandbox forbids that call, and plain copying must do.
fn copy_out(to: *mut c_void, pieces: &[iovec], len: usize) -> Result<bool, Errno> {
    let theirs = iovec { iov_base: to, iov_len: len };
    let (ours, count) = (pieces.as_ptr(), pieces.len() as libc::c_ulong);
    let (call, one, flags) = (libc::SYS_process_vm_writev, 1 as libc::c_ulong, 0 as libc::c_ulong);
    // SAFETY: `ours` is only read; `theirs` is checked by the kernel.
    let n = unsafe { libc::syscall(call, libc::getpid(), ours, count, &raw const theirs, one, flags) };
    if n == len as libc::c_long {
        return Ok(true);
    }
    match last_error() {
        Errno::PERM | Errno::NOSYS if n == -1 => Ok(false),
        _ => Err(Errno::FAULT),
    }
}

/// The caller's effective user id, if the whole of `*buffer` can be written. It costs one system call for both:
/// the kernel writes the (uninteresting) saved user id to the end of the buffer, which `IPC_STAT` fills in any case.
///
/// Where that is known already, a cheaper call does.
pub fn euid_if_writable<T>(buffer: *mut T) -> Result<u32, Errno> {
    let (start, len) = (buffer as usize, size_of::<T>());
    if known::allows(start, len, Access::Write) {
        // SAFETY: takes nothing and cannot fail.
        return Ok(unsafe { libc::syscall(libc::SYS_geteuid) } as u32);
    }
    let end = start.checked_add(len).ok_or(Errno::FAULT)?;
    let euid = euid_to((end - 4) as *mut u32)?;
    // Most buffers lie in one page; else the first one must be there, too.
    if start >> 12 != (end - 1) >> 12 {
        euid_to(start as *mut u32)?;
    }
    known::learn(start, len, Access::Write);
    Ok(euid)
}

fn euid_to(probe: *mut u32) -> Result<u32, Errno> {
    let (mut ruid, mut euid) = (0u32, 0u32);
    // SAFETY: two locals, and a pointer that the kernel checks.
    let ret = unsafe { libc::syscall(libc::SYS_getresuid, &raw mut ruid, &raw mut euid, probe) };
    if ret == 0 { Ok(euid) } else { Err(Errno::FAULT) }
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
