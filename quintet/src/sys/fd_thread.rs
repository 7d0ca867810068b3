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

use crate::sys::fd::{self, Fd};
use crate::sys::memory;
use crate::sys::signal::Blocked;
use crate::types::error::{Errno, Error};
use rustix::fd::{BorrowedFd, IntoRawFd};
use rustix::fs::{self, Mode, OFlags};
use std::any::Any;
use std::cell::Cell;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::*};

const STACK: usize = 512 << 10;

/// So many descriptors are made free: nothing needs more at a time.
const SPARE: u64 = 16;
/// Below this limit there is nothing to be done.
const LEAST: u64 = 3;

/// A descriptor of the namespace's directory, once the program has changed its root: -1 before. And what it is of, as the program may have
/// closed it.
static PINNED_ROOT: AtomicI32 = AtomicI32::new(-1);
static DEVICE: AtomicU64 = AtomicU64::new(0);
static INODE: AtomicU64 = AtomicU64::new(0);

/// Out of the way of those that programs count on.
const FIRST_DESCRIPTOR: i32 = 100;

/// The program is about to change its root: paths will lead nowhere, or elsewhere. What is done with them is done from now on by a thread
/// that is in this directory.
///
/// `false`: that was so before.
pub fn pin_root(directory: &Path) -> bool {
    if is_root_pinned() {
        return false;
    }
    let open = || -> Result<(), Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = Fd::from(fs::open(directory, flags, Mode::empty())?);
        let stat = fs::fstat(&fd)?;
        let inherited = rustix::io::fcntl_dupfd_cloexec(&fd, FIRST_DESCRIPTOR)?.into_raw_fd();
        DEVICE.store(stat.st_dev as u64, Relaxed);
        INODE.store(stat.st_ino as u64, Relaxed);
        PINNED_ROOT.store(inherited, Release);
        Ok(())
    };
    // Without it, what is open already goes on working.
    open().is_ok()
}

/// The root is what it was.
pub fn unpin_root() {
    let number = PINNED_ROOT.swap(-1, AcqRel);
    if is_pinned_root(number) {
        fd::close(number);
    }
}

#[inline]
pub fn is_root_pinned() -> bool {
    PINNED_ROOT.load(Relaxed) != -1
}

/// Whether the descriptor is still the directory's.
fn is_pinned_root(number: i32) -> bool {
    if number == -1 {
        return false;
    }
    // SAFETY: whatever it is by now, it is only looked at.
    let stat = fs::fstat(unsafe { BorrowedFd::borrow_raw(number) });
    stat.is_ok_and(|stat| (stat.st_dev as u64, stat.st_ino as u64) == (DEVICE.load(Relaxed), INODE.load(Relaxed)))
}

/// Goes to the directory, if that can be.
fn enter_pinned_root() -> bool {
    let number = PINNED_ROOT.load(Acquire);
    // SAFETY: as just looked at, in this thread's own table.
    is_pinned_root(number) && rustix::process::fchdir(unsafe { BorrowedFd::borrow_raw(number) }).is_ok()
}

/// Whether the calling thread is in the namespace's directory, and is to use names relative to it.
pub fn is_in_pinned_root() -> bool {
    IN_PINNED_ROOT.get()
}

/// Does what goes by paths, also in a program that has changed its root. It waits for nobody.
pub fn run_by_path<T>(work: impl FnOnce() -> T) -> T {
    if !is_root_pinned() || ON_FD_THREAD.get() {
        return work();
    }
    let mut work = Some(work);
    let done = run_on_thread(|| work.take().map(|work| work()));
    match (done.flatten(), work) {
        (Some(done), _) => done,
        (None, Some(work)) => work(),
        (None, None) => std::process::abort(),
    }
}

thread_local! {
    /// Whether it is in the namespace's directory.
    static IN_PINNED_ROOT: Cell<bool> = const { Cell::new(false) };
    /// Whether this is such a thread, in place of its caller.
    static ON_FD_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// What may have failed for want of a descriptor.
pub trait DescriptorFailure {
    fn lacks_descriptors(&self) -> bool;
}

impl DescriptorFailure for Errno {
    fn lacks_descriptors(&self) -> bool {
        *self == Errno::MFILE
    }
}

impl DescriptorFailure for Error {
    fn lacks_descriptors(&self) -> bool {
        self.errno().lacks_descriptors()
    }
}

/// Does what needs descriptors for a moment, also if none is free. It closes what it opens, uses no descriptor from outside, waits for nobody, and has
/// done nothing if it fails.
pub fn run<T, E: DescriptorFailure>(mut work: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    if is_root_pinned() && !ON_FD_THREAD.get() {
        return run_on_thread(&mut work).unwrap_or_else(work);
    }
    match work() {
        Err(e) if e.lacks_descriptors() && !ON_FD_THREAD.get() && limit() >= LEAST => run_on_thread(work).unwrap_or(Err(e)),
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
fn run_on_thread<R, F: FnMut() -> R>(mut work: F) -> Option<R> {
    let stack = memory::anonymous(STACK).ok()?;
    // SAFETY: just mapped; overflowing is to be noticed.
    unsafe { memory::blank(stack, memory::page()) };
    let mut task = Task { work: &mut work, outcome: None };
    {
        // Remembered, so that it goes by the names of the calling thread.
        crate::sys::ids::known_tid();
        let _signals = Blocked::all();
        ON_FD_THREAD.set(true);
        let flags = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD | libc::CLONE_VFORK;
        let saved = crate::sys::errno::errno();
        // SAFETY: see the module. The stack grows downwards, on all machines that there are.
        unsafe { libc::clone(thread_main::<R, F>, (stack + STACK) as *mut c_void, flags, (&raw mut task).cast::<c_void>()) };
        crate::sys::errno::set_errno(saved);
        ON_FD_THREAD.set(false);
        IN_PINNED_ROOT.set(false);
    }
    // SAFETY: mapped above, and nobody runs on it any more.
    let _ = unsafe { memory::unmap(stack, STACK) };
    match task.outcome? {
        Ok(outcome) => Some(outcome),
        Err(panic) => resume_unwind(panic),
    }
}

extern "C" fn thread_main<R, F: FnMut() -> R>(task: *mut c_void) -> libc::c_int {
    // SAFETY: `run_on_thread` passes a task of these types, and waits.
    let task = unsafe { &mut *task.cast::<Task<'_, F, R>>() };
    IN_PINNED_ROOT.set(enter_pinned_root());
    free_descriptors();
    task.outcome = Some(catch_unwind(AssertUnwindSafe(&mut task.work)));
    0
}

/// No descriptor may have this number, or a greater one.
fn limit() -> u64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    limit.min(i32::MAX as u64 + 1)
}

/// Closes the last descriptors below the limit, or whatever there is if the limit is that low.
fn free_descriptors() {
    let limit = limit();
    for fd in limit.saturating_sub(SPARE)..limit {
        // A copy, in this thread's own table, that nobody uses here.
        fd::close(fd as i32);
    }
}
