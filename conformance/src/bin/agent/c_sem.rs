//! The C calls on semaphore sets, and signal handlers.
//!
//! # Safety
//!
//! As in `c.rs`: the callee checks each pointer that the controller sends; all other pointers refer
//! to locals.
#![allow(unsafe_code)]

use crate::c::{bare, call, preserving_errno};
use std::ffi::c_int;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

pub const IPC_INFO: c_int = 3;
pub const GETPID: c_int = 11;
pub const GETVAL: c_int = 12;
pub const GETALL: c_int = 13;
pub const GETNCNT: c_int = 14;
pub const GETZCNT: c_int = 15;
pub const SETVAL: c_int = 16;
pub const SETALL: c_int = 17;
pub const SEM_STAT: c_int = 18;
pub const SEM_INFO: c_int = 19;
pub const SEM_STAT_ANY: c_int = 20;

unsafe extern "C" {
    /// Declared in `<sys/sem.h>`. The crate libc does not have it.
    fn semtimedop(id: c_int, sops: *mut libc::sembuf, nsops: usize, timeout: *const libc::timespec) -> c_int;
}

/// More semaphores than a set can have.
const MOST: usize = 65536;
/// A value that no semaphore can have.
const UNFILLED: u16 = u16::MAX;

pub fn semget(key: i32, nsems: c_int, flags: c_int) -> Result<c_int, c_int> {
    // SAFETY: numbers only.
    call(-1, || unsafe {
        if bare() { libc::syscall(libc::SYS_semget, key, nsems, flags) as c_int } else { libc::semget(key, nsems, flags) }
    })
}

/// Calls `semop` without a timeout, `semtimedop` with one. Both addresses may be invalid.
pub fn semop(id: c_int, sops: usize, nsops: usize, timeout: Option<usize>) -> Result<(), c_int> {
    // SAFETY: the callee checks the pointers (EFAULT), or they are locals of the caller.
    call(-1, || unsafe {
        match (bare(), timeout) {
            (false, None) => libc::semop(id, sops as *mut libc::sembuf, nsops),
            (false, Some(t)) => semtimedop(id, sops as *mut libc::sembuf, nsops, t as *const libc::timespec),
            (true, t) => libc::syscall(libc::SYS_semtimedop, id, sops, nsops, t.unwrap_or(0)) as c_int,
        }
    })
    .map(drop)
}

pub fn semctl(id: c_int, num: c_int, command: c_int, arg: usize) -> Result<c_int, c_int> {
    // SAFETY: the callee checks the pointer (EFAULT), or it is a local of the callers below.
    call(-1, || unsafe {
        if bare() { libc::syscall(libc::SYS_semctl, id, num, command, arg) as c_int } else { libc::semctl(id, num, command, arg) }
    })
}

/// Calls `GETALL` with a larger array than needed.
pub fn getall(id: c_int) -> Result<Vec<u16>, c_int> {
    let mut values = vec![UNFILLED; MOST];
    semctl(id, 0, GETALL, values.as_mut_ptr() as usize)?;
    let filled = values.iter().position(|value| *value == UNFILLED).unwrap_or(MOST);
    values.truncate(filled);
    Ok(values)
}

/// Calls `SETALL` with an array that is long enough for any set.
pub fn setall(id: c_int, values: &[u16]) -> Result<(), c_int> {
    let mut array = vec![0u16; MOST];
    array[..values.len()].copy_from_slice(values);
    semctl(id, 0, SETALL, array.as_ptr() as usize).map(drop)
}

/// Calls `semctl` with a command that fills a `semid_ds`.
pub fn stat(id: c_int, command: c_int) -> Result<(c_int, quintet::abi::semid_ds), c_int> {
    // SAFETY: zeroes are a valid semid_ds.
    let mut ds: quintet::abi::semid_ds = unsafe { std::mem::zeroed() };
    let ret = semctl(id, 0, command, &raw mut ds as usize)?;
    Ok((ret, ds))
}

/// Calls `semctl` with a command that fills a `seminfo`.
pub fn info(command: c_int) -> Result<(c_int, quintet::abi::seminfo), c_int> {
    // SAFETY: zeroes are a valid seminfo.
    let mut info: quintet::abi::seminfo = unsafe { std::mem::zeroed() };
    let ret = semctl(0, 0, command, &raw mut info as usize)?;
    Ok((ret, info))
}

pub fn set(id: c_int, uid: u32, gid: u32, mode: u32) -> Result<(), c_int> {
    // SAFETY: zeroes are a valid semid_ds.
    let mut ds: quintet::abi::semid_ds = unsafe { std::mem::zeroed() };
    ds.sem_perm.uid = uid;
    ds.sem_perm.gid = gid;
    ds.sem_perm.mode = mode as _;
    semctl(id, 0, libc::IPC_SET, &raw mut ds as usize).map(drop)
}

/// How often the signal handler has run.
static HANDLED: AtomicU32 = AtomicU32::new(0);
/// What the signal handler does in addition to counting.
static ACTION: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

extern "C" fn handler(_signal: c_int) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
    if let Some(action) = ACTION.get() {
        preserving_errno(action);
    }
}

/// Installs a signal handler that counts, with or without `SA_RESTART`.
pub fn handle(signal: c_int, restart: bool) -> Result<(), c_int> {
    // SAFETY: zeroes are a valid sigaction; the handler makes only calls that may be made in one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = if restart { libc::SA_RESTART } else { 0 };
        call(-1, || libc::sigaction(signal, &raw const action, std::ptr::null_mut())).map(drop)
    }
}

/// Ignores a signal.
pub fn ignore(signal: c_int) {
    // SAFETY: SIG_IGN is a valid disposition.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Makes the signal handler run `action`, too. The action must not allocate memory. One call per
/// process.
pub fn handle_with(action: impl Fn() + Send + Sync + 'static) {
    assert!(ACTION.set(Box::new(action)).is_ok(), "one action per process");
}

/// Returns how often the signal handler has run.
pub fn handled() -> u32 {
    HANDLED.load(Ordering::Relaxed)
}

/// Returns the id of the calling thread.
pub fn gettid() -> i32 {
    // SAFETY: no arguments.
    unsafe { libc::syscall(libc::SYS_gettid) as i32 }
}
