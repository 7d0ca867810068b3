//! The program's pointers, which may be wrong: the kernel is asked before they are used.
//!
//! # Safety
//!
//! The system calls here read or write the program's memory and say `EFAULT` where it is not there.
#![allow(unsafe_code)]

use libc::{c_char, c_void};
use quintet::Errno;
use std::cell::Cell;
use std::mem::MaybeUninit;

fn last_error() -> Errno {
    Errno::from_raw(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EFAULT))
}

/// Copies between this process and itself. Where a sandbox forbids that call, plain copying must do.
fn copy(call: libc::c_long, ours: *mut c_void, theirs: *mut c_void, len: usize) -> Result<bool, Errno> {
    let ours = libc::iovec { iov_base: ours, iov_len: len };
    let theirs = libc::iovec { iov_base: theirs, iov_len: len };
    let one = 1 as libc::c_ulong;
    // SAFETY: `ours` is a local of `len` bytes; `theirs` is checked by the kernel.
    let n = unsafe { libc::syscall(call, libc::getpid(), &raw const ours, one, &raw const theirs, one, 0 as libc::c_ulong) };
    if n == len as libc::c_long {
        return Ok(true);
    }
    match last_error() {
        Errno::PERM | Errno::NOSYS if n == -1 => Ok(false),
        _ => Err(Errno::FAULT),
    }
}

/// Writes a plain C structure to the program.
pub fn write<T: Copy>(to: *mut T, value: &T) -> Result<(), Errno> {
    let mut value = *value;
    if !copy(libc::SYS_process_vm_writev, (&raw mut value).cast(), to.cast(), size_of::<T>())? {
        if to.is_null() {
            return Err(Errno::FAULT);
        }
        // SAFETY: the C contract of the call, unchecked as the sandbox wants it.
        unsafe { to.write_unaligned(value) };
    }
    Ok(())
}

/// Reads a plain C structure, of integers only, from the program.
pub fn read<T: Copy>(from: *const T) -> Result<T, Errno> {
    let mut value = MaybeUninit::<T>::zeroed();
    if !copy(libc::SYS_process_vm_readv, value.as_mut_ptr().cast(), from.cast_mut().cast(), size_of::<T>())? {
        if from.is_null() {
            return Err(Errno::FAULT);
        }
        // SAFETY: the C contract of the call, unchecked as the sandbox wants it.
        return Ok(unsafe { from.read_unaligned() });
    }
    // SAFETY: wholly written by the kernel, and integers have no invalid values.
    Ok(unsafe { value.assume_init() })
}

thread_local! {
    /// A page in which a buffer of this thread was found writable.
    static WRITABLE: Cell<usize> = const { Cell::new(0) };
}

/// How far above the stack pointer a buffer counts as being on the stack.
const STACK_REACH: usize = 32 << 10;

/// The caller's effective user id, if the whole of `*buffer` can be written. It costs one system call for both:
/// the kernel writes the (uninteresting) saved user id to the end of the buffer, which `IPC_STAT` fills in any case.
///
/// A page of the stack in use that could be written once still can be, and a cheaper call does.
pub fn euid_if_writable<T>(buffer: *mut T) -> Result<u32, Errno> {
    let start = buffer as usize;
    let end = start.checked_add(size_of::<T>()).ok_or(Errno::FAULT)?;
    let (first, last) = (start >> 12, (end - 1) >> 12);
    let here = (&raw const first) as usize;
    let on_stack = start > here && start - here < STACK_REACH;
    if on_stack && first == last && WRITABLE.get() == first {
        // SAFETY: takes nothing and cannot fail.
        return Ok(unsafe { libc::syscall(libc::SYS_geteuid) } as u32);
    }
    let euid = euid_to((end - 4) as *mut u32)?;
    // Most buffers lie in one page; else the first one must be there, too.
    if first == last {
        WRITABLE.set(first);
    } else {
        euid_to(start as *mut u32)?;
    }
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
