//! `errno` of the calling thread.
//!
//! # Safety
//!
//! The C library's location of `errno` is valid for the life of the calling thread.
#![allow(unsafe_code)]

/// Returns `errno` of the calling thread.
pub fn errno() -> i32 {
    // SAFETY: the location is valid for the life of the thread.
    unsafe { *libc::__errno_location() }
}

/// Sets `errno` of the calling thread.
pub fn set_errno(value: i32) {
    // SAFETY: the location is valid for the life of the thread.
    unsafe { *libc::__errno_location() = value }
}
