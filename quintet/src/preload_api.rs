//! What the drop-in library needs of the directory, beyond the public API. Not for other users: it may
//! change with any version.

use crate::backend::directory::Directory;
use crate::backend::directory::default::VARIABLE;
use crate::backend::directory::diagnose::Call;
use crate::process::fork;
use crate::process::listener::tell;
use crate::sys::fd_thread::{self, run_by_path};
use crate::sys::truncation;
use crate::types::error::{Errno, Error};
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::limits::Limits;
use crate::types::mechanism::Mechanism;
use crate::types::msg::{MsgFlags, MsgUsage, QueueStat};
use crate::types::sem::{SemOp, SemUsage, SetStat};
use crate::types::shm::{SegmentStat, Usage};
use std::ffi::{CStr, c_void};
use std::path::PathBuf;
use std::sync::atomic::{AtomicPtr, Ordering::*};
use std::time::Duration;

type Result<T> = std::result::Result<T, Errno>;

static DIRECTORY: AtomicPtr<Directory> = AtomicPtr::new(std::ptr::null_mut());

/// The namespace of this process, opened at its first call.
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
    // SAFETY: null, or a directory, which is never freed.
    unsafe {
        DIRECTORY.load(Acquire).as_ref()
    }
}

/// To a C program a namespace that cannot be used is a kernel without System V IPC, unless it is a
/// matter of rights or room.
#[cold]
#[inline(never)]
fn open() -> Result<&'static Directory> {
    let directory = absolute().and_then(|()| Directory::open_default()).map_err(|e| {
        tell(|listener| listener.unusable(&e));
        match e.errno() {
            keep @ (Errno::ACCES | Errno::NOSPC | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => keep,
            _ => Errno::NOSYS,
        }
    })?;
    // Remembered now: in a vfork child's hands this memory is its parent's.
    crate::sys::ids::pid();
    DIRECTORY.store(std::ptr::from_ref(directory).cast_mut(), Release);
    tell(|listener| listener.opened(directory.path(), directory.kind()));
    Ok(directory)
}

/// A program may change its working directory before its first call, and so may the programs that it starts.
fn absolute() -> crate::types::error::Result<()> {
    match std::env::var_os(VARIABLE).map(PathBuf::from) {
        Some(path) if !path.as_os_str().is_empty() && path.is_relative() => {
            Err(Error::at(Errno::INVAL, "use the namespace", &path)
                .why(format!("{VARIABLE} must not depend on the working directory"))
                .remedy("give the path from / on"))
        }
        _ => Ok(()),
    }
}

/// What a call that has failed says to the program.
#[inline(always)]
fn call<T>(call: Call, body: impl FnOnce(&'static Directory) -> Result<T>) -> Result<T> {
    let directory = directory()?;
    body(directory).map_err(|e| directory.explained(call, e))
}

fn get<T>(key: Key, flags: i32, body: impl FnOnce(&'static Directory) -> Result<T>) -> Result<T> {
    let makes = key.is_private() || flags & libc::IPC_CREAT != 0;
    call(if makes { Call::Make } else { Call::Find }, body)
}

/// The guard against truncated files, and who is told, in a signal handler, of a page that was lost.
pub fn guard_against_truncation(lost: fn(usize)) -> Result<()> {
    truncation::listen(lost);
    truncation::guard(fork::maps)
}

/// The program sets (or only asks for) its action for SIGBUS: what it was. `None`: that is the C library's affair.
pub fn bus_action(new: Option<&libc::sigaction>) -> Option<libc::sigaction> {
    if truncation::is_ours() { None } else { truncation::programs_action(new) }
}

/// `shmget`.
pub fn shmget(key: Key, size: u64, flags: i32) -> Result<Id> {
    get(key, flags, |directory| directory.segments.shmget(key, size, flags))
}

/// `shmat`.
///
/// # Safety
///
/// That of [`crate::api::namespace::Namespace::shmat`].
#[allow(unsafe_code)]
pub unsafe fn shmat(id: i32, address: usize, flags: i32) -> Result<*mut c_void> {
    // SAFETY: the caller's.
    unsafe { call(Call::Use, |directory| directory.segments.attach(id, address, flags)) }
        .map(|(attached, _)| attached.address as *mut c_void)
}

/// `shmdt`.
///
/// # Safety
///
/// That of [`crate::api::namespace::Namespace::shmdt`].
#[allow(unsafe_code)]
pub unsafe fn shmdt(address: usize) -> Result<()> {
    // SAFETY: the caller's.
    run_by_path(|| unsafe { call(Call::Use, |directory| directory.segments.shmdt(address)) })
}

/// `IPC_STAT`.
pub fn stat(id: i32) -> Result<SegmentStat> {
    run_by_path(|| call(Call::Use, |directory| directory.segments.shm_stat(id)))
}

/// `SHM_STAT`, `SHM_STAT_ANY`.
pub fn stat_index(index: i32, any: bool) -> Result<SegmentStat> {
    run_by_path(|| call(Call::Use, |directory| directory.segments.shm_stat_index(index, any)))
}

/// `IPC_SET`.
pub fn set(id: i32, uid: u32, gid: u32, mode: u32) -> Result<()> {
    run_by_path(|| call(Call::Use, |directory| directory.segments.shm_set(id, uid, gid, mode)))
}

/// `IPC_RMID`.
pub fn remove(id: i32) -> Result<()> {
    run_by_path(|| call(Call::Use, |directory| directory.segments.shm_remove(id)))
}

/// `SHM_LOCK`, `SHM_UNLOCK`.
pub fn lock(id: i32, locked: bool) -> Result<()> {
    call(Call::Use, |directory| directory.segments.shm_lock(id, locked))
}

/// `IPC_INFO`: the limits, and the highest index in use.
pub fn limits() -> Result<(Limits, u32)> {
    let directory = directory()?;
    Ok((directory.core.limits()?, directory.core.max_index(Mechanism::Shm)))
}

/// `SHM_INFO`.
pub fn usage() -> Result<Usage> {
    directory()?.segments.shm_usage()
}

/// The program has unmapped a range of memory by itself.
pub fn unmapped(address: usize, len: usize) {
    run_by_path(|| {
        if let Some(directory) = opened() {
            directory.segments.unmapped(address, len);
        }
    })
}

/// Whether this process has opened a namespace, so that [`at_exit`] has something to do.
#[inline]
pub fn has_opened() -> bool {
    fork::namespaces().next().is_some()
}

/// The process is about to end by a call that runs no handlers.
pub fn at_exit() {
    run_by_path(|| {
        fork::at_exit();
    })
}

/// `semget`.
pub fn semget(key: Key, nsems: i32, flags: i32) -> Result<Id> {
    get(key, flags, |directory| directory.sets.semget(key, nsems, flags))
}

/// `semop`, `semtimedop`, where the limit on the number of operations has been checked.
#[inline(always)]
pub fn semtimedop(id: i32, ops: &[SemOp], timeout: Option<Duration>) -> Result<()> {
    call(Call::Use, |directory| directory.sets.semtimedop(id, ops, timeout))
}

/// The same after [`semop_fast`] has tried it in vain.
pub fn semtimedop_slow(id: i32, ops: &[SemOp], timeout: Option<Duration>) -> Result<()> {
    call(Call::Use, |directory| directory.sets.semtimedop_slow(id, ops, timeout))
}

/// `semop`, if it can be done at once and without a system call. `false`: [`semtimedop_slow`] says what is the matter.
#[inline(always)]
pub fn semop_fast(id: i32, ops: &[SemOp]) -> bool {
    opened().is_some_and(|directory| directory.sets.semop_fast(id, ops))
}

/// `GETVAL`, if it can be told at once and without a system call. `None`: [`sem_value`] says what is the matter.
#[inline(always)]
pub fn sem_value_fast(id: i32, num: i32) -> Option<u16> {
    opened()?.sets.sem_value_fast(id, num)
}

/// The greatest number of operations in one call.
#[inline(always)]
pub fn semopm() -> Result<usize> {
    Ok(directory()?.sets.semopm())
}

/// `GETVAL`.
#[inline(always)]
pub fn sem_value(id: i32, num: i32) -> Result<u16> {
    call(Call::Use, |directory| directory.sets.sem_value(id, num))
}

/// `GETPID`.
pub fn sem_pid(id: i32, num: i32) -> Result<i32> {
    call(Call::Use, |directory| directory.sets.sem_pid(id, num))
}

/// `GETNCNT`.
pub fn sem_ncnt(id: i32, num: i32) -> Result<u32> {
    call(Call::Use, |directory| directory.sets.sem_ncnt(id, num))
}

/// `GETZCNT`.
pub fn sem_zcnt(id: i32, num: i32) -> Result<u32> {
    call(Call::Use, |directory| directory.sets.sem_zcnt(id, num))
}

/// `GETALL`: `to` gets the values.
pub fn sem_values_to(id: i32, to: impl FnOnce(&[u16]) -> Result<()>) -> Result<()> {
    call(Call::Use, |directory| directory.sets.sem_values_to(id, to))
}

/// `SETVAL`.
pub fn sem_set_value(id: i32, num: i32, value: i32) -> Result<()> {
    call(Call::Use, |directory| directory.sets.sem_set_value(id, num, value))
}

/// `SETALL`: `from` fills in the values, once it is known that the caller may set them.
pub fn sem_set_values(id: i32, from: impl FnOnce(&mut [u16]) -> Result<()>) -> Result<()> {
    call(Call::Use, |directory| directory.sets.sem_set_values_from(id, from))
}

/// `IPC_STAT` of a set.
pub fn sem_stat(id: i32) -> Result<SetStat> {
    call(Call::Use, |directory| directory.sets.sem_stat(id))
}

/// `SEM_STAT`, `SEM_STAT_ANY`.
pub fn sem_stat_index(index: i32, any: bool) -> Result<SetStat> {
    call(Call::Use, |directory| directory.sets.sem_stat_index(index, any))
}

/// `IPC_SET` of a set.
pub fn sem_set(id: i32, uid: u32, gid: u32, mode: u32) -> Result<()> {
    run_by_path(|| call(Call::Use, |directory| directory.sets.sem_set(id, uid, gid, mode)))
}

/// `IPC_RMID` of a set.
pub fn sem_remove(id: i32) -> Result<()> {
    run_by_path(|| call(Call::Use, |directory| directory.sets.sem_remove(id)))
}

/// `IPC_INFO` of semaphores: the limits, and the highest index in use.
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
    get(key, flags, |directory| directory.queues.msgget(key, flags))
}

pub use crate::types::message_bytes::{Piece, Sink, Source};

/// `msgsnd`.
#[inline(always)]
pub fn msgsnd(id: i32, mtype: i64, from: Source, flags: MsgFlags) -> Result<()> {
    call(Call::Use, |directory| directory.queues.send(id, mtype, from, flags, None))
}

/// `msgrcv`: the length of the message, as far as it was taken. `size` is the room that the caller says there is.
#[inline(always)]
pub fn msgrcv(id: i32, to: &mut impl Sink, size: usize, mtype: i64, flags: MsgFlags) -> Result<usize> {
    call(Call::Use, |directory| directory.queues.receive(id, to, size, mtype, flags, None))
}

/// The greatest length of a message.
pub fn msgmax() -> Result<usize> {
    Ok(directory()?.core.limits()?.msgmax as usize)
}

/// `IPC_STAT` of a queue.
pub fn msg_stat(id: i32) -> Result<QueueStat> {
    call(Call::Use, |directory| directory.queues.msg_stat(id))
}

/// `MSG_STAT`, `MSG_STAT_ANY`.
pub fn msg_stat_index(index: i32, any: bool) -> Result<QueueStat> {
    call(Call::Use, |directory| directory.queues.msg_stat_index(index, any))
}

/// `IPC_SET` of a queue.
pub fn msg_set(id: i32, uid: u32, gid: u32, mode: u32, capacity: u64) -> Result<()> {
    run_by_path(|| call(Call::Use, |directory| directory.queues.msg_set(id, uid, gid, mode, capacity)))
}

/// `IPC_RMID` of a queue.
pub fn msg_remove(id: i32) -> Result<()> {
    run_by_path(|| call(Call::Use, |directory| directory.queues.msg_remove(id)))
}

/// `IPC_INFO` of queues: the limits, and the highest index in use.
pub fn msg_limits() -> Result<(Limits, u32)> {
    let directory = directory()?;
    Ok((directory.core.limits()?, directory.core.max_index(Mechanism::Msg)))
}

/// `MSG_INFO`.
pub fn msg_usage() -> Result<MsgUsage> {
    directory()?.queues.msg_usage()
}

pub use crate::backend::directory::proc_files::ProcFile;

/// What a file of `/proc` says.
pub fn proc_text(file: ProcFile) -> Result<String> {
    directory()?.proc_text(file)
}

/// Whether the caller may open it for writing.
pub fn proc_may_write(file: ProcFile) -> Result<bool> {
    Ok(directory()?.proc_may_write(file))
}

/// Writes to its beginning: how many bytes were taken.
pub fn proc_write(file: ProcFile, text: &[u8]) -> Result<usize> {
    directory()?.proc_write(file, text)
}

/// The calling thread, or all threads, may have other rights from now on: what was remembered of them is forgotten.
pub fn credentials_changed() {
    crate::sys::credentials::changed();
}

/// The calling thread is about to leave what it is doing by a jump: a call that waits is given up.
pub fn jumping() {
    crate::process::waiting::jump_out();
    crate::msg::lock::jump_out();
}

pub use crate::process::cancel::{
    CANCELLED, about_to as about_to_cancel, asking as asking_for_cancel, cancelled, count as cancels,
};
pub use crate::process::cancel::{
    anywhere as is_cancellable_anywhere, set_anywhere as set_cancellable_anywhere, will_be_told as cancels_will_be_told,
};

/// The program is about to change its root. Whether [`chroot_failed`] is to be told if it does not.
pub fn before_chroot() -> bool {
    // It may use for the first time afterwards what is there now.
    let named = std::env::var_os(VARIABLE).is_some_and(|path| !path.is_empty());
    let directory = if named { directory().ok() } else { opened() };
    directory.is_some_and(|directory| fd_thread::pin_root(directory.path()))
}

/// It has not.
pub fn chroot_failed() {
    fd_thread::unpin_root();
}

/// The environment variable with which [`adopt_undo`] is to be called.
pub const UNDO_VARIABLE: &CStr = c"QUINTET_UNDO";

pub use crate::sem::exec::ExecHandoff;

/// The process is about to exec another program: what is to be taken back when it ends is still to be taken back then.
/// `None`: there is nothing, or the caller is a vfork child, whose memory is its parent's.
pub fn before_exec() -> Option<ExecHandoff> {
    opened()?.sets.exec_handoff(UNDO_VARIABLE.to_str().ok()?)
}

/// The program was started with this value in its environment.
pub fn adopt_undo(value: &CStr) {
    if let Ok(directory) = directory() {
        let _ = directory.sets.adopt(value);
    }
}

pub use crate::process::listener::{Listener, listen};

pub use self::{sem_value_fast as sem_value_at_once, semop_fast as sem_at_once, semtimedop_slow as semtimedop_tried};
