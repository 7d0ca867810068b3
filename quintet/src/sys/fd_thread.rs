//! Opening files when no descriptor is free, or after the program changed its root.
//!
//! The kernel's System V IPC needs no descriptor. This library needs one while it opens and maps a
//! file. In a program that has reached its limit, an fd thread does that work. It has its own copy
//! of the descriptor table, in which it first closes a few descriptors.
//!
//! The fd thread runs in place of the calling thread, which the kernel suspends until the fd thread
//! has ended (`CLONE_VFORK`). It shares everything else with the calling thread, thread-local
//! variables included. The rest of the library therefore cannot tell them apart. Signals are held
//! off. New mappings stay, and so do the locks that a mapping keeps. The program's own locks belong
//! to its own table.
//!
//! The fd thread is a thread and not a process, for three reasons:
//!
//! - There is no process to wait for.
//! - Process ids mean the same in it.
//! - A program may have changed the PID namespace of its children. A process would become the init
//!   process there; a thread gets an error.
//!
//! # Safety
//!
//! The stack is a mapping of its own, above a guard page. It is unmapped after the thread has
//! ended. The task lies on the stack of the calling thread, which is suspended meanwhile.
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

/// The number of descriptors that the fd thread closes. No function needs more at a time.
const SPARE: u64 = 16;
/// The lowest descriptor limit at which the fd thread can free a descriptor.
const LEAST: u64 = 3;

/// A descriptor of the namespace's directory if the program has changed its root, else -1. Device
/// and inode show if it is still that descriptor, because the program may close it.
static PINNED_ROOT: AtomicI32 = AtomicI32::new(-1);
static DEVICE: AtomicU64 = AtomicU64::new(0);
static INODE: AtomicU64 = AtomicU64::new(0);

/// The lowest number of that descriptor. Programs use lower descriptors by number.
const FIRST_DESCRIPTOR: i32 = 100;

/// Keeps a descriptor of `directory`, because the program is about to change its root and paths
/// will lead elsewhere. From now on, an fd thread with this working directory does all work on
/// paths.
///
/// Returns `false` if a directory is pinned already, or if this one cannot be opened.
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
    // Without the descriptor, mapped objects go on working.
    open().is_ok()
}

/// Closes the descriptor, because the program has not changed its root.
pub fn unpin_root() {
    let number = PINNED_ROOT.swap(-1, AcqRel);
    if is_pinned_root(number) {
        fd::close(number);
    }
}

#[inline]
/// Returns `true` after [`pin_root`].
pub fn is_root_pinned() -> bool {
    PINNED_ROOT.load(Relaxed) != -1
}

/// Returns `true` if the descriptor is still that of the directory.
fn is_pinned_root(number: i32) -> bool {
    if number == -1 {
        return false;
    }
    // SAFETY: only the status of the descriptor is read, whatever it is by now.
    let stat = fs::fstat(unsafe { BorrowedFd::borrow_raw(number) });
    stat.is_ok_and(|stat| (stat.st_dev as u64, stat.st_ino as u64) == (DEVICE.load(Relaxed), INODE.load(Relaxed)))
}

/// Changes to the directory. Returns `false` if the descriptor is gone.
fn enter_pinned_root() -> bool {
    let number = PINNED_ROOT.load(Acquire);
    // SAFETY: the descriptor was just checked, in this thread's own table.
    is_pinned_root(number) && rustix::process::fchdir(unsafe { BorrowedFd::borrow_raw(number) }).is_ok()
}

/// Returns `true` if the working directory of the calling thread is the namespace's directory, so
/// that paths are relative to it.
pub fn is_in_pinned_root() -> bool {
    IN_PINNED_ROOT.get()
}

/// Runs `work`, which uses paths, even if the program has changed its root. `work` must not block.
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
    /// `true` if the thread's working directory is the namespace's directory.
    static IN_PINNED_ROOT: Cell<bool> = const { Cell::new(false) };
    /// `true` if this is the fd thread, which runs in place of its caller.
    static ON_FD_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// An error that may mean that no descriptor is free.
pub trait DescriptorFailure {
    /// Returns `true` if no descriptor was free.
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

/// Runs `work`, which needs descriptors for a moment, even if no descriptor is free.
///
/// `work` closes the descriptors that it opens and uses no others. It does not block, and has no
/// effect if it fails.
pub fn run<T, E: DescriptorFailure>(mut work: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    if is_root_pinned() && !ON_FD_THREAD.get() {
        return run_on_thread(&mut work).unwrap_or_else(work);
    }
    match work() {
        Err(e) if e.lacks_descriptors() && !ON_FD_THREAD.get() && limit() >= LEAST => run_on_thread(work).unwrap_or(Err(e)),
        other => other,
    }
}

/// The work of the fd thread, and its outcome.
struct Task<'a, F, R> {
    work: &'a mut F,
    outcome: Option<Result<R, Box<dyn Any + Send>>>,
}

/// Runs `work` on an fd thread. Returns `None` if the thread cannot be created.
#[cold]
fn run_on_thread<R, F: FnMut() -> R>(mut work: F) -> Option<R> {
    let stack = memory::anonymous(STACK).ok()?;
    // SAFETY: just mapped; the lowest page is the guard page.
    unsafe { memory::make_inaccessible(stack, memory::page()) };
    let mut task = Task { work: &mut work, outcome: None };
    {
        // Caches the id of the calling thread, so that the fd thread uses it, too.
        crate::sys::ids::known_tid();
        let _signals = Blocked::all();
        ON_FD_THREAD.set(true);
        let flags = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD | libc::CLONE_VFORK;
        let saved = crate::sys::errno::errno();
        // SAFETY: see the module. The stack grows downwards on all supported machines.
        unsafe { libc::clone(thread_main::<R, F>, (stack + STACK) as *mut c_void, flags, (&raw mut task).cast::<c_void>()) };
        crate::sys::errno::set_errno(saved);
        ON_FD_THREAD.set(false);
        IN_PINNED_ROOT.set(false);
    }
    // SAFETY: mapped above; the thread has ended.
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

/// Returns the limit of descriptors. All descriptors have lower numbers.
fn limit() -> u64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    limit.min(i32::MAX as u64 + 1)
}

/// Closes the last descriptors below the limit, or all of them if the limit is that low.
fn free_descriptors() {
    let limit = limit();
    for fd in limit.saturating_sub(SPARE)..limit {
        // A copy in this thread's own table, which the thread does not use.
        fd::close(fd as i32);
    }
}
