//! System calls without the C library.
//!
//! # Safety
//!
//! The caller of [`system_call`] upholds the contract of the system call.
#![allow(unsafe_code)]

use crate::base::errno::set_errno;
use libc::c_long;
use syscalls::Sysno;

/// Makes a system call. Returns its value, or -1 with `errno` set, as the C library's `syscall`
/// does.
///
/// # Safety
///
/// As the system call.
pub unsafe fn system_call(call: Sysno, arguments: [usize; 6]) -> c_long {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the caller upholds the contract.
    match unsafe { syscalls::syscall6(call, a, b, c, d, e, f) } {
        Ok(value) => value as c_long,
        Err(error) => {
            set_errno(error.into_raw());
            -1
        }
    }
}
