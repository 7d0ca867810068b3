//! The preload library: intercepts the C library's System V IPC calls and performs them with
//! Quintet.
//!
//! Each exported IPC function is one call of [`base::preload_api`]. It sets `errno` as the kernel
//! does and leaves it alone on success. A pointer that faults gives `EFAULT`. A panic never leaves
//! the library.
//!
//! The library also exports functions that it forwards to the next library. It observes three
//! kinds: those that change credentials, those that leave a call by a jump, and those that execute
//! a program.
//!
//! # Layers
//!
//! Each folder imports only folders below it.
//!
//! | folder | content |
//! |---|---|
//! | `entry` | loading, `syscall` by number, `dlopen` and `dlsym` |
//! | `calls`, `process` | the exported IPC calls; exec, spawn, exit, credentials, jumps |
//! | `proc` | the files of `/proc/sysvipc` and the limits in `/proc/sys/kernel` |
//! | `log` | messages to the user, and the trace of calls |
//! | `base` | the frame of a call, the next library's functions, the program's memory |
//!
//! # Safety
//!
//! The functions have the C library's signatures and contracts. The library dereferences a pointer
//! of the program only after the kernel has confirmed that it can be dereferenced.
#![allow(unsafe_code)]

mod base;
mod calls;
mod entry;
mod log;
mod proc;
mod process;
