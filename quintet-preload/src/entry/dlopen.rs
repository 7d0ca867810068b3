//! Libraries that the program loads at run time, and functions that it looks up.
//!
//! `RTLD_DEEPBIND` (used for PHP's extensions, for example) makes a library prefer its own
//! dependencies, such as the C library, to libraries that were loaded before. That flag is cleared.
//! The bindings of many languages look up a call in the C library itself. If the call is
//! intercepted, they get the function of this library.
//!
//! The real functions identify their caller by the return address, and search accordingly. They are
//! therefore jumped to, not called. Two paths are left alone: `dlvsym`, with which the real `dlsym`
//! is found, and `dlmopen`. A link map of its own has its own C library.
//!
//! # Safety
//!
//! The naked functions forward their arguments in the registers in which they arrived, and keep the
//! stack aligned for their own calls.
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

/// The next library's functions, or null before they are resolved.
static DLOPEN: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static DLMOPEN: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// Resolves the next library's functions.
pub fn at_load() {
    dlsym::resolve();
    DLOPEN.store(real_dlsym(libc::RTLD_NEXT, c"dlopen".as_ptr()), Release);
    DLMOPEN.store(real_dlsym(libc::RTLD_NEXT, c"dlmopen".as_ptr()), Release);
}

/// Clears the flag in its register and jumps to the real function. A library that is initialized
/// before this one may call before the function is resolved. In that case the function is resolved
/// now, and the argument registers are preserved meanwhile.
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
        "call {replacement}",
        "add rsp, 8",
        "pop rsi",
        "pop rdi",
        "test rax, rax",
        "jz 2f",
        "ret",
        "2:",
        "jmp qword ptr [rip + {real}]",
        replacement = sym replacement,
        real = sym DLSYM,
    );
    #[cfg(target_arch = "aarch64")]
    naked_asm!(
        "stp x29, x30, [sp, #-32]!",
        "stp x0, x1, [sp, #16]",
        "bl {replacement}",
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
        replacement = sym replacement,
        real = sym DLSYM,
    );
}

extern "C" fn load_early() {
    at_load();
}

/// The intercepted calls, by the names under which they are looked up.
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

/// Returns the function of this library that replaces the C library's function of this name, or
/// null if the real lookup applies.
unsafe extern "C" fn replacement(handle: *mut c_void, name: *const c_char) -> *mut c_void {
    if DLSYM.load(Acquire).is_null() {
        at_load();
    }
    // A caller that asks for the next function wraps the call, and the default search order finds
    // this library's function first.
    if name.is_null() || handle == libc::RTLD_NEXT || handle == libc::RTLD_DEFAULT {
        return null_mut();
    }
    // SAFETY: the real function would read the name, too.
    let name = unsafe { CStr::from_ptr(name) };
    if name == c"syscall" {
        let found = real_dlsym(handle, name.as_ptr());
        return if syscall::is_next(found) { syscall::syscall as *mut c_void } else { null_mut() };
    }
    let Some((_, replacement)) = CALLS.iter().find(|(call, _)| *call == name) else { return null_mut() };
    let found = real_dlsym(handle, name.as_ptr());
    // Usually the next function is the C library's. Otherwise another library stands in between.
    let is_of_c_library = !found.is_null()
        && (found == real_dlsym(libc::RTLD_NEXT, name.as_ptr()) || image(found) == image(libc::__errno_location as *mut c_void));
    if is_of_c_library { replacement.cast_mut().cast() } else { null_mut() }
}

/// Returns the base address of the library that contains an address.
fn image(address: *mut c_void) -> *mut c_void {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: a local of the right type, for which zeroes are valid.
    unsafe {
        libc::dladdr(address, info.as_mut_ptr());
        info.assume_init().dli_fbase
    }
}
