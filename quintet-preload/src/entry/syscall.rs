//! `syscall(2)`. Calls that are intercepted by name are intercepted by number, too. Any other
//! number jumps to the C library's function with registers, stack and return address unchanged.
//!
//! A number that changes credentials is reported to the engine. A number that executes a program,
//! ends the process or unmaps memory is handled by the module of the function of that name.
//!
//! # Safety
//!
//! The naked function changes only registers that a call may clobber. [`intercepted`] gets the
//! arguments of the C function as words, and interprets them by the number, as the kernel does.
#![allow(unsafe_code)]

use crate::base::errno::{errno, missing};
use crate::base::next;
use crate::base::raw::system_call;
use crate::base::user;
use crate::calls::{msg, sem, shm};
use crate::proc;
use crate::proc::write::{Gathered, Place};
use crate::process::{credentials, exec, exit, root};
#[cfg(target_arch = "x86_64")]
use libc::{AT_FDCWD, O_CREAT, O_TRUNC, O_WRONLY};
use libc::{c_int, c_long};
use quintet::Errno;
use std::arch::naked_asm;
use std::ffi::c_void;
use std::sync::atomic::{AtomicPtr, Ordering::*};
use syscalls::Sysno;

/// The intercepted numbers, one bit each.
static INTERCEPTED: [u64; WORDS] = bits(&NUMBERS);
const WORDS: usize = 8;
const LIMIT: usize = 64 * WORDS;

/// Numbers that only some architectures have: `open`, `creat`, `access`. Elsewhere these are only C
/// functions.
#[cfg(target_arch = "x86_64")]
const OLD: [c_long; 3] = [libc::SYS_open, libc::SYS_creat, libc::SYS_access];
#[cfg(not(target_arch = "x86_64"))]
const OLD: [c_long; 3] = [libc::SYS_openat; 3];

const NUMBERS: [c_long; 37] = [
    OLD[0],
    OLD[1],
    OLD[2],
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_write,
    libc::SYS_pwrite64,
    libc::SYS_writev,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmdt,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_exit_group,
    libc::SYS_munmap,
];

const fn bits(numbers: &[c_long]) -> [u64; WORDS] {
    let (mut bits, mut index) = ([0; WORDS], 0);
    while index < numbers.len() {
        let number = numbers[index] as usize;
        bits[number / 64] |= 1 << (number % 64);
        index += 1;
    }
    bits
}

/// The next library's `syscall`, or null before it is resolved.
static REAL: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

/// Resolves the next library's function.
pub fn at_load() {
    REAL.store(next::find(c"syscall"), Release);
}

/// Returns `true` if this is the real `syscall`. Only the glibc build calls this.
#[cfg_attr(not(target_env = "gnu"), allow(dead_code))]
pub fn is_next(function: *mut c_void) -> bool {
    !function.is_null() && function == REAL.load(Acquire)
}

/// syscall(2)
///
/// # Safety
///
/// As the C function.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(number: c_long) -> c_long {
    naked_asm!(
        // The kernel uses only the low 32 bits of the number.
        "cmp edi, {limit}",
        "jae 2f",
        "mov eax, edi",
        "lea r11, [rip + {numbers}]",
        "bt qword ptr [r11], rax",
        "jc 3f",
        "2:",
        "mov rax, qword ptr [rip + {real}]",
        "test rax, rax",
        "jz 3f",
        "jmp rax",
        "3:",
        "jmp {intercepted}",
        limit = const LIMIT,
        numbers = sym INTERCEPTED,
        real = sym REAL,
        intercepted = sym intercepted,
    )
}

/// syscall(2)
///
/// # Safety
///
/// As the C function.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(number: c_long) -> c_long {
    naked_asm!(
        "cmp w0, #{limit}",
        "b.hs 2f",
        "adrp x9, {numbers}",
        "add x9, x9, :lo12:{numbers}",
        "ubfx x10, x0, #6, #26",
        "ldr x11, [x9, x10, lsl #3]",
        "lsr x11, x11, x0",
        "tbnz x11, #0, 3f",
        "2:",
        "adrp x16, {real}",
        "ldr x16, [x16, :lo12:{real}]",
        "cbz x16, 3f",
        "br x16",
        "3:",
        "b {intercepted}",
        limit = const LIMIT,
        numbers = sym INTERCEPTED,
        real = sym REAL,
        intercepted = sym intercepted,
    )
}

/// As [`system_call`], for a call that changes credentials.
unsafe fn change_credentials(call: Sysno, arguments: [usize; 6]) -> c_long {
    // SAFETY: the caller upholds the contract.
    credentials::report_change(call.name(), || unsafe { system_call(call, arguments) } as c_int).into()
}

/// As [`system_call`], for a call that opens a path, which may be an emulated file.
unsafe fn open(call: Sysno, arguments: [usize; 6], directory: c_int, path: usize, flags: c_int) -> c_long {
    let before = errno();
    // SAFETY: the caller upholds the contract.
    unsafe {
        let fd = system_call(call, arguments) as c_int;
        proc::open::after(directory, path as _, flags, before, fd).into()
    }
}

/// As [`system_call`], for a call that checks access to such a path.
unsafe fn access(call: Sysno, arguments: [usize; 6], directory: c_int, path: usize, mode: c_int) -> c_long {
    let before = errno();
    // SAFETY: the caller upholds the contract.
    unsafe {
        let ret = system_call(call, arguments) as c_int;
        proc::access::after(directory, path as _, mode, before, ret).into()
    }
}

/// As [`system_call`], for a call that writes to a descriptor, which may be one of an emulated
/// file.
unsafe fn write(call: Sysno, arguments: [usize; 6], pieces: &dyn Fn(&mut Gathered) -> Result<(), Errno>, place: Place) -> c_long {
    match proc::write::to_file(arguments[0] as c_int, pieces, place) {
        Some(done) => done as c_long,
        // SAFETY: the caller upholds the contract.
        None => unsafe { system_call(call, arguments) },
    }
}

type Real = unsafe extern "C-unwind" fn(c_long, ...) -> c_long;

unsafe extern "C-unwind" fn intercepted(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long {
    let all = [a, b, c, d, e, f];
    // SAFETY: the caller of syscall(2) has passed the arguments of this number.
    unsafe {
        // The kernel uses only the low 32 bits.
        match c_long::from(number as i32) {
            libc::SYS_shmget => shm::shmget(a as _, b, c as c_int).into(),
            libc::SYS_shmat => shm::shmat(a as c_int, b as _, c as c_int) as c_long,
            libc::SYS_shmdt => shm::shmdt(a as _).into(),
            libc::SYS_shmctl => shm::shmctl(a as c_int, command(b), c as _).into(),
            libc::SYS_semget => sem::semget(a as _, b as c_int, c as c_int).into(),
            libc::SYS_semop => sem::semop(a as c_int, b as _, c).into(),
            libc::SYS_semtimedop => sem::semtimedop(a as c_int, b as _, c, d as _).into(),
            libc::SYS_semctl => sem::semctl(a as c_int, b as c_int, command(c), d).into(),
            libc::SYS_msgget => msg::msgget(a as _, b as c_int).into(),
            libc::SYS_msgsnd => msg::msgsnd(a as c_int, b as _, c, d as c_int).into(),
            libc::SYS_msgrcv => msg::msgrcv(a as c_int, b as _, c, d as c_long, e as c_int) as c_long,
            libc::SYS_msgctl => msg::msgctl(a as c_int, command(b), c as _).into(),
            libc::SYS_setuid => change_credentials(Sysno::setuid, all),
            libc::SYS_setgid => change_credentials(Sysno::setgid, all),
            libc::SYS_setreuid => change_credentials(Sysno::setreuid, all),
            libc::SYS_setregid => change_credentials(Sysno::setregid, all),
            libc::SYS_setresuid => change_credentials(Sysno::setresuid, all),
            libc::SYS_setresgid => change_credentials(Sysno::setresgid, all),
            libc::SYS_setgroups => change_credentials(Sysno::setgroups, all),
            libc::SYS_capset => change_credentials(Sysno::capset, all),
            libc::SYS_unshare => change_credentials(Sysno::unshare, all),
            libc::SYS_setns => change_credentials(Sysno::setns, all),
            libc::SYS_chroot => root::by_number(a as _).into(),
            libc::SYS_execve => exec::by_number(a as _, b as _, c as _).into(),
            libc::SYS_execveat => exec::at_by_number(a as c_int, b as _, c as _, d as _, e as c_int).into(),
            libc::SYS_exit_group => exit::by_number(a as c_int),
            libc::SYS_munmap => exit::munmap_by_number(a as _, b).into(),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open => open(Sysno::open, all, AT_FDCWD, a, b as c_int),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_creat => open(Sysno::creat, all, AT_FDCWD, a, O_CREAT | O_WRONLY | O_TRUNC),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_access => access(Sysno::access, all, AT_FDCWD, a, b as c_int),
            libc::SYS_openat => open(Sysno::openat, all, a as c_int, b, c as c_int),
            // The first word of `struct open_how` is the flags.
            libc::SYS_openat2 => open(Sysno::openat2, all, a as c_int, b, user::read(c as *const u64).unwrap_or(0) as c_int),
            libc::SYS_faccessat => access(Sysno::faccessat, all, a as c_int, b, c as c_int),
            libc::SYS_faccessat2 => access(Sysno::faccessat2, all, a as c_int, b, c as c_int),
            libc::SYS_write => write(Sysno::write, all, &|to| to.add(b as _, c), Place::Current),
            libc::SYS_pwrite64 => write(Sysno::pwrite64, all, &|to| to.add(b as _, c), Place::At(d as i64)),
            libc::SYS_writev => write(Sysno::writev, all, &|to| to.add_all(b as _, c as c_int), Place::Current),
            _ => {
                // The function has not been resolved yet.
                at_load();
                let real = REAL.load(Acquire);
                if real.is_null() {
                    return missing(-1);
                }
                std::mem::transmute::<*mut c_void, Real>(real)(number, a, b, c, d, e, f)
            }
        }
    }
}

/// Returns the command of a control call. On architectures with two versions of the structures, a
/// bit of the command selects the newer one.
fn command(word: usize) -> c_int {
    const IPC_64: c_int = if cfg!(any(target_arch = "x86", target_arch = "arm")) { 0x100 } else { 0 };
    word as c_int & !IPC_64
}
