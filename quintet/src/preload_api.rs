//! What the drop-in library needs of the engine, beyond the public API. Not for other users: it may
//! change with any version.

use crate::backend::directory::diagnose::Call;
use crate::layout::Mechanism;
use crate::object::core::{Engine, VARIABLE};
use crate::process::fork;
use crate::sys::fd_thread;
use crate::sys::fd_thread::run_by_path;
use crate::sys::truncation;
use crate::types::error::Errno;
use crate::types::error::Error;
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::kind::Kind;
use crate::types::limits::Limits;
use crate::types::msg::MsgFlags;
use crate::types::msg::{MsgUsage, QueueStat};
use crate::types::sem::SemOp;
use crate::types::sem::{SemUsage, SetStat};
use crate::types::shm::SegmentStat;
use crate::types::shm::Usage;
use std::ffi::{CStr, c_void};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering::*};
use std::time::Duration;

type Result<T> = std::result::Result<T, Errno>;

static ENGINE: AtomicPtr<Engine> = AtomicPtr::new(std::ptr::null_mut());

/// The namespace of this process, opened at its first call.
#[inline(always)]
fn engine() -> Result<&'static Engine> {
    match opened() {
        Some(engine) => Ok(engine),
        None => open(),
    }
}

#[inline(always)]
fn opened() -> Option<&'static Engine> {
    #[allow(unsafe_code)]
    // SAFETY: null, or an engine, which is never freed.
    unsafe {
        ENGINE.load(Acquire).as_ref()
    }
}

/// Who wants to know what becomes of the namespace.
pub trait Listener: Sync {
    /// It was opened.
    fn opened(&self, path: &Path, kind: Kind);
    /// The calling thread goes to sleep in its call. Signals are held off.
    fn waits(&self);
    /// It cannot be used.
    fn unusable(&self, why: &Error);
    /// It was opened, and a call has failed for want of a file there.
    fn trouble(&self, why: &Error);
}

static LISTENER: OnceLock<&dyn Listener> = OnceLock::new();

/// From now on this one is told.
pub fn listen(listener: &'static dyn Listener) {
    let _ = LISTENER.set(listener);
}

pub(crate) fn tell(what: impl FnOnce(&dyn Listener)) {
    if let Some(listener) = LISTENER.get() {
        what(*listener);
    }
}

/// To a C program a namespace that cannot be used is a kernel without System V IPC, unless it is a
/// matter of rights or room.
#[cold]
#[inline(never)]
fn open() -> Result<&'static Engine> {
    let engine = absolute().and_then(|()| Engine::open_default()).map_err(|e| {
        tell(|listener| listener.unusable(&e));
        match e.errno() {
            keep @ (Errno::ACCES | Errno::NOSPC | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => keep,
            _ => Errno::NOSYS,
        }
    })?;
    // Remembered now: in a vfork child's hands this memory is its parent's.
    crate::sys::pid();
    ENGINE.store(std::ptr::from_ref(engine).cast_mut(), Release);
    tell(|listener| listener.opened(engine.path(), engine.kind()));
    Ok(engine)
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
fn call<T>(call: Call, body: impl FnOnce(&'static Engine) -> Result<T>) -> Result<T> {
    let engine = engine()?;
    body(engine).map_err(|e| engine.explained(call, e))
}

#[inline(always)]
fn with_id<T>(body: impl FnOnce(&'static Engine) -> Result<T>) -> Result<T> {
    call(Call::Use, body)
}

fn get<T>(key: Key, flags: i32, body: impl FnOnce(&'static Engine) -> Result<T>) -> Result<T> {
    let makes = key.is_private() || flags & libc::IPC_CREAT != 0;
    call(if makes { Call::Make } else { Call::Find }, body)
}

/// The guard against truncated files, and who is told, in a signal handler, of a page that was lost.
pub fn guard_against_truncation(lost: fn(usize)) -> Result<()> {
    truncation::listen(lost);
    truncation::guard()
}

/// The program sets (or only asks for) its action for SIGBUS: what it was. `None`: that is the C library's affair.
pub fn bus_action(new: Option<&libc::sigaction>) -> Option<libc::sigaction> {
    if truncation::is_ours() { None } else { truncation::programs_action(new) }
}

/// `shmget`.
pub fn shmget(key: Key, size: u64, flags: i32) -> Result<Id> {
    get(key, flags, |engine| engine.shmget(key, size, flags))
}

/// `shmat`.
///
/// # Safety
///
/// That of [`crate::api::namespace::Namespace::shmat`].
#[allow(unsafe_code)]
pub unsafe fn shmat(id: i32, address: usize, flags: i32) -> Result<*mut c_void> {
    // SAFETY: the caller's.
    unsafe { with_id(|engine| engine.shmat(id, address, flags)) }
}

/// `shmdt`.
///
/// # Safety
///
/// That of [`crate::api::namespace::Namespace::shmdt`].
#[allow(unsafe_code)]
pub unsafe fn shmdt(address: usize) -> Result<()> {
    // SAFETY: the caller's.
    run_by_path(|| unsafe { with_id(|engine| engine.shmdt(address)) })
}

/// `IPC_STAT`.
pub fn stat(id: i32) -> Result<SegmentStat> {
    run_by_path(|| with_id(|engine| engine.shm_stat(id)))
}

/// `SHM_STAT`, `SHM_STAT_ANY`.
pub fn stat_index(index: i32, any: bool) -> Result<SegmentStat> {
    run_by_path(|| with_id(|engine| engine.shm_stat_index(index, any)))
}

/// `IPC_SET`.
pub fn set(id: i32, uid: u32, gid: u32, mode: u32) -> Result<()> {
    run_by_path(|| with_id(|engine| engine.shm_set(id, uid, gid, mode)))
}

/// `IPC_RMID`.
pub fn remove(id: i32) -> Result<()> {
    run_by_path(|| with_id(|engine| engine.shm_remove(id)))
}

/// `SHM_LOCK`, `SHM_UNLOCK`.
pub fn lock(id: i32, locked: bool) -> Result<()> {
    with_id(|engine| engine.shm_lock(id, locked))
}

/// `IPC_INFO`: the limits, and the highest index in use.
pub fn limits() -> Result<(Limits, u32)> {
    let engine = engine()?;
    Ok((engine.limits()?, engine.max_index(Mechanism::Shm)))
}

/// `SHM_INFO`.
pub fn usage() -> Result<Usage> {
    engine()?.shm_usage()
}

/// The program has unmapped a range of memory by itself.
pub fn unmapped(address: usize, len: usize) {
    run_by_path(|| {
        if let Some(engine) = opened() {
            engine.unmapped(address, len);
        }
    })
}

/// Whether this process has opened a namespace, so that [`at_exit`] has something to do.
#[inline]
pub fn has_opened() -> bool {
    fork::engines().next().is_some()
}

/// The process is about to end by a call that runs no handlers.
pub fn at_exit() {
    run_by_path(|| {
        fork::at_exit();
    })
}

/// `semget`.
pub fn semget(key: Key, nsems: i32, flags: i32) -> Result<Id> {
    get(key, flags, |engine| engine.semget(key, nsems, flags))
}

/// `semop`, `semtimedop`, where the limit on the number of operations has been checked.
#[inline(always)]
pub fn semtimedop(id: i32, ops: &[SemOp], timeout: Option<Duration>) -> Result<()> {
    with_id(|engine| engine.semtimedop(id, ops, timeout))
}

/// The same after [`semop_fast`] has tried it in vain.
pub fn semtimedop_slow(id: i32, ops: &[SemOp], timeout: Option<Duration>) -> Result<()> {
    with_id(|engine| engine.semtimedop_slow(id, ops, timeout))
}

/// `semop`, if it can be done at once and without a system call. `false`: [`semtimedop_slow`] says what is the matter.
#[inline(always)]
pub fn semop_fast(id: i32, ops: &[SemOp]) -> bool {
    opened().is_some_and(|engine| engine.semop_fast(id, ops))
}

/// `GETVAL`, if it can be told at once and without a system call. `None`: [`sem_value`] says what is the matter.
#[inline(always)]
pub fn sem_value_fast(id: i32, num: i32) -> Option<u16> {
    opened()?.sem_value_fast(id, num)
}

/// The greatest number of operations in one call.
#[inline(always)]
pub fn semopm() -> Result<usize> {
    Ok(engine()?.semopm())
}

/// `GETVAL`.
#[inline(always)]
pub fn sem_value(id: i32, num: i32) -> Result<u16> {
    with_id(|engine| engine.sem_value(id, num))
}

/// `GETPID`.
pub fn sem_pid(id: i32, num: i32) -> Result<i32> {
    with_id(|engine| engine.sem_pid(id, num))
}

/// `GETNCNT`.
pub fn sem_ncnt(id: i32, num: i32) -> Result<u32> {
    with_id(|engine| engine.sem_ncnt(id, num))
}

/// `GETZCNT`.
pub fn sem_zcnt(id: i32, num: i32) -> Result<u32> {
    with_id(|engine| engine.sem_zcnt(id, num))
}

/// `GETALL`: `to` gets the values.
pub fn sem_values_to(id: i32, to: impl FnOnce(&[u16]) -> Result<()>) -> Result<()> {
    with_id(|engine| engine.sem_values_to(id, to))
}

/// `SETVAL`.
pub fn sem_set_value(id: i32, num: i32, value: i32) -> Result<()> {
    with_id(|engine| engine.sem_set_value(id, num, value))
}

/// `SETALL`: `from` fills in the values, once it is known that the caller may set them.
pub fn sem_set_values(id: i32, from: impl FnOnce(&mut [u16]) -> Result<()>) -> Result<()> {
    with_id(|engine| engine.sem_set_values_from(id, from))
}

/// `IPC_STAT` of a set.
pub fn sem_stat(id: i32) -> Result<SetStat> {
    with_id(|engine| engine.sem_stat(id))
}

/// `SEM_STAT`, `SEM_STAT_ANY`.
pub fn sem_stat_index(index: i32, any: bool) -> Result<SetStat> {
    with_id(|engine| engine.sem_stat_index(index, any))
}

/// `IPC_SET` of a set.
pub fn sem_set(id: i32, uid: u32, gid: u32, mode: u32) -> Result<()> {
    run_by_path(|| with_id(|engine| engine.sem_set(id, uid, gid, mode)))
}

/// `IPC_RMID` of a set.
pub fn sem_remove(id: i32) -> Result<()> {
    run_by_path(|| with_id(|engine| engine.sem_remove(id)))
}

/// `IPC_INFO` of semaphores: the limits, and the highest index in use.
pub fn sem_limits() -> Result<(Limits, u32)> {
    let engine = engine()?;
    Ok((engine.limits()?, engine.max_index(Mechanism::Sem)))
}

/// `SEM_INFO`.
pub fn sem_usage() -> Result<SemUsage> {
    engine()?.sem_usage()
}

/// `msgget`.
pub fn msgget(key: Key, flags: i32) -> Result<Id> {
    get(key, flags, |engine| engine.msgget(key, flags))
}

pub use crate::types::message_bytes::{Piece, Sink, Source};

/// `msgsnd`.
#[inline(always)]
pub fn msgsnd(id: i32, mtype: i64, from: Source, flags: MsgFlags) -> Result<()> {
    with_id(|engine| engine.msg_send(id, mtype, from, flags, None))
}

/// `msgrcv`: the length of the message, as far as it was taken. `size` is the room that the caller says there is.
#[inline(always)]
pub fn msgrcv(id: i32, to: &mut impl Sink, size: usize, mtype: i64, flags: MsgFlags) -> Result<usize> {
    with_id(|engine| engine.msg_receive(id, to, size, mtype, flags, None))
}

/// The greatest length of a message.
pub fn msgmax() -> Result<usize> {
    Ok(engine()?.limits()?.msgmax as usize)
}

/// `IPC_STAT` of a queue.
pub fn msg_stat(id: i32) -> Result<QueueStat> {
    with_id(|engine| engine.msg_stat(id))
}

/// `MSG_STAT`, `MSG_STAT_ANY`.
pub fn msg_stat_index(index: i32, any: bool) -> Result<QueueStat> {
    with_id(|engine| engine.msg_stat_index(index, any))
}

/// `IPC_SET` of a queue.
pub fn msg_set(id: i32, uid: u32, gid: u32, mode: u32, capacity: u64) -> Result<()> {
    run_by_path(|| with_id(|engine| engine.msg_set(id, uid, gid, mode, capacity)))
}

/// `IPC_RMID` of a queue.
pub fn msg_remove(id: i32) -> Result<()> {
    run_by_path(|| with_id(|engine| engine.msg_remove(id)))
}

/// `IPC_INFO` of queues: the limits, and the highest index in use.
pub fn msg_limits() -> Result<(Limits, u32)> {
    let engine = engine()?;
    Ok((engine.limits()?, engine.max_index(Mechanism::Msg)))
}

/// `MSG_INFO`.
pub fn msg_usage() -> Result<MsgUsage> {
    engine()?.msg_usage()
}

pub use crate::backend::directory::proc_files::ProcFile;

/// What a file of `/proc` says.
pub fn proc_text(file: ProcFile) -> Result<String> {
    engine()?.proc_text(file)
}

/// Whether the caller may open it for writing.
pub fn proc_may_write(file: ProcFile) -> Result<bool> {
    Ok(engine()?.proc_may_write(file))
}

/// Writes to its beginning: how many bytes were taken.
pub fn proc_write(file: ProcFile, text: &[u8]) -> Result<usize> {
    engine()?.proc_write(file, text)
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
    let named = std::env::var_os(crate::object::core::VARIABLE).is_some_and(|path| !path.is_empty());
    let engine = if named { engine().ok() } else { opened() };
    engine.is_some_and(|engine| fd_thread::pin_root(engine.path()))
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
    opened()?.exec_handoff(UNDO_VARIABLE.to_str().ok()?)
}

/// The program was started with this value in its environment.
pub fn adopt_undo(value: &CStr) {
    if let Ok(engine) = engine() {
        let _ = engine.adopt(value);
    }
}

pub use self::{sem_value_fast as sem_value_at_once, semop_fast as sem_at_once, semtimedop_slow as semtimedop_tried};
