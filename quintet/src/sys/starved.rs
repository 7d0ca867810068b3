//! When no descriptor is free.
//!
//! The kernel's System V IPC needs none. We need one for the moment in which a file is opened and mapped; in a program that has
//! reached its limit, that is done by a thread that has a copy of the table of descriptors for itself, and closes a few of its copies first. It runs
//! in place of the calling thread, which the kernel keeps until it has ended, and shares everything else with it, also the thread's own
//! variables: so to the engine it is the calling thread. Signals are held off. What is mapped stays mapped, and a lock
//! that a mapping keeps stays held; locks of the program's own belong to its own table.
//!
//! (A thread and not a process: there is nobody to be waited for, process ids mean the same, and who has gone to another PID namespace for his
//! children gets an error instead of a first process there.)
//!
//! # Safety
//!
//! The stack is a mapping of its own with a page below it that cannot be used, and is unmapped when the kernel has said that the thread does not use
//! it any more. What it is given lives on the calling thread's stack, which is there all that time.
#![allow(unsafe_code)]

use super::memory;
use super::signal::Blocked;
use crate::{Errno, Error};
use std::any::Any;
use std::cell::Cell;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

const STACK: usize = 512 << 10;

/// So many descriptors are made free: nothing needs more at a time.
const SPARE: u64 = 16;

thread_local! {
    /// Whether this is such a thread, in place of its caller.
    static INSTEAD: Cell<bool> = const { Cell::new(false) };
}

/// What may have failed for want of a descriptor.
pub trait Failure {
    fn is_starved(&self) -> bool;
}

impl Failure for Errno {
    fn is_starved(&self) -> bool {
        *self == Errno::MFILE
    }
}

impl Failure for Error {
    fn is_starved(&self) -> bool {
        self.errno().is_starved()
    }
}

/// Does what needs descriptors for a moment, also if none is free. It closes what it opens, uses no descriptor from outside, waits for nobody, and has
/// done nothing if it fails.
pub fn feed<T, E: Failure>(mut work: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    match work() {
        Err(e) if e.is_starved() && !INSTEAD.get() => instead(work).unwrap_or(Err(e)),
        other => other,
    }
}

/// What the thread is given, and where it puts what it has got.
struct Task<'a, F, R> {
    work: &'a mut F,
    outcome: Option<Result<R, Box<dyn Any + Send>>>,
}

/// `None`: there can be no such thread.
#[cold]
fn instead<R, F: FnMut() -> R>(mut work: F) -> Option<R> {
    let stack = memory::anonymous(STACK).ok()?;
    // SAFETY: just mapped; overflowing is to be noticed.
    unsafe { memory::blank(stack, memory::page()) };
    let mut task = Task { work: &mut work, outcome: None };
    {
        // Remembered, so that it goes by the names of the calling thread.
        super::known_tid();
        let _signals = Blocked::all();
        INSTEAD.set(true);
        let flags = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD | libc::CLONE_VFORK;
        let saved = super::file::errno();
        // SAFETY: see the module. The stack grows downwards, on all machines that there are.
        unsafe { libc::clone(run::<R, F>, (stack + STACK) as *mut c_void, flags, (&raw mut task).cast::<c_void>()) };
        super::file::set_errno(saved);
        INSTEAD.set(false);
    }
    // SAFETY: mapped above, and nobody runs on it any more.
    let _ = unsafe { memory::unmap(stack, STACK) };
    match task.outcome? {
        Ok(outcome) => Some(outcome),
        Err(panic) => resume_unwind(panic),
    }
}

extern "C" fn run<R, F: FnMut() -> R>(task: *mut c_void) -> libc::c_int {
    // SAFETY: `instead` passes a task of these types, and waits.
    let task = unsafe { &mut *task.cast::<Task<'_, F, R>>() };
    make_room();
    task.outcome = Some(catch_unwind(AssertUnwindSafe(&mut task.work)));
    0
}

/// Closes the last descriptors below the limit, or whatever there is if the limit is that low.
fn make_room() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let limit = limit.min(i32::MAX as u64 + 1);
    for fd in limit.saturating_sub(SPARE)..limit {
        // SAFETY: a copy of a descriptor, in this thread's own table, that nobody uses here.
        unsafe { rustix::io::close(fd as i32) };
    }
}
