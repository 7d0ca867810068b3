//! `/proc/sysvipc` and the limits in `/proc/sys/kernel`, as a program opens, reads and writes them.
//! The body of each test runs on the kernel's files, in an IPC namespace of its own, and on the
//! emulated ones. Its findings must be the same.
//!
//! # Safety
//!
//! Strings are literals, or end with a NUL. Buffers are locals of the given length, except for bad
//! pointers on purpose. The children of `fork` have one thread.
#![allow(unsafe_code)]

#[path = "../support/mod.rs"]
mod support;

mod absent;
mod cancelled;
mod compare;
mod files;
mod opening;
mod streams;
mod writing;
