//! glibc's own `dlsym`, which the library exports under the same name and therefore finds by its
//! version with `dlvsym`.
//!
//! # Safety
//!
//! `dlvsym` gets NUL-terminated strings. Whatever the name `dlsym` resolves to has the type of
//! `dlsym`.
#![allow(unsafe_code)]

use libc::{c_char, c_void};
use std::ffi::CStr;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering::*};

/// glibc's `dlsym`. Null until [`resolve`] has run.
pub static DLSYM: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

type Dlsym = unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void;

/// Resolves `dlsym` if that has not been done.
pub fn resolve() {
    if DLSYM.load(Acquire).is_null() {
        DLSYM.store(find_by_version(c"dlsym"), Release);
    }
}

/// Finds a function by its symbol version: the current one, or the one of the first glibc for each
/// architecture.
fn find_by_version(name: &CStr) -> *mut c_void {
    const VERSIONS: [&CStr; 6] = [c"GLIBC_2.34", c"GLIBC_2.2.5", c"GLIBC_2.17", c"GLIBC_2.4", c"GLIBC_2.0", c"GLIBC_2.27"];
    let find = |version: &&CStr| {
        // SAFETY: NUL-terminated strings.
        let found = unsafe { libc::dlvsym(libc::RTLD_NEXT, name.as_ptr(), version.as_ptr()) };
        (!found.is_null()).then_some(found)
    };
    VERSIONS.iter().find_map(find).unwrap_or(null_mut())
}

/// Calls glibc's `dlsym` on behalf of this library. Returns null if it has not been resolved.
pub fn real_dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void {
    let real = DLSYM.load(Acquire);
    if real.is_null() {
        return null_mut();
    }
    // SAFETY: what was found under this name has this type.
    unsafe { std::mem::transmute::<*mut c_void, Dlsym>(real)(handle, name) }
}

/// Returns the next library's symbol of this name, or null.
pub fn find_next(name: &CStr) -> *mut c_void {
    resolve();
    real_dlsym(libc::RTLD_NEXT, name.as_ptr())
}
