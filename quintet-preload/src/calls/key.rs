//! `ftok`.
//!
//! # Safety
//!
//! The function has the C library's type. The kernel checks the pointer.
#![allow(unsafe_code)]

use crate::base::user;
use crate::log::arguments::PathName;
use crate::log::trace::{nothing, observed_call};
use libc::{c_char, c_int, key_t};
use quintet::Key;
use std::fmt::Write;

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
    observed_call(call, |line| write!(line, "ftok({}, {proj_id}", PathName(pathname)), nothing)
}
