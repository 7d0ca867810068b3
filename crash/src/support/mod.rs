//! Support for tests that kill, stop and trace processes: a process for each test, children with a
//! time limit, and children under `ptrace`.
//!
//! # Safety
//!
//! A test runs in a process of its own. Its main thread only waits, so a child can go on after
//! `fork`. The raw calls get descriptors and process ids that were created here, and pointers to
//! locals.
// The names say what the items are.
#![allow(missing_docs, unsafe_code, clippy::new_without_default, clippy::should_implement_trait)]

mod queue;
mod scenario;
mod shared;
mod step;
mod trace;

pub use queue::*;
pub use scenario::*;
pub use shared::*;
pub use step::*;
pub use trace::*;

use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Limit for any wait. It detects a hang and measures nothing.
pub const BOUND: Duration = Duration::from_secs(60);
const WHOLE_TEST: Duration = Duration::from_secs(550);
const DIRECTORY: &str = "QUINTET_TEST_DIRECTORY";

/// Runs `body` in a process of its own with a temporary directory, on tmpfs if possible. `name` is
/// the name of the calling test.
pub fn alone(name: &str, body: impl FnOnce(&Path)) {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        // Orphaned grandchildren are reaped here.
        // SAFETY: no pointers.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
        body(Path::new(&directory));
        return;
    }
    let memory = Path::new("/dev/shm");
    let place = if tempfile::tempfile_in(memory).is_ok() { memory.to_path_buf() } else { std::env::temp_dir() };
    let directory = tempfile::Builder::new().prefix("quintet-test-").tempdir_in(place).unwrap();
    let log = tempfile::tempfile().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--include-ignored", "--test-threads=1"])
        .env(DIRECTORY, directory.path())
        .stdin(std::process::Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log.try_clone().unwrap())
        .process_group(0)
        .spawn()
        .unwrap();
    let pid = child.id() as i32;
    let ended = ends_within(pid, WHOLE_TEST);
    // SAFETY: the group of the child, which has not been waited for: the number is still its own.
    unsafe { libc::kill(-pid, libc::SIGKILL) };
    let status = child.wait().unwrap();
    let mut text = String::new();
    std::io::Seek::rewind(&mut &log).unwrap();
    (&log).read_to_string(&mut text).unwrap();
    println!("{text}");
    assert!(ended, "{name} hangs");
    assert!(status.success(), "{name}: {status}");
    assert!(text.contains("1 passed"), "{name} is not the name of a test");
}

/// Runs `body` on a directory, and on the kernel if an IPC namespace can be created.
pub fn on_both(name: &str, body: impl Fn(&quintet::Namespace)) {
    alone(name, |directory| {
        body(&quintet::Namespace::create(directory.join("ns"), quintet::Kind::Private).unwrap());
        // SAFETY: a flag only.
        if unsafe { libc::unshare(libc::CLONE_NEWIPC) } == 0 {
            body(&quintet::Namespace::kernel());
        } else {
            println!("skipped: the kernel's part: {}", std::io::Error::last_os_error());
        }
    });
}

/// Blocks until a child has exited, for `bound` at most. The child stays a zombie. Returns `false`
/// after the limit.
pub fn ends_within(pid: i32, bound: Duration) -> bool {
    // SAFETY: see the module.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as i32;
    assert!(fd >= 0, "pidfd_open: {}", std::io::Error::last_os_error());
    // SAFETY: just opened.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    readable(&fd, bound)
}

/// Blocks until a descriptor is readable, for `bound` at most. Returns `false` after the limit.
pub fn readable(fd: &OwnedFd, bound: Duration) -> bool {
    let end = Instant::now() + bound;
    loop {
        let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let left = end.saturating_duration_since(Instant::now()).as_millis() as i32;
        // SAFETY: see the module.
        match unsafe { libc::poll(&raw mut poll, 1, left) } {
            1 => return true,
            0 => return false,
            _ => assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EINTR)),
        }
    }
}

/// Blocks until `condition` is true. Panics after [`BOUND`].
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + BOUND;
    while !condition() {
        assert!(Instant::now() < end, "timed out after {BOUND:?}: {what}");
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Exit(i32),
    Signal(i32),
    /// It was killed after the limit.
    Hung,
}

/// A child process. Dropping it kills it.
pub struct Child {
    pub pid: i32,
}

/// Runs `body` in a child, which exits with status 0, or 101 after a panic.
pub fn fork(body: impl FnOnce()) -> Child {
    // SAFETY: see the module.
    match unsafe { libc::fork() } {
        0 => {
            let ok = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok();
            // SAFETY: ends the process.
            unsafe { libc::_exit(if ok { 0 } else { 101 }) }
        }
        pid => {
            assert!(pid > 0, "fork: {}", std::io::Error::last_os_error());
            Child { pid }
        }
    }
}

impl Child {
    /// Blocks until the child has exited. Kills it after [`BOUND`].
    pub fn end(self) -> End {
        let pid = self.pid;
        std::mem::forget(self);
        let ended = ends_within(pid, BOUND);
        if !ended {
            show(pid);
            kill(pid, libc::SIGKILL);
        }
        let status = reap(pid);
        match ended {
            false => End::Hung,
            true if libc::WIFEXITED(status) => End::Exit(libc::WEXITSTATUS(status)),
            true => End::Signal(libc::WTERMSIG(status)),
        }
    }

    /// Blocks until the child has exited. Resumes it if it stops meanwhile.
    pub fn ends_through_stops(self) -> End {
        until("the child has exited", || {
            if state(self.pid) == Some('T') {
                self.signal(libc::SIGCONT);
            }
            self.has_ended()
        });
        self.end()
    }

    /// Blocks until the child has exited, which must be with status 0.
    #[track_caller]
    pub fn succeeds(self) {
        assert_eq!(self.end(), End::Exit(0));
    }

    /// Kills the child and blocks until it has exited.
    pub fn kill(self) {
        drop(self)
    }

    /// Returns `true` if the child has exited.
    pub fn has_ended(&self) -> bool {
        state(self.pid) == Some('Z')
    }

    /// Stops the child with SIGSTOP and blocks until it has stopped.
    pub fn stop(&self) {
        self.signal(libc::SIGSTOP);
        until("the child has stopped", || state(self.pid) == Some('T'));
    }

    pub fn signal(&self, signal: i32) {
        kill(self.pid, signal);
    }
}

/// Ends the process without running exit handlers.
pub fn exit(status: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(status) }
}

/// Sleeps until the process is killed.
pub fn sleep_for_ever() -> ! {
    loop {
        // SAFETY: no pointers.
        unsafe { libc::pause() };
    }
}

extern "C" fn do_nothing(_: i32) {}

/// Installs a handler for SIGALRM that does nothing.
pub fn on_alarm() {
    on_signal(libc::SIGALRM, do_nothing, 0);
}

/// Installs a signal handler.
pub fn on_signal(signal: i32, handler: extern "C" fn(i32), flags: i32) {
    // SAFETY: zeroes are an empty sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = flags;
    // SAFETY: a local.
    assert_eq!(unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) }, 0);
}

/// Gives signal handlers with `SA_ONSTACK` a stack of their own.
pub fn alternate_stack() {
    let memory: &'static mut [u8] = Box::leak(vec![0; 65536].into_boxed_slice());
    let stack = libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: 0, ss_size: memory.len() };
    // SAFETY: memory that is never freed.
    assert_eq!(unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) }, 0);
}

/// Sends SIGALRM at this interval, or never for 0.
pub fn alarm_every(time: Duration) {
    let interval = libc::timeval { tv_sec: time.as_secs() as _, tv_usec: time.subsec_micros().into() };
    let timer = libc::itimerval { it_interval: interval, it_value: interval };
    // SAFETY: a local.
    assert_eq!(unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) }, 0);
}

impl Drop for Child {
    fn drop(&mut self) {
        kill(self.pid, libc::SIGKILL);
        reap(self.pid);
    }
}

/// Returns the state of a process as `/proc/PID/stat` shows it.
pub fn state(pid: i32) -> Option<char> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ")?.1.chars().next()
}

/// Prints where a process hangs.
fn show(pid: i32) {
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        for file in ["syscall", "wchan", "stat"] {
            let text = std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
            eprintln!("hanging: {:?}: {file}: {}", task.path(), text.trim());
        }
    }
}

pub fn kill(pid: i32, signal: i32) {
    // SAFETY: a child that has not been waited for.
    unsafe { libc::kill(pid, signal) };
}

/// Blocks until a child has exited, ignoring stops.
pub fn reap(pid: i32) -> i32 {
    loop {
        let status = wait(pid);
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            return status;
        }
    }
}

fn wait(pid: i32) -> i32 {
    let mut status = 0;
    loop {
        // SAFETY: see the module.
        let got = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        if got == pid {
            return status;
        }
        let error = std::io::Error::last_os_error();
        assert_eq!(error.raw_os_error(), Some(libc::EINTR), "waitpid {pid}: {error}");
    }
}

/// A pipe by which processes signal progress to each other.
pub struct Signpost {
    read: OwnedFd,
    write: OwnedFd,
}

impl Signpost {
    pub fn new() -> Signpost {
        let mut fds = [0; 2];
        // SAFETY: see the module.
        assert_eq!(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
        // SAFETY: just opened.
        unsafe { Signpost { read: OwnedFd::from_raw_fd(fds[0]), write: OwnedFd::from_raw_fd(fds[1]) } }
    }

    /// Returns the descriptor that a signal handler writes to.
    pub fn write_end(&self) -> i32 {
        self.write.as_raw_fd()
    }

    /// Posts `n` times, which releases `n` waiters, or one waiter `n` times.
    pub fn post(&self, n: usize) {
        self.write_bytes(&vec![0; n]);
    }

    fn write_bytes(&self, bytes: &[u8]) {
        // SAFETY: see the module.
        let n = unsafe { libc::write(self.write.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
        assert_eq!(n, bytes.len() as isize);
    }

    /// Returns `true` if a post is pending within `bound`. Does not consume it.
    pub fn is_posted_within(&self, bound: Duration) -> bool {
        readable(&self.read, bound)
    }

    /// Blocks until there is a post, and consumes it.
    #[track_caller]
    pub fn wait(&self) {
        self.read_exact(&mut [0], BOUND);
    }

    /// As [`Signpost::wait`], with a limit that leaves time for single steps of another process.
    #[track_caller]
    pub fn wait_patiently(&self) {
        self.read_exact(&mut [0], WHOLE_TEST);
    }

    /// Sends a number. A write of this size to a pipe is atomic.
    pub fn send_number(&self, number: i64) {
        self.write_bytes(&number.to_ne_bytes());
    }

    #[track_caller]
    pub fn number(&self) -> i64 {
        let mut bytes = [0; 8];
        self.read_exact(&mut bytes, BOUND);
        i64::from_ne_bytes(bytes)
    }

    #[track_caller]
    fn read_exact(&self, bytes: &mut [u8], bound: Duration) {
        let mut got = 0;
        while got < bytes.len() {
            assert!(readable(&self.read, bound), "no process has signalled");
            let rest = &mut bytes[got..];
            // SAFETY: see the module.
            let n = unsafe { libc::read(self.read.as_raw_fd(), rest.as_mut_ptr().cast(), rest.len()) };
            if n > 0 {
                got += n as usize;
            } else {
                let error = std::io::Error::last_os_error();
                assert!(n < 0 && error.raw_os_error() == Some(libc::EINTR), "the pipe is closed: {error}");
            }
        }
    }
}

/// Returns `true` if a post is pending.
pub fn is_posted(signpost: &Signpost) -> bool {
    signpost.is_posted_within(Duration::ZERO)
}

/// Lets other users enter a directory.
pub fn open_to_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o711)).unwrap();
}

pub fn is_root() -> bool {
    // SAFETY: cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Changes the user and group for good.
pub fn become_user(uid: u32) {
    // SAFETY: plain numbers.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
        assert_eq!(libc::setresgid(uid, uid, uid), 0);
        assert_eq!(libc::setresuid(uid, uid, uid), 0);
        // Otherwise a tracer cannot read the memory, and root owns `/proc/self`.
        assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
    }
}

/// Returns the sorted names in a directory.
pub fn names(folder: &Path) -> Vec<String> {
    let mut all: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    all.sort();
    all
}

/// A mapped part of a file, in which a tracer sees the stores of its tracee.
pub struct Window {
    at: *mut u8,
    len: usize,
}

impl Window {
    pub fn open(path: &Path, offset: u64, len: usize) -> Option<Window> {
        let file = std::fs::File::options().read(true).write(true).open(path).ok()?;
        if file.metadata().unwrap().len() < offset + len as u64 {
            return None;
        }
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: overlaps nothing.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, file.as_raw_fd(), offset as i64) };
        assert_ne!(at, libc::MAP_FAILED);
        Some(Window { at: at.cast(), len })
    }

    fn differs(&self, from: &[u8]) -> bool {
        // SAFETY: mapped with this length; only compared.
        unsafe { libc::memcmp(self.at.cast(), from.as_ptr().cast(), self.len) != 0 }
    }

    pub fn copy(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        // SAFETY: mapped with this length.
        unsafe { std::ptr::copy_nonoverlapping(self.at, bytes.as_mut_ptr(), self.len) };
        bytes
    }

    /// Returns the 32-bit word at a byte offset, which must be a multiple of 4.
    pub fn word(&self, offset: usize) -> &std::sync::atomic::AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.len);
        // SAFETY: in bounds, aligned, mapped while `self` lives; atomics may change at any time.
        unsafe { &*self.at.add(offset).cast() }
    }

    pub fn long(&self, offset: usize) -> &std::sync::atomic::AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len);
        // SAFETY: as above.
        unsafe { &*self.at.add(offset).cast() }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: mapped by `open`.
        unsafe { libc::munmap(self.at.cast(), self.len) };
    }
}

/// Reproducible random numbers.
pub struct Dice(pub u64);

impl Dice {
    pub fn throw(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % below
    }
}

/// Maps zeroed words that children share.
pub fn shared_words(n: usize) -> &'static [std::sync::atomic::AtomicU32] {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
    // SAFETY: overlaps nothing; never unmapped; zeroes are atomics.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), 4 * n, protection, flags, -1, 0);
        assert_ne!(at, libc::MAP_FAILED);
        std::slice::from_raw_parts(at.cast(), n)
    }
}
