//! `stat` and related functions where the kernel has no such file: the result is that of the
//! kernel's file.
//!
//! # Safety
//!
//! See the module above. `struct stat` and `struct statx` are plain integers.
#![allow(unsafe_code)]

use crate::base::cancel::deferred_call;
use crate::base::errno::{errno, missing, set_errno};
use crate::base::next::next_functions;
use crate::base::preload_api::{self, ProcFile};
use crate::base::user;
use crate::proc::errors::{may_be_missed, no_file};
use crate::proc::path;
use libc::{AT_FDCWD, c_char, c_int, c_uint};
use quintet::{Errno, Limits};
use rustix::time::{ClockId, Timespec, clock_gettime};

type Path = *const c_char;

/// The result of a call: `struct stat` or `struct statx`.
pub trait Status: Copy {
    /// Returns the status of an emulated file.
    fn of(file: ProcFile, now: Timespec) -> Self;
}

const BLOCK: u32 = 1024;

fn mode(file: ProcFile) -> u32 {
    libc::S_IFREG | file.mode()
}

impl Status for libc::stat {
    fn of(file: ProcFile, now: Timespec) -> libc::stat {
        // SAFETY: zeroes are valid.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        stat.st_mode = mode(file);
        stat.st_nlink = 1;
        stat.st_blksize = BLOCK as _;
        (stat.st_atime, stat.st_mtime, stat.st_ctime) = (now.tv_sec as _, now.tv_sec as _, now.tv_sec as _);
        stat
    }
}

impl Status for libc::statx {
    fn of(file: ProcFile, now: Timespec) -> libc::statx {
        // SAFETY: zeroes are valid.
        let mut stat: libc::statx = unsafe { std::mem::zeroed() };
        stat.stx_mask = libc::STATX_BASIC_STATS;
        stat.stx_mode = mode(file) as u16;
        stat.stx_nlink = 1;
        stat.stx_blksize = BLOCK;
        for time in [&mut stat.stx_atime, &mut stat.stx_mtime, &mut stat.stx_ctime] {
            time.tv_sec = now.tv_sec as _;
        }
        stat
    }
}

/// Corrects the result of a call that asks for a path's status. `before` is `errno` before the
/// call.
///
/// # Safety
///
/// The call used this path, and has set `errno` if `ret` is -1.
#[inline(always)]
pub unsafe fn after<T: Status>(directory: c_int, path: Path, to: *mut T, before: c_int, ret: c_int) -> c_int {
    if ret == 0 || !may_be_missed(errno()) {
        return ret;
    }
    // SAFETY: a call that finds no file has read its path.
    match unsafe { path::candidate(path) } {
        None => ret,
        Some(path) => provide(directory, path, to, before),
    }
}

#[cold]
#[inline(never)]
fn provide<T: Status>(directory: c_int, path: &[u8], to: *mut T, before: c_int) -> c_int {
    let error = Errno::from_raw(errno());
    let ret = deferred_call(-1, || {
        let file = path::file(directory, path, None).ok_or(error)?;
        // Without a usable namespace there is no file.
        let _: (Limits, u32) = preload_api::shm_limits().map_err(no_file)?;
        user::write(to, &T::of(file, clock_gettime(ClockId::Realtime)))?;
        Ok(0)
    });
    if ret == 0 {
        set_errno(before);
    }
    ret
}

macro_rules! stats {
    ($($name:ident($($arg:ident: $type:ty),*) in $directory:expr, $path:expr, $to:expr;)*) => {
        next_functions! { $($name: unsafe extern "C" fn($($type),*) -> c_int;)* }

        $(
            #[doc = concat!("`", stringify!($name), "`: stat(2)")]
            ///
            /// # Safety
            ///
            /// As the C function.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($arg: $type),*) -> c_int {
                let Some(real) = next::$name.get() else { return missing(-1) };
                let before = errno();
                // SAFETY: the caller's contract is the same.
                let ret = unsafe { real($($arg),*) };
                // SAFETY: the call used this path.
                unsafe { after($directory, $path, $to, before, ret) }
            }
        )*
    };
}

type Stat = *mut libc::stat;

// On the supported 64-bit architectures a `stat64` is a `stat`. The names that begin with `__` are
// those that programs compiled before glibc 2.33 use.
stats! {
    stat(path: Path, to: Stat) in AT_FDCWD, path, to;
    stat64(path: Path, to: Stat) in AT_FDCWD, path, to;
    lstat(path: Path, to: Stat) in AT_FDCWD, path, to;
    lstat64(path: Path, to: Stat) in AT_FDCWD, path, to;
    fstatat(directory: c_int, path: Path, to: Stat, flags: c_int) in directory, path, to;
    fstatat64(directory: c_int, path: Path, to: Stat, flags: c_int) in directory, path, to;
    __xstat(version: c_int, path: Path, to: Stat) in AT_FDCWD, path, to;
    __xstat64(version: c_int, path: Path, to: Stat) in AT_FDCWD, path, to;
    __lxstat(version: c_int, path: Path, to: Stat) in AT_FDCWD, path, to;
    __lxstat64(version: c_int, path: Path, to: Stat) in AT_FDCWD, path, to;
    __fxstatat(version: c_int, directory: c_int, path: Path, to: Stat, flags: c_int) in directory, path, to;
    __fxstatat64(version: c_int, directory: c_int, path: Path, to: Stat, flags: c_int) in directory, path, to;
    statx(directory: c_int, path: Path, flags: c_int, mask: c_uint, to: *mut libc::statx) in directory, path, to;
}
