//! What the program does to its memory without us: it ends, or unmaps a segment by hand.
//!
//! # Safety
//!
//! The exported functions have the C library's contracts and make the same system calls.
#![allow(unsafe_code)]

use libc::{c_int, c_void, size_t};
use quintet::drop_in;
use std::panic::catch_unwind;

/// _exit(2)
#[unsafe(no_mangle)]
pub extern "C" fn _exit(status: c_int) -> ! {
    let _ = catch_unwind(crate::proc::at_exit);
    let _ = catch_unwind(drop_in::at_exit);
    loop {
        // SAFETY: numbers only.
        unsafe { libc::syscall(libc::SYS_exit_group, status) };
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
    let ret = unsafe { libc::syscall(libc::SYS_munmap, address, len) } as c_int;
    if ret == 0 {
        let _ = catch_unwind(|| drop_in::unmapped(address as usize, len));
    }
    ret
}
