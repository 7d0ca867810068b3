//! The interface for the preload library, beyond the public API. It is not for other users, and may
//! change in any version.

use crate::backend::directory::Directory;
use crate::backend::directory::default::VARIABLE;
use crate::backend::directory::diagnose::Call;
use crate::process::fork;
use crate::process::listener::notify;
pub use crate::sem::mapping::Sets;
use crate::sys::fd_thread::{self, run_by_path};
use crate::sys::truncation;
use crate::types::error::{Errno, Error};
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::limits::Limits;
use crate::types::mechanism::Mechanism;
use crate::types::msg::{MsgFlags, MsgUsage, QueueStat};
use crate::types::sem::{SemOp, SemUsage, SetStat};
use crate::types::shm::{SegmentStat, ShmUsage};
use std::ffi::{CStr, c_void};
use std::path::PathBuf;
use std::sync::atomic::{AtomicPtr, Ordering::*};
use std::time::Duration;

type Result<T> = std::result::Result<T, Errno>;

static DIRECTORY: AtomicPtr<Directory> = AtomicPtr::new(std::ptr::null_mut());

/// Returns the namespace of this process. The first call opens it.
#[inline(always)]
fn directory() -> Result<&'static Directory> {
    match opened() {
        Some(directory) => Ok(directory),
        None => open(),
    }
}

#[inline(always)]
fn opened() -> Option<&'static Directory> {
    #[allow(unsafe_code)]
    // SAFETY: null, or a directory that is never freed.
    unsafe {
        DIRECTORY.load(Acquire).as_ref()
    }
}

/// Opens the namespace. If it cannot be used, the program sees a kernel without System V IPC
/// (`ENOSYS`), except where permissions, memory or descriptors are missing.
#[cold]
#[inline(never)]
fn open() -> Result<&'static Directory> {
    let directory = absolute().and_then(|()| Directory::open_default()).map_err(|e| {
        notify(|listener| listener.unusable(&e));
        match e.errno() {
            keep @ (Errno::ACCES | Errno::NOSPC | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => keep,
            _ => Errno::NOSYS,
        }
    })?;
    // Caches the process id now. A vfork child runs on this memory, and must not store its own id.
    crate::sys::ids::pid();
    DIRECTORY.store(std::ptr::from_ref(directory).cast_mut(), Release);
    notify(|listener| listener.opened(directory.path(), directory.kind()));
    Ok(directory)
}

/// Refuses a relative path. The program, or a program that it starts, may change its working
/// directory before its first call.
fn absolute() -> crate::types::error::Result<()> {
    match std::env::var_os(VARIABLE).map(PathBuf::from) {
        Some(path) if !path.as_os_str().is_empty() && path.is_relative() => {
            Err(Error::at(Errno::INVAL, "use the namespace", &path)
                .reason(format!("{VARIABLE} must not depend on the working directory"))
                .hint("use an absolute path"))
        }
        _ => Ok(()),
    }
}

/// Translates the errors of a call that has an identifier.
#[inline(always)]
fn explain<T>(directory: &Directory, result: Result<T>) -> Result<T> {
    result.map_err(|e| directory.explain_errno(Call::Use, e))
}

/// Translates the errors of a call that finds an object, or creates it.
fn explain_get(directory: &Directory, key: Key, flags: i32, result: Result<Id>) -> Result<Id> {
    let creates = key.is_private() || flags & libc::IPC_CREAT != 0;
    result.map_err(|e| directory.explain_errno(if creates { Call::Create } else { Call::Find }, e))
}

/// Installs the guard against truncated files. The signal handler calls `lost` with the address of
/// each lost page.
pub fn guard_against_truncation(lost: fn(usize)) -> Result<()> {
    truncation::listen(lost);
    truncation::guard(fork::maps)
}

/// Sets the program's action for SIGBUS, if given, and returns the former one. Returns `None` if
/// the caller must pass the call on to the C library.
pub fn bus_action(new: Option<&libc::sigaction>) -> Option<libc::sigaction> {
    if truncation::is_changing() { None } else { truncation::program_action(new) }
}

/// `shmget`.
pub fn shmget(key: Key, size: u64, flags: i32) -> Result<Id> {
    let directory = directory()?;
    explain_get(directory, key, flags, directory.segments.shmget(key, size, flags))
}

/// `shmat`.
///
/// # Safety
///
/// That of [`crate::Namespace::shmat`].
#[allow(unsafe_code)]
pub unsafe fn shmat(id: i32, address: usize, flags: i32) -> Result<*mut c_void> {
    let directory = directory()?;
    // SAFETY: the caller keeps the contract.
    let attached = unsafe { directory.segments.shmat(id, address, flags) };
    explain(directory, attached).map(|(attached, _)| attached.address as *mut c_void)
}

/// `shmdt`.
///
/// # Safety
///
/// That of [`crate::Namespace::shmdt`].
#[allow(unsafe_code)]
pub unsafe fn shmdt(address: usize) -> Result<()> {
    run_by_path(|| {
        let directory = directory()?;
        // SAFETY: the caller keeps the contract.
        explain(directory, unsafe { directory.segments.shmdt(address) })
    })
}

/// `IPC_STAT`.
pub fn shm_stat(id: i32) -> Result<SegmentStat> {
    run_by_path(|| {
        let directory = directory()?;
        explain(directory, directory.segments.shm_stat(id))
    })
}

/// `SHM_STAT`, `SHM_STAT_ANY`.
pub fn shm_stat_index(index: i32, any: bool) -> Result<SegmentStat> {
    run_by_path(|| {
        let directory = directory()?;
        explain(directory, directory.segments.shm_stat_index(index, any))
    })
}

/// `IPC_SET`.
pub fn shm_set(id: i32, uid: u32, gid: u32, mode: u32) -> Result<()> {
    run_by_path(|| {
        let directory = directory()?;
        explain(directory, directory.segments.shm_set(id, uid, gid, mode))
    })
}

/// `IPC_RMID`.
pub fn shm_remove(id: i32) -> Result<()> {
    run_by_path(|| {
        let directory = directory()?;
        explain(directory, directory.segments.shm_remove(id))
    })
}

/// `SHM_LOCK`, `SHM_UNLOCK`.
pub fn shm_lock(id: i32, locked: bool) -> Result<()> {
    let directory = directory()?;
    explain(directory, directory.segments.shm_lock(id, locked))
}

/// `IPC_INFO`. Returns the limits and the highest index in use.
pub fn shm_limits() -> Result<(Limits, u32)> {
    let directory = directory()?;
    Ok((directory.core.limits()?, directory.core.max_index(Mechanism::Shm)))
}

/// `SHM_INFO`.
pub fn shm_usage() -> Result<ShmUsage> {
    directory()?.segments.shm_usage()
}

/// Notes that the program has unmapped a range of memory itself.
pub fn note_unmapped(address: usize, len: usize) {
    run_by_path(|| {
        if let Some(directory) = opened() {
            directory.segments.note_unmapped(address, len);
        }
    })
}

/// Returns `true` if this process has opened a namespace, so that [`at_exit`] has an effect.
#[inline]
pub fn has_opened() -> bool {
    fork::namespaces().next().is_some()
}

/// Does the work of an exit handler. The process is about to end by a call that runs no handlers.
pub fn at_exit() {
    run_by_path(|| {
        fork::at_exit();
    })
}

/// `semget`.
pub fn semget(key: Key, nsems: i32, flags: i32) -> Result<Id> {
    let directory = directory()?;
    explain_get(directory, key, flags, directory.sets.semget(key, nsems, flags))
}

/// `semop` and `semtimedop`. The caller has checked the number of operations.
#[inline(always)]
pub fn semtimedop(id: i32, ops: &[SemOp], timeout: Option<Duration>) -> Result<()> {
    let directory = directory()?;
    explain(directory, directory.sets.semtimedop(id, ops, timeout))
}

/// The same after [`Sets::semop_fast`] has returned `false`.
pub fn semtimedop_slow(id: i32, ops: &[SemOp], timeout: Option<Duration>) -> Result<()> {
    let directory = directory()?;
    explain(directory, directory.sets.semtimedop_slow(id, ops, timeout))
}

/// Returns the sets of the namespace, if it was opened, for direct calls of [`Sets::semop_fast`].
#[inline(always)]
pub fn sets() -> Option<&'static Sets> {
    Some(&opened()?.sets)
}

/// `GETVAL`, if it needs no lock and no system call. Otherwise returns `None`, and the caller calls
/// [`sem_value`], which also returns the errors.
#[inline(always)]
pub fn sem_value_fast(id: i32, num: i32) -> Option<u16> {
    opened()?.sets.sem_value_fast(id, num)
}

/// Returns the greatest number of operations in one call.
#[inline(always)]
pub fn semopm() -> Result<usize> {
    Ok(directory()?.sets.semopm())
}

/// `GETVAL`.
#[inline(always)]
pub fn sem_value(id: i32, num: i32) -> Result<u16> {
    let directory = directory()?;
    explain(directory, directory.sets.sem_value(id, num))
}

/// `GETPID`.
pub fn sem_pid(id: i32, num: i32) -> Result<i32> {
    let directory = directory()?;
    explain(directory, directory.sets.sem_pid(id, num))
}

/// `GETNCNT`.
pub fn sem_ncnt(id: i32, num: i32) -> Result<u32> {
    let directory = directory()?;
    explain(directory, directory.sets.sem_ncnt(id, num))
}

/// `GETZCNT`.
pub fn sem_zcnt(id: i32, num: i32) -> Result<u32> {
    let directory = directory()?;
    explain(directory, directory.sets.sem_zcnt(id, num))
}

/// `GETALL`. `to` receives the values.
pub fn sem_values_to(id: i32, to: impl FnOnce(&[u16]) -> Result<()>) -> Result<()> {
    let directory = directory()?;
    explain(directory, directory.sets.sem_values_to(id, to))
}

/// `SETVAL`.
pub fn sem_set_value(id: i32, num: i32, value: i32) -> Result<()> {
    let directory = directory()?;
    explain(directory, directory.sets.sem_set_value(id, num, value))
}

/// `SETALL`. `from` fills in the values, after the caller's permission was checked.
pub fn sem_set_values(id: i32, from: impl FnOnce(&mut [u16]) -> Result<()>) -> Result<()> {
    let directory = directory()?;
    explain(directory, directory.sets.sem_set_values_from(id, from))
}

/// `IPC_STAT` of a set.
pub fn sem_stat(id: i32) -> Result<SetStat> {
    let directory = directory()?;
    explain(directory, directory.sets.sem_stat(id))
}

/// `SEM_STAT`, `SEM_STAT_ANY`.
pub fn sem_stat_index(index: i32, any: bool) -> Result<SetStat> {
    let directory = directory()?;
    explain(directory, directory.sets.sem_stat_index(index, any))
}

/// `IPC_SET` of a set.
pub fn sem_set(id: i32, uid: u32, gid: u32, mode: u32) -> Result<()> {
    run_by_path(|| {
        let directory = directory()?;
        explain(directory, directory.sets.sem_set(id, uid, gid, mode))
    })
}

/// `IPC_RMID` of a set.
pub fn sem_remove(id: i32) -> Result<()> {
    run_by_path(|| {
        let directory = directory()?;
        explain(directory, directory.sets.sem_remove(id))
    })
}

/// `IPC_INFO` of semaphores. Returns the limits and the highest index in use.
pub fn sem_limits() -> Result<(Limits, u32)> {
    let directory = directory()?;
    Ok((directory.core.limits()?, directory.core.max_index(Mechanism::Sem)))
}

/// `SEM_INFO`.
pub fn sem_usage() -> Result<SemUsage> {
    directory()?.sets.sem_usage()
}

/// `msgget`.
pub fn msgget(key: Key, flags: i32) -> Result<Id> {
    let directory = directory()?;
    explain_get(directory, key, flags, directory.queues.msgget(key, flags))
}

pub use crate::types::message_bytes::{Piece, Sink, Source};

/// `msgsnd`.
#[inline(always)]
pub fn msgsnd(id: i32, mtype: i64, from: Source, flags: MsgFlags) -> Result<()> {
    let directory = directory()?;
    explain(directory, directory.queues.send(id, mtype, from, flags, None))
}

/// `msgrcv`. Returns the number of bytes received. `size` is the size of the buffer that the caller
/// has passed.
#[inline(always)]
pub fn msgrcv(id: i32, to: &mut impl Sink, size: usize, mtype: i64, flags: MsgFlags) -> Result<usize> {
    let directory = directory()?;
    explain(directory, directory.queues.receive(id, to, size, mtype, flags, None))
}

/// Returns the greatest length of a message in bytes.
pub fn msgmax() -> Result<usize> {
    Ok(directory()?.core.limits()?.msgmax as usize)
}

/// `IPC_STAT` of a queue.
pub fn msg_stat(id: i32) -> Result<QueueStat> {
    let directory = directory()?;
    explain(directory, directory.queues.msg_stat(id))
}

/// `MSG_STAT`, `MSG_STAT_ANY`.
pub fn msg_stat_index(index: i32, any: bool) -> Result<QueueStat> {
    let directory = directory()?;
    explain(directory, directory.queues.msg_stat_index(index, any))
}

/// `IPC_SET` of a queue.
pub fn msg_set(id: i32, uid: u32, gid: u32, mode: u32, capacity: u64) -> Result<()> {
    run_by_path(|| {
        let directory = directory()?;
        explain(directory, directory.queues.msg_set(id, uid, gid, mode, capacity))
    })
}

/// `IPC_RMID` of a queue.
pub fn msg_remove(id: i32) -> Result<()> {
    run_by_path(|| {
        let directory = directory()?;
        explain(directory, directory.queues.msg_remove(id))
    })
}

/// `IPC_INFO` of queues. Returns the limits and the highest index in use.
pub fn msg_limits() -> Result<(Limits, u32)> {
    let directory = directory()?;
    Ok((directory.core.limits()?, directory.core.max_index(Mechanism::Msg)))
}

/// `MSG_INFO`.
pub fn msg_usage() -> Result<MsgUsage> {
    directory()?.queues.msg_usage()
}

pub use crate::backend::directory::proc_files::ProcFile;

/// Returns the content of a file of `/proc`.
pub fn proc_text(file: ProcFile) -> Result<String> {
    directory()?.proc_text(file)
}

/// Returns `true` if the caller may open the file for writing.
pub fn proc_may_write(file: ProcFile) -> Result<bool> {
    Ok(directory()?.proc_may_write(file))
}

/// Writes to the beginning of the file. Returns the number of bytes consumed.
pub fn proc_write(file: ProcFile, text: &[u8]) -> Result<usize> {
    directory()?.proc_write(file, text)
}

/// Discards the cached permissions of the process, because its credentials may have changed.
pub fn credentials_changed() {
    crate::sys::credentials::changed();
}

/// Ends the blocked call of the calling thread, which is about to jump out of it.
pub fn before_jump() {
    crate::process::waiting::jump_out();
    crate::msg::lock::jump_out();
}

pub use crate::process::cancel::{
    CANCELLED, after_cancel, before_cancel, count as cancel_count, in_any_call as is_cancellable_in_any_call,
    note_asked as note_cancel_asked, set_in_any_call as set_cancellable_in_any_call, set_intercepted as set_cancel_intercepted,
};

/// Prepares for a change of the root directory. Returns `true` if the caller must call
/// [`chroot_failed`] when the change fails.
pub fn before_chroot() -> bool {
    // The program may make its first call after the change, so the namespace is opened now.
    let named = std::env::var_os(VARIABLE).is_some_and(|path| !path.is_empty());
    let directory = if named { directory().ok() } else { opened() };
    directory.is_some_and(|directory| fd_thread::pin_root(directory.path()))
}

/// Notes that the root directory has not changed.
pub fn chroot_failed() {
    fd_thread::unpin_root();
}

/// The environment variable that holds the value for [`adopt_undo`].
pub const UNDO_VARIABLE: &CStr = c"QUINTET_UNDO";

pub use crate::sem::exec::ExecHandoff;

/// Keeps the undo of this process across the exec of another program. Returns `None` if there is
/// none, or if the caller is a vfork child, which runs on the memory of its parent.
pub fn before_exec() -> Option<ExecHandoff> {
    opened()?.sets.exec_handoff(UNDO_VARIABLE.to_str().ok()?)
}

/// Takes over the undo of the program before exec, which has left this value in the environment.
pub fn adopt_undo(value: &CStr) {
    if let Ok(directory) = directory() {
        let _ = directory.sets.adopt(value);
    }
}

pub use crate::process::listener::{Listener, listen};
