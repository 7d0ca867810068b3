//! Libraries that are loaded while the program runs, and functions that are looked up.
//!
//! With `RTLD_DEEPBIND` (PHP's extensions, for one) a library prefers what it was linked with, the C library, to what was
//! loaded before: that flag is cleared. And whoever looks a function up in the C library itself, as the bindings of many languages
//! do, gets ours, if it is a call that we carry.
//!
//! The real functions find out by the return address who calls them, and look accordingly; so they are
//! jumped to, not called. `dlvsym`, by which the real `dlsym` is found, is left alone, and so is a library in a link map of its own
//! (`dlmopen`), which has a C library of its own.
//!
//! # Safety
//!
//! The naked functions pass their arguments on in the registers they came in, and keep the stack aligned for the calls that they make.
#![allow(unsafe_code)]

use crate::base::dlsym::{self, DLSYM, real_dlsym};
use crate::calls::{msg, sem, shm};
use crate::entry::syscall;
use libc::{c_char, c_int, c_void};
use std::arch::naked_asm;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering::*};

/// The next library's functions. Null: not looked up yet.
static DLOPEN: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static DLMOPEN: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// Looks them up.
pub fn at_load() {
    dlsym::resolve();
    DLOPEN.store(real_dlsym(libc::RTLD_NEXT, c"dlopen".as_ptr()), Release);
    DLMOPEN.store(real_dlsym(libc::RTLD_NEXT, c"dlmopen".as_ptr()), Release);
}

/// Clears the flag in the register that it came in, and jumps to the real function, which a library that was set up before us finds not yet
/// looked up: then the registers that either function's arguments are in are kept while that is done.
#[cfg(target_arch = "x86_64")]
macro_rules! without_deepbind {
    ($flags:literal, $real:ident) => {
        naked_asm!(
            concat!("and ", $flags, ", {kept}"),
            "2:",
            "mov rax, qword ptr [rip + {real}]",
            "test rax, rax",
            "jz 3f",
            "jmp rax",
            "3:",
            "push rdi",
            "push rsi",
            "push rdx",
            "call {at_load}",
            "pop rdx",
            "pop rsi",
            "pop rdi",
            "jmp 2b",
            kept = const !libc::RTLD_DEEPBIND,
            real = sym $real,
            at_load = sym load_early,
        )
    };
}

#[cfg(target_arch = "aarch64")]
macro_rules! without_deepbind {
    ($flags:literal, $real:ident) => {
        naked_asm!(
            concat!("and ", $flags, ", ", $flags, ", #{kept}"),
            "2:",
            "adrp x16, {real}",
            "ldr x16, [x16, :lo12:{real}]",
            "cbz x16, 3f",
            "br x16",
            "3:",
            "stp x29, x30, [sp, #-48]!",
            "stp x0, x1, [sp, #16]",
            "str x2, [sp, #32]",
            "bl {at_load}",
            "ldr x2, [sp, #32]",
            "ldp x0, x1, [sp, #16]",
            "ldp x29, x30, [sp], #48",
            "b 2b",
            kept = const !libc::RTLD_DEEPBIND,
            real = sym $real,
            at_load = sym load_early,
        )
    };
}

/// dlopen(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void {
    #[cfg(target_arch = "x86_64")]
    without_deepbind!("esi", DLOPEN);
    #[cfg(target_arch = "aarch64")]
    without_deepbind!("w1", DLOPEN);
}

/// dlmopen(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlmopen(namespace: isize, name: *const c_char, flags: c_int) -> *mut c_void {
    #[cfg(target_arch = "x86_64")]
    without_deepbind!("edx", DLMOPEN);
    #[cfg(target_arch = "aarch64")]
    without_deepbind!("w2", DLMOPEN);
}

/// dlsym(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void {
    #[cfg(target_arch = "x86_64")]
    naked_asm!(
        "push rdi",
        "push rsi",
        "sub rsp, 8",
        "call {ours}",
        "add rsp, 8",
        "pop rsi",
        "pop rdi",
        "test rax, rax",
        "jz 2f",
        "ret",
        "2:",
        "jmp qword ptr [rip + {real}]",
        ours = sym ours,
        real = sym DLSYM,
    );
    #[cfg(target_arch = "aarch64")]
    naked_asm!(
        "stp x29, x30, [sp, #-32]!",
        "stp x0, x1, [sp, #16]",
        "bl {ours}",
        "mov x9, x0",
        "ldp x0, x1, [sp, #16]",
        "ldp x29, x30, [sp], #32",
        "cbz x9, 2f",
        "mov x0, x9",
        "ret",
        "2:",
        "adrp x16, {real}",
        "ldr x16, [x16, :lo12:{real}]",
        "br x16",
        ours = sym ours,
        real = sym DLSYM,
    );
}

extern "C" fn load_early() {
    at_load();
}

/// The calls that are carried, under the names by which they are looked up.
const CALLS: [(&CStr, *const ()); 12] = [
    (c"shmget", shm::shmget as *const ()),
    (c"shmat", shm::shmat as *const ()),
    (c"shmdt", shm::shmdt as *const ()),
    (c"shmctl", shm::shmctl as *const ()),
    (c"semget", sem::semget as *const ()),
    (c"semop", sem::semop as *const ()),
    (c"semtimedop", sem::semtimedop as *const ()),
    (c"semctl", sem::semctl as *const ()),
    (c"msgget", msg::msgget as *const ()),
    (c"msgsnd", msg::msgsnd as *const ()),
    (c"msgrcv", msg::msgrcv as *const ()),
    (c"msgctl", msg::msgctl as *const ()),
];

/// What is to be found under a name instead of the C library's function; null: what is really found.
unsafe extern "C" fn ours(handle: *mut c_void, name: *const c_char) -> *mut c_void {
    if DLSYM.load(Acquire).is_null() {
        at_load();
    }
    // Whoever asks for what comes next is one who wraps the call, and what comes first in the usual order is ours.
    if name.is_null() || handle == libc::RTLD_NEXT || handle == libc::RTLD_DEFAULT {
        return null_mut();
    }
    // SAFETY: the real function would read it, too.
    let name = unsafe { CStr::from_ptr(name) };
    if name == c"syscall" {
        let found = real_dlsym(handle, name.as_ptr());
        return if syscall::is_next(found) { syscall::syscall as *mut c_void } else { null_mut() };
    }
    let Some((_, ours)) = CALLS.iter().find(|(call, _)| *call == name) else { return null_mut() };
    let found = real_dlsym(handle, name.as_ptr());
    // Most often the C library comes next; else somebody stands between.
    let is_the_c_librarys = !found.is_null()
        && (found == real_dlsym(libc::RTLD_NEXT, name.as_ptr()) || image(found) == image(libc::__errno_location as *mut c_void));
    if is_the_c_librarys { ours.cast_mut().cast() } else { null_mut() }
}

/// The library that an address is in.
fn image(address: *mut c_void) -> *mut c_void {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: a local of the right type, for which zeroes are valid.
    unsafe {
        libc::dladdr(address, info.as_mut_ptr());
        info.assume_init().dli_fbase
    }
}
