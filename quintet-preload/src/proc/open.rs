//! `open` and related functions.
//!
//! # Safety
//!
//! See the module above. The mode, which a caller may omit, is forwarded as it arrives: in a
//! register, by the calling conventions. The C library uses it only if the flags say that it is
//! present.
#![allow(unsafe_code)]

use crate::base::cancel::deferred_call;
use crate::base::errno::{errno, missing, set_errno};
use crate::base::next::next_functions;
use crate::proc::errors::{may_be_missed, no_file};
use crate::proc::{descriptor, install, path};
use libc::{AT_FDCWD, O_CREAT, O_TRUNC, O_WRONLY, c_char, c_int, mode_t};
use rustix::fs::OFlags;

/// Corrects the result of a call that opens a path: returns the descriptor for the program.
/// `before` is `errno` before the call.
///
/// # Safety
///
/// The call used this path, and has set `errno` if `ret` is -1.
#[inline(always)]
pub unsafe fn after(directory: c_int, path: *const c_char, flags: c_int, before: c_int, ret: c_int) -> c_int {
    if ret < 0 && !may_be_missed(errno()) {
        return ret;
    }
    // SAFETY: a call that opens a file, or finds none, has read its path.
    match unsafe { path::candidate(path) } {
        None => ret,
        Some(path) => replace(directory, path, flags, before, ret),
    }
}

#[cold]
#[inline(never)]
fn replace(directory: c_int, path: &[u8], flags: c_int, before: c_int, ret: c_int) -> c_int {
    let flags = OFlags::from_bits_retain(flags as u32);
    if flags.contains(OFlags::PATH) {
        return ret;
    }
    let made = deferred_call(Some(-1), || {
        let place = (ret >= 0).then_some(ret);
        let Some(file) = path::file(directory, path, place.and_then(descriptor::borrow)) else { return Ok(None) };
        install::open(file, flags, place).map(Some).map_err(no_file)
    });
    if made.is_some_and(|fd| fd >= 0) {
        set_errno(before);
    }
    made.unwrap_or(ret)
}

macro_rules! opens {
    ($($name:ident($($arg:ident: $type:ty),*) as $real:tt in $directory:expr, $path:expr, $flags:expr;)*) => {
        next_functions! { $($name: unsafe extern "C-unwind" fn $real -> c_int;)* }

        $(
            #[doc = concat!("`", stringify!($name), "`: open(2)")]
            ///
            /// # Safety
            ///
            /// As the C function.
            #[unsafe(no_mangle)]
            pub unsafe extern "C-unwind" fn $name($($arg: $type),*) -> c_int {
                let Some(real) = next::$name.get() else { return missing(-1) };
                let before = errno();
                // SAFETY: the caller's contract is the same.
                let ret = unsafe { real($($arg),*) };
                // SAFETY: the call used this path.
                unsafe { after($directory, $path, $flags, before, ret) }
            }
        )*
    };
}

type Path = *const c_char;

const CREATING: c_int = O_CREAT | O_WRONLY | O_TRUNC;

opens! {
    open(path: Path, flags: c_int, mode: mode_t) as (Path, c_int, ...) in AT_FDCWD, path, flags;
    open64(path: Path, flags: c_int, mode: mode_t) as (Path, c_int, ...) in AT_FDCWD, path, flags;
    __open(path: Path, flags: c_int, mode: mode_t) as (Path, c_int, ...) in AT_FDCWD, path, flags;
    __open64(path: Path, flags: c_int, mode: mode_t) as (Path, c_int, ...) in AT_FDCWD, path, flags;
    __open_2(path: Path, flags: c_int) as (Path, c_int) in AT_FDCWD, path, flags;
    __open64_2(path: Path, flags: c_int) as (Path, c_int) in AT_FDCWD, path, flags;
    openat(directory: c_int, path: Path, flags: c_int, mode: mode_t) as (c_int, Path, c_int, ...) in directory, path, flags;
    openat64(directory: c_int, path: Path, flags: c_int, mode: mode_t) as (c_int, Path, c_int, ...) in directory, path, flags;
    __openat_2(directory: c_int, path: Path, flags: c_int) as (c_int, Path, c_int) in directory, path, flags;
    __openat64_2(directory: c_int, path: Path, flags: c_int) as (c_int, Path, c_int) in directory, path, flags;
    creat(path: Path, mode: mode_t) as (Path, mode_t) in AT_FDCWD, path, CREATING;
    creat64(path: Path, mode: mode_t) as (Path, mode_t) in AT_FDCWD, path, CREATING;
}
