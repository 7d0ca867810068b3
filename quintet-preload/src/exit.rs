//! What the program does to its memory without us: it ends, or unmaps a segment by hand.
//!
//! # Safety
//!
//! The exported functions have the C library's contracts and make the same system calls.
#![allow(unsafe_code)]

use crate::syscall;
use libc::{c_int, c_void, size_t};
use quintet::drop_in;
use std::panic::catch_unwind;
use syscalls::Sysno;

/// _exit(2)
#[unsafe(no_mangle)]
pub extern "C" fn _exit(status: c_int) -> ! {
    let _ = catch_unwind(crate::proc::at_exit);
    let _ = catch_unwind(drop_in::at_exit);
    loop {
        // SAFETY: numbers only.
        unsafe { syscall::kernel(Sysno::exit_group, [status as usize, 0, 0, 0, 0, 0]) };
    }
}

/// _Exit(3)
#[unsafe(no_mangle)]
pub extern "C" fn _Exit(status: c_int) -> ! {
    _exit(status)
}

/// munmap(2)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn munmap(address: *mut c_void, len: size_t) -> c_int {
    // SAFETY: the caller's contract is the same.
    let ret = unsafe { syscall::kernel(Sysno::munmap, [address as usize, len, 0, 0, 0, 0]) } as c_int;
    if ret == 0 {
        let _ = catch_unwind(|| drop_in::unmapped(address as usize, len));
    }
    ret
}
