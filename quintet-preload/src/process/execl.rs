//! `execl`, `execlp`, `execle`: exec with the arguments one by one. The C library's own call an `execve` that cannot be replaced.
//!
//! A function that takes a variable number of arguments cannot be written in stable Rust. So each of these is a few instructions
//! that store the registers in which arguments arrive and pass on where they, and the arguments on the stack, are. That depends on the
//! machine: on one that is not listed here the C library's are left, and what `SEM_UNDO` has to take back is taken back
//! at the exec.
//!
//! # Safety
//!
//! The calling conventions (System V on x86-64, AAPCS64 on aarch64): a pointer among the variable arguments is passed as a named one is,
//! in a register or in eight bytes of the stack, in order. A call ends its arguments with a null pointer, which `execle`
//! follows with the environment, so nothing beyond them is read.
#![allow(unsafe_code)]

use crate::base::errno::set_errno;
use crate::base::scratch;
use crate::process::exec;
use libc::{c_char, c_int};
use std::arch::naked_asm;

/// How many arguments after the first are in registers.
#[cfg(target_arch = "x86_64")]
const REGISTERS: usize = 5;
#[cfg(target_arch = "aarch64")]
const REGISTERS: usize = 7;

/// Stores the registers below the arguments on the stack, and calls `$to` with the first argument and the two places.
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
            // Beyond the registers and the return address.
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
    // SAFETY: the caller's call is execl's.
    unsafe { Arguments { registers, stack }.with_list(|argv, _| exec::execv(path, argv)) }
}

unsafe extern "C" fn run_execlp(file: *const c_char, registers: Strings, stack: Strings) -> c_int {
    // SAFETY: the caller's call is execlp's.
    unsafe { Arguments { registers, stack }.with_list(|argv, _| exec::execvp(file, argv)) }
}

unsafe extern "C" fn run_execle(path: *const c_char, registers: Strings, stack: Strings) -> c_int {
    // SAFETY: the caller's call is execle's: the environment follows the null pointer.
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
    /// The call has passed so many.
    unsafe fn get(&self, index: usize) -> *const c_char {
        // SAFETY: the caller says that it is there.
        unsafe {
            match index.checked_sub(REGISTERS) {
                None => *self.registers.add(index),
                Some(index) => *self.stack.add(index),
            }
        }
    }

    /// How many there are before the null pointer.
    fn count(&self) -> usize {
        // SAFETY: all up to the null pointer are there.
        (0..).find(|index| unsafe { self.get(*index) }.is_null()).unwrap_or(0)
    }

    /// What follows the null pointer.
    ///
    /// # Safety
    ///
    /// Something does.
    unsafe fn after_null(&self) -> *const c_char {
        // SAFETY: the caller's.
        unsafe { self.get(self.count() + 1) }
    }

    /// Calls `exec` with the arguments as a list that ends with a null pointer.
    fn with_list(&self, exec: impl FnOnce(Strings, &Arguments) -> c_int) -> c_int {
        let tried = scratch::with(self.count() + 1, |list| {
            for (index, slot) in list.iter_mut().enumerate() {
                // SAFETY: all up to the null pointer are there.
                slot.write(unsafe { self.get(index) });
            }
            exec(list.as_ptr().cast(), self)
        });
        tried.unwrap_or_else(|| {
            set_errno(libc::ENOMEM);
            -1
        })
    }
}
