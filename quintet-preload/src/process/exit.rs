//! The end of the process, and `munmap` of a segment.
//!
//! # Safety
//!
//! The exported functions have the C library's types and contracts. They forward their arguments to
//! the next library's functions, which a sanitizer may have replaced. Where there is none, they
//! make the same system calls.
#![allow(unsafe_code)]

use crate::base::next::Next;
use crate::base::preload_api;
use crate::base::raw;
use libc::{c_int, c_void, size_t};
use std::panic::catch_unwind;
use syscalls::Sysno;

// SAFETY: the C library's prototype.
static EXIT: Next<unsafe extern "C" fn(c_int) -> !> = unsafe { Next::new(c"_exit") };
// SAFETY: as above.
static EXIT_99: Next<unsafe extern "C" fn(c_int) -> !> = unsafe { Next::new(c"_Exit") };
// SAFETY: as above.
static MUNMAP: Next<unsafe extern "C" fn(*mut c_void, size_t) -> c_int> = unsafe { Next::new(c"munmap") };

/// Resolves the next library's functions.
pub fn at_load() {
    EXIT.resolve();
    EXIT_99.resolve();
    MUNMAP.resolve();
}

/// Ends the library's work in this process. Most programs have nothing to end.
#[inline(always)]
fn end() {
    if preload_api::has_opened() || crate::proc::writable::any() {
        end_slow();
    }
}

#[cold]
#[inline(never)]
fn end_slow() {
    let _ = catch_unwind(crate::proc::at_exit);
    let _ = catch_unwind(preload_api::at_exit);
}

/// `syscall(SYS_exit_group, ...)`
pub fn by_number(status: c_int) -> ! {
    end();
    loop {
        // SAFETY: the argument is a number.
        unsafe { raw::system_call(Sysno::exit_group, [status as usize, 0, 0, 0, 0, 0]) };
    }
}

/// _exit(2)
#[unsafe(no_mangle)]
// SAFETY: any section of code is valid. This one also contains what a child of `fork` runs.
#[unsafe(link_section = ".text.hot.quintet_fork")]
pub extern "C" fn _exit(status: c_int) -> ! {
    let Some(real) = EXIT.get() else { by_number(status) };
    end();
    // SAFETY: the argument is a number.
    unsafe { real(status) }
}

/// _Exit(3)
#[unsafe(no_mangle)]
pub extern "C" fn _Exit(status: c_int) -> ! {
    let Some(real) = EXIT_99.get() else { by_number(status) };
    end();
    // SAFETY: the argument is a number.
    unsafe { real(status) }
}

/// `syscall(SYS_munmap, ...)`
///
/// # Safety
///
/// As the system call.
pub unsafe fn munmap_by_number(address: *mut c_void, len: size_t) -> c_int {
    // SAFETY: the caller's contract is the same.
    let ret = unsafe { raw::system_call(Sysno::munmap, [address as usize, len, 0, 0, 0, 0]) } as c_int;
    report_unmapped(address, len, ret)
}

/// munmap(2)
///
/// # Safety
///
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn munmap(address: *mut c_void, len: size_t) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe {
        match MUNMAP.get() {
            Some(real) => report_unmapped(address, len, real(address, len)),
            None => munmap_by_number(address, len),
        }
    }
}

fn report_unmapped(address: *mut c_void, len: size_t, ret: c_int) -> c_int {
    if ret == 0 {
        let _ = catch_unwind(|| preload_api::note_unmapped(address as usize, len));
    }
    ret
}
