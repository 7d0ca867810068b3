//! `execl`, `execlp`, `execle`: exec with the arguments one by one. The C library's versions call
//! an internal `execve` that cannot be intercepted.
//!
//! Stable Rust cannot define a variadic function. Each of these is therefore a few instructions
//! that store the argument registers. They pass on the address of the stored registers and that of
//! the arguments on the stack. The code depends on the architecture. On an architecture that is not
//! listed here, the C library's versions remain, and the adjustments of `SEM_UNDO` are applied at
//! the exec.
//!
//! # Safety
//!
//! The calling conventions are System V on x86-64 and AAPCS64 on aarch64. Both pass a variadic
//! pointer as they pass a named one, in order: in a register or in eight bytes of the stack. The
//! arguments end with a null pointer, which `execle` follows with the environment, so nothing
//! beyond them is read.
#![allow(unsafe_code)]

use crate::base::errno::set_errno;
use crate::base::scratch;
use crate::process::exec;
use libc::{c_char, c_int};
use std::arch::naked_asm;

/// The number of arguments after the first that arrive in registers.
#[cfg(target_arch = "x86_64")]
const REGISTERS: usize = 5;
#[cfg(target_arch = "aarch64")]
const REGISTERS: usize = 7;

/// Stores the registers below the arguments on the stack, and calls `$to` with the first argument
/// and both addresses.
#[cfg(target_arch = "x86_64")]
macro_rules! pass_on {
    ($to:path) => {
        naked_asm!(
            ".cfi_startproc",
            "sub rsp, 40",
            ".cfi_adjust_cfa_offset 40",
            "mov [rsp], rsi",
            "mov [rsp + 8], rdx",
            "mov [rsp + 16], rcx",
            "mov [rsp + 24], r8",
            "mov [rsp + 32], r9",
            "mov rsi, rsp",
            // Above the stored registers and the return address.
            "lea rdx, [rsp + 48]",
            "call {to}",
            "add rsp, 40",
            ".cfi_adjust_cfa_offset -40",
            "ret",
            ".cfi_endproc",
            to = sym $to
        )
    };
}

#[cfg(target_arch = "aarch64")]
macro_rules! pass_on {
    ($to:path) => {
        naked_asm!(
            ".cfi_startproc",
            "stp x29, x30, [sp, #-80]!",
            ".cfi_def_cfa_offset 80",
            ".cfi_offset w29, -80",
            ".cfi_offset w30, -72",
            "mov x29, sp",
            "stp x1, x2, [sp, #16]",
            "stp x3, x4, [sp, #32]",
            "stp x5, x6, [sp, #48]",
            "str x7, [sp, #64]",
            "add x1, sp, #16",
            "add x2, sp, #80",
            "bl {to}",
            "ldp x29, x30, [sp], #80",
            ".cfi_def_cfa_offset 0",
            ".cfi_restore w29",
            ".cfi_restore w30",
            "ret",
            ".cfi_endproc",
            to = sym $to
        )
    };
}

/// exec(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execl(path: *const c_char, arg: *const c_char) -> c_int {
    pass_on!(run_execl)
}

/// exec(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execlp(file: *const c_char, arg: *const c_char) -> c_int {
    pass_on!(run_execlp)
}

/// exec(3)
///
/// # Safety
///
/// As the C function.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execle(path: *const c_char, arg: *const c_char) -> c_int {
    pass_on!(run_execle)
}

type Strings = *const *const c_char;

unsafe extern "C" fn run_execl(path: *const c_char, registers: Strings, stack: Strings) -> c_int {
    // SAFETY: the arguments are those of `execl`.
    unsafe { Arguments { registers, stack }.with_list(|argv, _| exec::execv(path, argv)) }
}

unsafe extern "C" fn run_execlp(file: *const c_char, registers: Strings, stack: Strings) -> c_int {
    // SAFETY: the arguments are those of `execlp`.
    unsafe { Arguments { registers, stack }.with_list(|argv, _| exec::execvp(file, argv)) }
}

unsafe extern "C" fn run_execle(path: *const c_char, registers: Strings, stack: Strings) -> c_int {
    // SAFETY: the arguments are those of `execle`: the environment follows the null pointer.
    unsafe { Arguments { registers, stack }.with_list(|argv, arguments| exec::execve(path, argv, arguments.after_null().cast())) }
}

/// The arguments of a call after the first.
struct Arguments {
    registers: Strings,
    stack: Strings,
}

impl Arguments {
    /// # Safety
    ///
    /// The call has passed more than `index` arguments.
    unsafe fn get(&self, index: usize) -> *const c_char {
        // SAFETY: the caller guarantees that the argument exists.
        unsafe {
            match index.checked_sub(REGISTERS) {
                None => *self.registers.add(index),
                Some(index) => *self.stack.add(index),
            }
        }
    }

    /// Returns the number of arguments before the null pointer.
    fn count(&self) -> usize {
        // SAFETY: all arguments up to the null pointer exist.
        (0..).find(|index| unsafe { self.get(*index) }.is_null()).unwrap_or(0)
    }

    /// Returns the argument after the null pointer.
    ///
    /// # Safety
    ///
    /// The argument exists.
    unsafe fn after_null(&self) -> *const c_char {
        // SAFETY: the caller upholds the contract.
        unsafe { self.get(self.count() + 1) }
    }

    /// Calls `exec` with the arguments as a list that ends with a null pointer.
    fn with_list(&self, exec: impl FnOnce(Strings, &Arguments) -> c_int) -> c_int {
        let called = scratch::with(self.count() + 1, |list| {
            for (index, slot) in list.iter_mut().enumerate() {
                // SAFETY: all arguments up to the null pointer exist.
                slot.write(unsafe { self.get(index) });
            }
            exec(list.as_ptr().cast(), self)
        });
        called.unwrap_or_else(|| {
            set_errno(libc::ENOMEM);
            -1
        })
    }
}
