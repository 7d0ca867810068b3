//! A tracer that makes chosen system calls of a child fail, between [`begin`] and [`finish`].
//!
//! The tracer skips a chosen call and sets an error as its result.
//!
//! # Safety
//!
//! The raw calls get process ids of stopped children of this process, and pointers to local
//! variables.

// The kernel's names of system calls.
#![allow(non_upper_case_globals)]

use crash::support::{Child, fork};
use std::time::{Duration, Instant};

/// More system calls than any operation makes.
const MOST_CALLS: usize = 5_000;
const BOUND: Duration = Duration::from_secs(60);

/// A system call of the child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call {
    pub number: i64,
    pub args: [u64; 6],
}

/// Which system calls fail, counted from 0, and with which error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    None,
    Once(usize, i32),
    /// This call and all later ones that can fail with this error.
    FromThen(usize, i32),
    /// No call fails, but `SIGUSR1` arrives after this one.
    Interrupted(usize),
}

/// Returns the errors that a call with valid arguments can fail with.
pub fn failures(call: &Call) -> &'static [i32] {
    use libc::*;
    let flags = call.args[2] as i32;
    match call.number {
        SYS_openat if flags & (O_CREAT | O_TMPFILE) != 0 => &[ENOMEM, ENOSPC, EMFILE, EACCES, EIO, EINTR],
        SYS_openat => &[ENOMEM, EMFILE, EACCES, EIO, EINTR],
        // Skips mappings of the allocator, which may end the process if they fail.
        SYS_mmap if call.args[3] as i32 & (MAP_ANONYMOUS | MAP_NORESERVE) == MAP_ANONYMOUS => &[],
        SYS_mmap => &[ENOMEM],
        SYS_mremap | SYS_munmap | SYS_madvise | SYS_clone => &[ENOMEM],
        SYS_fallocate => &[ENOSPC, EIO, EINTR, EOPNOTSUPP],
        SYS_ftruncate => &[EIO, EINTR, ENOSPC],
        SYS_pwrite64 => &[ENOSPC, EIO, EINTR],
        SYS_pread64 | SYS_read => &[EIO, EINTR],
        SYS_linkat | SYS_symlinkat | SYS_symlink => &[ENOSPC, EIO, ENOMEM, EACCES],
        SYS_mkdirat | SYS_mkdir => &[ENOSPC, EIO, ENOMEM, EACCES],
        SYS_unlinkat | SYS_unlink | SYS_rmdir => &[EIO, ENOMEM, EACCES],
        SYS_readlinkat | SYS_readlink => &[EIO, ENOMEM, EACCES],
        SYS_fstat | SYS_newfstatat | SYS_statx | SYS_fstatfs | SYS_getdents64 | SYS_stat | SYS_lstat => &[EIO, ENOMEM, EACCES],
        SYS_fchmod | SYS_fchmodat | SYS_chmod | SYS_setxattr | SYS_removexattr | SYS_fchownat => &[EIO, EPERM, ENOSPC, ENOMEM],
        // No other process holds these locks.
        SYS_fcntl if call.args[1] as i32 == F_OFD_SETLK => &[ENOLCK, EINTR, ENOMEM],
        SYS_fcntl if call.args[1] as i32 == F_OFD_GETLK => &[ENOMEM, EINTR],
        SYS_fcntl if call.args[1] as i32 == F_DUPFD_CLOEXEC => &[EMFILE],
        SYS_close => &[EIO, EINTR],
        SYS_getgroups => &[ENOMEM],
        SYS_futex => &[EINTR, ENOMEM],
        _ => &[],
    }
}

/// Returns the name of a call, for messages.
pub fn name(call: &Call) -> String {
    let names = [
        (libc::SYS_openat, "openat"),
        (libc::SYS_mmap, "mmap"),
        (libc::SYS_mremap, "mremap"),
        (libc::SYS_munmap, "munmap"),
        (libc::SYS_madvise, "madvise"),
        (libc::SYS_clone, "clone"),
        (libc::SYS_fallocate, "fallocate"),
        (libc::SYS_ftruncate, "ftruncate"),
        (libc::SYS_pwrite64, "pwrite64"),
        (libc::SYS_pread64, "pread64"),
        (libc::SYS_read, "read"),
        (libc::SYS_linkat, "linkat"),
        (libc::SYS_symlinkat, "symlinkat"),
        (libc::SYS_symlink, "symlink"),
        (libc::SYS_mkdirat, "mkdirat"),
        (libc::SYS_mkdir, "mkdir"),
        (libc::SYS_unlinkat, "unlinkat"),
        (libc::SYS_unlink, "unlink"),
        (libc::SYS_rmdir, "rmdir"),
        (libc::SYS_readlinkat, "readlinkat"),
        (libc::SYS_readlink, "readlink"),
        (libc::SYS_fstat, "fstat"),
        (libc::SYS_newfstatat, "newfstatat"),
        (libc::SYS_statx, "statx"),
        (libc::SYS_fstatfs, "fstatfs"),
        (libc::SYS_getdents64, "getdents64"),
        (libc::SYS_fchmod, "fchmod"),
        (libc::SYS_fchmodat, "fchmodat"),
        (libc::SYS_chmod, "chmod"),
        (libc::SYS_setxattr, "setxattr"),
        (libc::SYS_removexattr, "removexattr"),
        (libc::SYS_fcntl, "fcntl"),
        (libc::SYS_close, "close"),
        (libc::SYS_getgroups, "getgroups"),
        (libc::SYS_futex, "futex"),
    ];
    let known = names.into_iter().find(|(number, _)| *number == call.number);
    known.map_or_else(|| format!("system call {}", call.number), |(_, name)| name.to_owned())
}

/// Starts the traced part, in the child.
pub fn begin() {
    // SAFETY: the calls take no pointers.
    unsafe {
        assert_eq!(libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0), 0);
        libc::raise(libc::SIGSTOP);
    }
}

/// Ends the traced part, in the child.
pub fn finish() {
    // SAFETY: the calls take no pointers.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// How a traced child has ended its traced part.
pub enum Ended {
    /// The child has reached [`finish`], with these calls, and continues untraced.
    Finished(Child, Vec<Call>),
    /// The child has exited or hangs.
    Failed(String),
}

/// The result that a thread gets for a call.
#[derive(Clone, Copy)]
enum Outcome {
    Real,
    Failure(i32),
    /// The real result, and a signal.
    Signal,
}

/// A thread of the child.
struct Thread {
    tid: i32,
    /// The outcome of the call that the thread is in.
    within: Option<Outcome>,
}

/// Runs `body` in a child, whose calls between [`begin`] and [`finish`] fail as `fault` says.
/// Threads of the child are traced, too; its children are not.
pub fn run(fault: Fault, body: impl FnOnce()) -> Ended {
    let child = fork(body);
    let pid = child.pid;
    let status = wait(pid).1;
    if !libc::WIFSTOPPED(status) {
        std::mem::forget(child);
        return Ended::Failed(format!("the process ended before it began: {status:#x}"));
    }
    let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACEVFORK;
    request(libc::PTRACE_SETOPTIONS, pid, options as usize);
    let mut threads = vec![Thread { tid: pid, within: None }];
    let mut calls = Vec::new();
    let began = Instant::now();
    request(libc::PTRACE_SYSCALL, pid, 0);
    loop {
        let (tid, status) = wait(-1);
        if began.elapsed() > BOUND || calls.len() > MOST_CALLS {
            return Ended::Failed(format!("the process loops; the last of its {} calls is {:?}", calls.len(), calls.last()));
        }
        if !libc::WIFSTOPPED(status) {
            threads.retain(|thread| thread.tid != tid);
            if tid == pid {
                std::mem::forget(child);
                return Ended::Failed(format!("the process ended: {status:#x}"));
            }
            continue;
        }
        let nth = threads.iter().position(|thread| thread.tid == tid).unwrap_or_else(|| {
            threads.push(Thread { tid, within: None });
            threads.len() - 1
        });
        let mut signal = 0;
        match libc::WSTOPSIG(status) {
            stop if stop == libc::SIGTRAP | 0x80 => {
                let thread = &mut threads[nth];
                thread.within = match thread.within {
                    None => Some(enter(tid, fault, &mut calls)),
                    Some(outcome) => {
                        match outcome {
                            Outcome::Real => {}
                            Outcome::Failure(errno) => set_result(tid, errno),
                            Outcome::Signal => signal = libc::SIGUSR1,
                        }
                        None
                    }
                };
            }
            libc::SIGTRAP if status >> 16 != 0 => {}
            libc::SIGSTOP if tid == pid => {
                // All other threads have ended.
                threads.retain(|thread| thread.tid != pid);
                threads.iter().for_each(|thread| _ = wait(thread.tid));
                request(libc::PTRACE_DETACH, pid, 0);
                return Ended::Finished(child, calls);
            }
            // A thread's first stop.
            libc::SIGSTOP => {}
            other => signal = other,
        }
        request(libc::PTRACE_SYSCALL, tid, signal as usize);
    }
}

/// Records a call that begins, and returns its outcome.
fn enter(tid: i32, fault: Fault, calls: &mut Vec<Call>) -> Outcome {
    let mut regs = registers(tid);
    let args = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
    let call = Call { number: regs.orig_rax as i64, args };
    let (nth, fails) = (calls.len(), failures(&call));
    calls.push(call);
    let errno = match fault {
        Fault::Once(at, errno) if at == nth => errno,
        // munmap may fail for lack of memory, but not for long.
        Fault::FromThen(from, errno) if nth >= from && fails.contains(&errno) && call.number != libc::SYS_munmap => errno,
        Fault::Interrupted(at) if at == nth => return Outcome::Signal,
        _ => return Outcome::Real,
    };
    // A failing `close` closes the descriptor all the same.
    if call.number != libc::SYS_close {
        regs.orig_rax = u64::MAX;
        set_registers(tid, &regs);
    }
    Outcome::Failure(errno)
}

fn set_result(tid: i32, errno: i32) {
    let mut regs = registers(tid);
    regs.rax = -i64::from(errno) as u64;
    set_registers(tid, &regs);
}

fn registers(tid: i32) -> libc::user_regs_struct {
    // SAFETY: zeroes are valid registers, which the kernel overwrites.
    unsafe {
        let mut regs: libc::user_regs_struct = std::mem::zeroed();
        assert_eq!(libc::ptrace(libc::PTRACE_GETREGS, tid, 0, &raw mut regs), 0);
        regs
    }
}

fn set_registers(tid: i32, regs: &libc::user_regs_struct) {
    // SAFETY: a stopped tracee.
    unsafe { assert_eq!(libc::ptrace(libc::PTRACE_SETREGS, tid, 0, std::ptr::from_ref(regs)), 0) };
}

fn request(what: libc::c_uint, tid: i32, data: usize) {
    // SAFETY: a tracee. If it was killed, the request fails and the next wait reports it.
    unsafe { libc::ptrace(what, tid, 0, data) };
}

/// Waits for an event of a child or its threads. Returns the thread id and the status.
fn wait(pid: i32) -> (i32, i32) {
    let mut status = 0;
    loop {
        // SAFETY: points to a local variable.
        let got = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        if got > 0 {
            return (got, status);
        }
        let error = std::io::Error::last_os_error();
        assert_eq!(error.raw_os_error(), Some(libc::EINTR), "waitpid: {error}");
    }
}
