//! The C calls on segments, processes and memory.
//!
//! # Safety
//!
//! The agent makes calls with any argument that the controller sends, valid or not. It keeps no
//! data in memory that it attaches, maps or unmaps on command. It has one thread, apart from
//! threads that it starts on command. Where the kernel says so, it must die.
#![allow(unsafe_code)]

use quintet::{Errno, Namespace};
use std::ffi::{CStr, CString, c_int, c_void};
use std::io::{PipeReader, PipeWriter};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The value of `errno` before each call. A successful call must not change it.
const UNTOUCHED: c_int = 4242;
/// Added to an errno that a successful call has left behind.
const TOUCHED: c_int = 100_000;

pub const IPC_INFO: c_int = 3;
pub const SHM_LOCK: c_int = 11;
pub const SHM_UNLOCK: c_int = 12;
pub const SHM_STAT: c_int = 13;
pub const SHM_INFO: c_int = 14;
pub const SHM_STAT_ANY: c_int = 15;

/// `struct shminfo` of `<sys/shm.h>`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct ShmLimits {
    pub shmmax: libc::c_ulong,
    pub shmmin: libc::c_ulong,
    pub shmmni: libc::c_ulong,
    pub shmseg: libc::c_ulong,
    pub shmall: libc::c_ulong,
    unused: [libc::c_ulong; 4],
}

/// `struct shm_info` of `<sys/shm.h>`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct ShmUsage {
    pub used_ids: c_int,
    pub tot: libc::c_ulong,
    pub rss: libc::c_ulong,
    pub swp: libc::c_ulong,
    pub swap_attempts: libc::c_ulong,
    pub swap_successes: libc::c_ulong,
}

fn errno() -> c_int {
    // SAFETY: __errno_location gives this thread's valid errno.
    unsafe { *libc::__errno_location() }
}

fn set_errno(value: c_int) {
    // SAFETY: as in `errno`.
    unsafe { *libc::__errno_location() = value }
}

/// Runs `action` and restores `errno`, as a signal handler must.
pub fn preserving_errno(action: impl FnOnce()) {
    let before = errno();
    action();
    set_errno(before);
}

/// Makes a call that returns `failure` on error. Reports a successful call that changes `errno` as
/// an error.
pub fn call<T: PartialEq + Copy>(failure: T, make: impl FnOnce() -> T) -> Result<T, c_int> {
    set_errno(UNTOUCHED);
    let ret = make();
    match errno() {
        e if ret == failure => Err(e),
        UNTOUCHED => Ok(ret),
        e => Err(TOUCHED + e),
    }
}

/// `true` if calls are made through `syscall(2)`.
static BARE: AtomicBool = AtomicBool::new(false);

/// Selects between libc's functions and `syscall(2)`.
pub fn set_bare(bare: bool) {
    BARE.store(bare, Ordering::Relaxed);
}

pub fn bare() -> bool {
    BARE.load(Ordering::Relaxed)
}

pub fn shmget(key: i32, size: usize, flags: c_int) -> Result<c_int, c_int> {
    // SAFETY: numbers only.
    call(-1, || unsafe {
        if bare() { libc::syscall(libc::SYS_shmget, key, size, flags) as c_int } else { libc::shmget(key, size, flags) }
    })
}

pub fn shmat(id: c_int, address: usize, flags: c_int) -> Result<usize, c_int> {
    // SAFETY: see the head of the file.
    call(usize::MAX, || unsafe {
        match bare() {
            true => libc::syscall(libc::SYS_shmat, id, address, flags) as usize,
            false => libc::shmat(id, address as *const c_void, flags) as usize,
        }
    })
}

pub fn shmdt(address: usize) -> Result<(), c_int> {
    // SAFETY: see the head of the file.
    call(-1, || unsafe {
        if bare() { libc::syscall(libc::SYS_shmdt, address) as c_int } else { libc::shmdt(address as *const c_void) }
    })
    .map(drop)
}

pub fn shmctl(id: c_int, command: c_int, buffer: usize) -> Result<c_int, c_int> {
    // SAFETY: the callee checks the pointer (EFAULT), or it is a local of the callers below.
    call(-1, || unsafe {
        match bare() {
            true => libc::syscall(libc::SYS_shmctl, id, command, buffer) as c_int,
            false => libc::shmctl(id, command, buffer as *mut libc::shmid_ds),
        }
    })
}

/// Calls `shmctl` with a command that fills a `T`.
pub fn shmctl_get<T: Copy>(id: c_int, command: c_int) -> Result<(c_int, T), c_int> {
    let mut value = MaybeUninit::<T>::zeroed();
    let ret = shmctl(id, command, value.as_mut_ptr() as usize)?;
    // SAFETY: every T here is a C struct of integers, for which zeroes are valid, and the call has
    // filled it.
    Ok((ret, unsafe { value.assume_init() }))
}

pub fn shmctl_set(id: c_int, uid: u32, gid: u32, mode: u32) -> Result<(), c_int> {
    // SAFETY: zeroes are a valid shmid_ds.
    let mut ds: libc::shmid_ds = unsafe { MaybeUninit::zeroed().assume_init() };
    ds.shm_perm.uid = uid;
    ds.shm_perm.gid = gid;
    ds.shm_perm.mode = mode as _;
    shmctl(id, libc::IPC_SET, &raw mut ds as usize).map(drop)
}

pub fn namespace_shmat(ns: &Namespace, id: c_int, address: usize, flags: c_int) -> Result<usize, Errno> {
    // SAFETY: see the head of the file.
    unsafe { ns.shmat(id, address, flags) }.map(|a| a as usize)
}

pub fn namespace_shmdt(ns: &Namespace, address: usize) -> Result<(), Errno> {
    // SAFETY: see the head of the file.
    unsafe { ns.shmdt(address) }
}

pub fn ftok(path: &CStr, project: c_int) -> Result<i32, c_int> {
    // SAFETY: `path` is a C string that outlives the call.
    call(-1, || unsafe { libc::ftok(path.as_ptr(), project) })
}

/// Maps anonymous memory: exactly at `address` if `fixed`, else with `address` as a hint.
pub fn map(address: usize, len: usize, prot: c_int, fixed: bool) -> Result<usize, c_int> {
    let place = if fixed { libc::MAP_FIXED_NOREPLACE } else { 0 };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | place;
    // SAFETY: without MAP_FIXED no existing mapping changes.
    call(usize::MAX, || unsafe { libc::mmap(address as *mut c_void, len, prot, flags, -1, 0) } as usize)
}

pub fn unmap(address: usize, len: usize) -> Result<(), c_int> {
    // SAFETY: see the head of the file.
    call(-1, || unsafe { libc::munmap(address as *mut c_void, len) }).map(drop)
}

pub fn protect(address: usize, len: usize, prot: c_int) -> Result<(), c_int> {
    // SAFETY: see the head of the file.
    call(-1, || unsafe { libc::mprotect(address as *mut c_void, len, prot) }).map(drop)
}

/// Reads a byte from memory that may not be mapped: the kernel copies it into a pipe.
pub fn peek(address: usize) -> Result<u8, c_int> {
    let pipe = Pipe::new();
    // SAFETY: the kernel checks the address.
    call(-1, || unsafe { libc::write(pipe.write.as_raw_fd(), address as *const c_void, 1) })?;
    let mut byte = 0u8;
    // SAFETY: a local of one byte.
    call(-1, || unsafe { libc::read(pipe.read.as_raw_fd(), (&raw mut byte).cast(), 1) })?;
    Ok(byte)
}

/// Writes a byte to memory that may not be writable: the kernel copies it out of a pipe.
pub fn poke(address: usize, byte: u8) -> Result<(), c_int> {
    let pipe = Pipe::new();
    // SAFETY: a local of one byte.
    call(-1, || unsafe { libc::write(pipe.write.as_raw_fd(), (&raw const byte).cast(), 1) })?;
    // SAFETY: the kernel checks the address.
    call(-1, || unsafe { libc::read(pipe.read.as_raw_fd(), address as *mut c_void, 1) }).map(drop)
}

/// Writes a byte with a plain store, which may kill the process.
pub fn store(address: usize, byte: u8) {
    // SAFETY: see the head of the file.
    unsafe { (address as *mut u8).write_volatile(byte) }
}

struct Pipe {
    read: PipeReader,
    write: PipeWriter,
}

impl Pipe {
    fn new() -> Pipe {
        let (read, write) = std::io::pipe().expect("a pipe");
        Pipe { read, write }
    }
}

/// Returns the program break.
pub fn program_break() -> usize {
    // SAFETY: sbrk(0) only asks.
    unsafe { libc::sbrk(0) as usize }
}

/// Reads from the control connection. Returns `None` when it is closed.
pub fn read_control(piece: &mut [u8]) -> Option<usize> {
    loop {
        // SAFETY: the buffer has the length that is passed.
        let n = unsafe { libc::read(0, piece.as_mut_ptr().cast(), piece.len()) };
        if n >= 0 || errno() != libc::EINTR {
            return usize::try_from(n).ok().filter(|n| *n > 0);
        }
    }
}

pub fn write_control(line: &[u8]) {
    // SAFETY: the buffer has the length that is passed. A short line into a socket goes whole; if
    // the peer is gone, so are we.
    let n = unsafe { libc::send(0, line.as_ptr().cast(), line.len(), libc::MSG_NOSIGNAL) };
    if usize::try_from(n) != Ok(line.len()) {
        std::process::exit(1);
    }
}

/// Restores the default action of SIGSEGV and SIGBUS, which Rust's runtime handles.
pub fn default_signals() {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: SIG_DFL is a valid disposition.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Calls `fork(2)`. In the child, `control` becomes the control connection. Returns the child's
/// process id, and 0 in the child.
pub fn fork(control: OwnedFd) -> Result<i32, c_int> {
    // SAFETY: the child only goes on with what the forking thread did.
    let pid = call(-1, || unsafe { libc::fork() })?;
    if pid == 0 {
        // SAFETY: both descriptors are open.
        unsafe { libc::dup2(control.as_raw_fd(), 0) };
    }
    Ok(pid)
}

/// The arguments for an `execv` of this program.
pub struct Image {
    _owned: Vec<CString>,
    argv: Vec<*const libc::c_char>,
}

impl Image {
    pub fn new(args: &[String]) -> Image {
        let words = std::iter::once("agent".to_owned()).chain(args.iter().cloned());
        let owned: Vec<CString> = words.map(|w| CString::new(w).expect("no NUL")).collect();
        let argv = owned.iter().map(|w| w.as_ptr()).chain([std::ptr::null()]).collect();
        Image { _owned: owned, argv }
    }

    /// Executes the program at `path`. Returns the errno if that fails.
    pub fn exec(&self, path: &CStr) -> c_int {
        // SAFETY: a null-terminated array of C strings that live as long as `self`.
        unsafe { libc::execv(path.as_ptr(), self.argv.as_ptr()) };
        errno()
    }
}

/// Calls `vfork(2)`. The child executes `image` with `control` as its control connection.
#[inline(never)]
pub fn vfork_exec(image: &Image, control: &OwnedFd) -> Result<i32, c_int> {
    let (fd, path, argv) = (control.as_raw_fd(), c"/proc/self/exe".as_ptr(), image.argv.as_ptr());
    call(-1, || {
        #[allow(deprecated)]
        // SAFETY: the child only makes async-signal-safe calls, with values computed before, and
        // never returns.
        let pid = unsafe { libc::vfork() };
        if pid == 0 {
            // SAFETY: as above: open descriptors, C strings that outlive the call.
            unsafe {
                libc::dup2(fd, 0);
                libc::execv(path, argv);
                libc::_exit(127);
            }
        }
        pid
    })
}

pub fn exit_immediately(code: c_int) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

pub fn exit(code: c_int) -> ! {
    // SAFETY: the agent registers nothing that runs at exit.
    unsafe { libc::exit(code) }
}

pub fn kill_self(signal: c_int) {
    // SAFETY: a signal to the process itself.
    unsafe { libc::kill(libc::getpid(), signal) };
}

/// Calls `waitpid(2)`. Returns the process id (0 if no child has exited yet) and the status.
pub fn wait(pid: i32, options: c_int) -> Result<(i32, c_int), c_int> {
    let mut status = 0;
    // SAFETY: `status` is a local.
    let pid = call(-1, || unsafe { libc::waitpid(pid, &raw mut status, options) })?;
    Ok((pid, status))
}

pub fn close_from(first: u32) -> Result<(), c_int> {
    // SAFETY: the agent's own descriptor is 0, and it owns no other one between commands.
    call(-1, || unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) as c_int }).map(drop)
}

pub fn set_user(uid: u32, gid: u32, groups: &[u32]) -> Result<(), c_int> {
    // SAFETY: the list has the length that is passed; the rest are numbers.
    unsafe {
        call(-1, || libc::setgroups(groups.len(), groups.as_ptr()))?;
        call(-1, || libc::setgid(gid))?;
        call(-1, || libc::setuid(uid))?;
    }
    Ok(())
}

pub fn set_effective_user(uid: u32) -> Result<(), c_int> {
    // SAFETY: a number.
    call(-1, || unsafe { libc::seteuid(uid) }).map(drop)
}

pub fn set_effective_group(gid: u32) -> Result<(), c_int> {
    // SAFETY: a number.
    call(-1, || unsafe { libc::setegid(gid) }).map(drop)
}

pub fn set_umask(mask: u32) -> u32 {
    // SAFETY: a number.
    unsafe { libc::umask(mask) }
}

pub fn set_limit(resource: c_int, value: u64) -> Result<(), c_int> {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: libc::RLIM_INFINITY };
    let mut old = limit;
    // SAFETY: both are locals of the right type.
    unsafe {
        call(-1, || libc::getrlimit(resource as _, &raw mut old))?;
        let limit = libc::rlimit { rlim_cur: value.min(old.rlim_max), rlim_max: old.rlim_max };
        call(-1, || libc::setrlimit(resource as _, &raw const limit)).map(drop)
    }
}

/// Makes orphaned descendants children of this process.
pub fn become_subreaper() -> Result<(), c_int> {
    // SAFETY: numbers only.
    call(-1, || unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

pub fn unshare(flags: c_int) -> Result<(), c_int> {
    // SAFETY: numbers only.
    call(-1, || unsafe { libc::unshare(flags) }).map(drop)
}
