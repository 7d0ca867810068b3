//! The drop-in: the C library's System V IPC calls, carried to Quintet.
//!
//! Each exported function is one call of the engine. `errno` is set as the kernel sets it, and left alone on
//! success; a pointer that faults gives `EFAULT`; no panic gets out.
//!
//! Further functions of the C library are exported only to tell the engine of them, and go on to the next library's: what
//! changes a process's rights, what leaves a call by a jump, what puts another program in its place.
//!
//! # Safety
//!
//! The functions have the C library's signatures and contracts. Pointers of the program are never
//! dereferenced before the kernel has been asked whether they can be.
#![allow(unsafe_code)]

mod cancel;
mod credentials;
#[cfg(all(target_env = "gnu", any(all(target_arch = "x86_64", target_pointer_width = "64"), target_arch = "aarch64")))]
mod dlopen;
mod environment;
mod exec;
#[cfg(any(all(target_arch = "x86_64", target_pointer_width = "64"), target_arch = "aarch64"))]
mod execl;
mod exit;
mod jump;
mod known;
mod load;
mod log;
mod msg;
mod next;
mod pages;
mod proc;
mod room;
mod root;
mod sem;
mod shm;
mod spawn;
mod strings;
mod syscall;
mod trace;
mod truncation;
mod user;

use libc::{c_char, c_int, key_t};
use quintet::{Errno, Key};
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `shmctl`, `semctl` and `msgctl` have in common, beyond what the `libc` crate knows.
const IPC_INFO: c_int = 3;

/// `errno` of the calling thread.
fn errno() -> c_int {
    // SAFETY: the location is valid for the thread's life.
    unsafe { *libc::__errno_location() }
}

/// Sets `errno` of the calling thread.
fn set_errno(value: c_int) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = value }
}

/// The outcome of a call that this C library does not have.
fn missing<T>(failed: T) -> T {
    set_errno(libc::ENOSYS);
    failed
}

/// Runs an exported call: its value, or `failed` with `errno` set.
#[inline(always)]
fn c_call<T: Copy>(failed: T, call: impl Fn() -> Result<T, Errno>) -> T {
    cancel::export(|_| carry_out(failed, &call))
}

#[inline(never)]
fn carry_out<T>(failed: T, call: impl FnOnce() -> Result<T, Errno>) -> T {
    carry(failed, call)
}

/// The same within an exported call.
#[inline(always)]
fn carry<T>(failed: T, call: impl FnOnce() -> Result<T, Errno>) -> T {
    attempt(call).unwrap_or_else(|e| {
        set_errno(e.raw());
        failed
    })
}

/// Runs a call; `errno` is what it was before.
#[inline(always)]
fn attempt<T>(call: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    let before = errno();
    let outcome = catch_unwind(AssertUnwindSafe(call)).unwrap_or(Err(Errno::IO));
    set_errno(before);
    outcome
}

/// ftok(3)
///
/// # Safety
///
/// As the C function; a bad pointer gives `EFAULT`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ftok(pathname: *const c_char, proj_id: c_int) -> key_t {
    let call = || {
        let (inode, dev_minor) = user::inode_and_device(pathname)?;
        Ok(Key::from_parts(inode, dev_minor, proj_id).raw())
    };
    trace::traced_call(call, |line| write!(line, "ftok({}, {proj_id}", trace::PathName(pathname)), trace::nothing)
}
