//! What the tests that try to break the crate share: a process of their own for each test, children with
//! a bound on their life, and children under `ptrace` that are ended at a chosen point.
//!
//! # Safety
//!
//! A test runs in a process of its own whose main thread only waits, so that after `fork` the child has
//! all it needs. The raw calls get descriptors and process ids that were made here, and pointers to locals.
#![allow(dead_code, unsafe_code)]

use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The most that anything may take: an upper bound against hanging, never a measurement.
pub const BOUND: Duration = Duration::from_secs(60);
const WHOLE_TEST: Duration = Duration::from_secs(550);
const DIRECTORY: &str = "QUINTET_TEST_DIRECTORY";

/// Runs `body` in a process of its own, with a directory (on tmpfs where there is one) that goes afterwards.
/// `name` is the test's own name.
pub fn alone(name: &str, body: impl FnOnce(&Path)) {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        // Grandchildren whose parents die are reaped here.
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

/// Waits until a child has ended (it stays a zombie), for `bound` at the most.
pub fn ends_within(pid: i32, bound: Duration) -> bool {
    // SAFETY: see the module.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as i32;
    assert!(fd >= 0, "pidfd_open: {}", std::io::Error::last_os_error());
    // SAFETY: just opened.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    readable(&fd, bound)
}

/// Waits until a descriptor can be read, for `bound` at the most.
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

/// Waits for a condition, for [`BOUND`] at the most.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + BOUND;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within {BOUND:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Exit(i32),
    Signal(i32),
    /// It had to be killed after the bound.
    Hung,
}

/// A child made by `fork`; killed if dropped.
pub struct Child {
    pub pid: i32,
}

/// Runs `body` in a child, which ends with status 0, or 101 if it panics.
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
    /// Waits for its end; kills it after [`BOUND`].
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

    /// It must end well.
    #[track_caller]
    pub fn succeeds(self) {
        assert_eq!(self.end(), End::Exit(0));
    }

    /// Kills it, and waits for its end.
    pub fn kill(self) {
        drop(self)
    }

    pub fn signal(&self, signal: i32) {
        kill(self.pid, signal);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        kill(self.pid, libc::SIGKILL);
        reap(self.pid);
    }
}

/// Says where a process hangs.
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

/// Waits for a child's end, skipping its stops.
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

/// A pipe over which processes tell each other that they have got somewhere.
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

    /// Tells `n` waiters, or one waiter n times.
    pub fn tell(&self, n: usize) {
        self.tell_number_raw(&vec![0; n]);
    }

    fn tell_number_raw(&self, bytes: &[u8]) {
        // SAFETY: see the module.
        let n = unsafe { libc::write(self.write.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
        assert_eq!(n, bytes.len() as isize);
    }

    /// Waits until told, once.
    #[track_caller]
    pub fn wait(&self) {
        let mut byte = [0];
        self.read_exact(&mut byte);
    }

    /// Passes a number on; atomically, as pipes do.
    pub fn tell_number(&self, number: i64) {
        self.tell_number_raw(&number.to_ne_bytes());
    }

    #[track_caller]
    pub fn number(&self) -> i64 {
        let mut bytes = [0; 8];
        self.read_exact(&mut bytes);
        i64::from_ne_bytes(bytes)
    }

    #[track_caller]
    fn read_exact(&self, bytes: &mut [u8]) {
        let mut got = 0;
        while got < bytes.len() {
            assert!(readable(&self.read, BOUND), "nobody tells");
            let rest = &mut bytes[got..];
            // SAFETY: see the module.
            let n = unsafe { libc::read(self.read.as_raw_fd(), rest.as_mut_ptr().cast(), rest.len()) };
            if n > 0 {
                got += n as usize;
            } else {
                let error = std::io::Error::last_os_error();
                assert!(n < 0 && error.raw_os_error() == Some(libc::EINTR), "the pipe ends: {error}");
            }
        }
    }
}

/// Whether somebody has told already.
pub fn tells(signpost: &Signpost) -> bool {
    readable(&signpost.read, Duration::ZERO)
}

/// Lets other users into a directory of the test's own.
pub fn open_to_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o711)).unwrap();
}

pub fn is_root() -> bool {
    // SAFETY: cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Becomes another user, for good.
pub fn become_user(uid: u32) {
    // SAFETY: plain numbers.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
        assert_eq!(libc::setresgid(uid, uid, uid), 0);
        assert_eq!(libc::setresuid(uid, uid, uid), 0);
        // Else its memory is hidden from a tracer, and /proc/self is not its own.
        assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
    }
}

/// The names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let mut all: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    all.sort();
    all
}

/// A part of a file, mapped: the tracer sees what the traced does.
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

    /// The 32-bit word at a byte offset that 4 divides.
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

/// Where the lock word is in the file `registry`.
pub const LOCK: usize = 12;

/// The shared memory of a namespace, watched for stores: the registry's fixed part, its first slots and keys, the
/// control files of the first indexes.
pub struct Watch {
    path: PathBuf,
    windows: Vec<Option<(Window, Vec<u8>)>>,
}

const CONTROLS: usize = 3;

impl Watch {
    pub fn new(path: &Path) -> Watch {
        let mut watch = Watch { path: path.to_path_buf(), windows: (0..2 + CONTROLS).map(|_| None).collect() };
        watch.reopen();
        watch
    }

    /// Opens what has appeared, and sees all as it is now.
    pub fn reopen(&mut self) {
        let registry = self.path.join("registry");
        for (i, window) in self.windows.iter_mut().enumerate() {
            if window.is_none() {
                let opened = match i {
                    0 => Window::open(&registry, 0, 12288),
                    1 => Window::open(&registry, 8192 + 32 * 16256, 4096),
                    i => Window::open(&self.path.join(format!("shm/{}", i - 2)), 0, 4096),
                };
                *window = opened.map(|w| (w, Vec::new()));
            }
            if let Some((window, seen)) = window {
                *seen = window.copy();
            }
        }
    }

    /// Whether something has been stored since the last look.
    pub fn changed(&mut self) -> bool {
        let mut changed = false;
        for (window, seen) in self.windows.iter_mut().flatten() {
            if window.differs(seen) {
                *seen = window.copy();
                changed = true;
            }
        }
        changed
    }

    /// All that others can see of the namespace but for its shared memory: names, modes, owners, sizes, access
    /// control lists, and who holds a lock on the registry.
    fn surroundings(&self) -> String {
        use std::os::unix::fs::MetadataExt;
        let mut text = String::new();
        let mut folders = vec![self.path.clone()];
        while let Some(folder) = folders.pop() {
            let mut entries: Vec<_> = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
            entries.sort();
            for path in std::iter::once(folder.clone()).chain(entries) {
                let Ok(stat) = path.symlink_metadata() else { continue };
                let (mode, uid, gid, size) = (stat.mode(), stat.uid(), stat.gid(), stat.size());
                text += &format!("{path:?} {mode:o} {uid} {gid} {size} {} {:?}", stat.blocks(), std::fs::read_link(&path).ok());
                let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
                let mut list = [0u8; 256];
                let at = list.as_mut_ptr().cast();
                // SAFETY: see the module.
                let n = unsafe { libc::lgetxattr(name.as_ptr(), c"system.posix_acl_access".as_ptr(), at, list.len()) };
                text += &format!(" {:?}\n", &list[..n.max(0) as usize]);
                if stat.is_dir() && path != folder {
                    folders.push(path);
                } else if path.ends_with("registry") {
                    let locks = std::fs::read_to_string("/proc/locks").unwrap();
                    let inode = format!(":{} ", stat.ino());
                    let of_it = locks.lines().filter(|l| l.contains(&inode)).map(|l| l.split_once(':').unwrap().1);
                    of_it.for_each(|line| text += line);
                }
            }
        }
        text
    }

    pub fn lock_word(&self) -> u32 {
        self.windows[0].as_ref().map_or(0, |(w, _)| w.word(LOCK).load(std::sync::atomic::Ordering::SeqCst))
    }
}

/// Where a traced process is ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// At its n-th stop: system calls are stopped at when they begin and when they end; 0 is the start.
    Stop(u32),
    /// After stop `.0`, when shared memory has changed `.1` times (from 1).
    Store(u32, u32),
}

/// A child under `ptrace`, between [`begin`] and [`finish`].
pub struct Tracee {
    pub pid: i32,
    stops: u32,
    finished: bool,
    pub lock_held: bool,
}

/// In the child: what follows is traced.
pub fn begin() {
    // SAFETY: no pointers.
    unsafe {
        assert_eq!(libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0), 0);
        libc::raise(libc::SIGSTOP);
    }
}

/// In the child: the traced part has ended.
pub fn finish() {
    // SAFETY: no pointers.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// What the tracee has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Stop {
    /// A system call begins or ends.
    Call,
    /// It has forked: the child's process id.
    Forked(i32),
    /// [`finish`].
    Finished,
}

impl Tracee {
    /// Starts `body` in a child and waits until it calls [`begin`].
    pub fn start(body: impl FnOnce()) -> Tracee {
        let child = fork(body);
        let pid = child.pid;
        std::mem::forget(child);
        let status = wait(pid);
        assert!(libc::WIFSTOPPED(status), "the child ended before it began: {status:#x}");
        assert_eq!(libc::WSTOPSIG(status), libc::SIGSTOP);
        let tracee = Tracee { pid, stops: 0, finished: false, lock_held: false };
        tracee.set_options();
        tracee
    }

    /// A process that the tracer has got with its parent's fork, stopped before its first instruction.
    pub fn newborn(pid: i32) -> Tracee {
        let status = wait(pid);
        assert!(libc::WIFSTOPPED(status), "{status:#x}");
        let tracee = Tracee { pid, stops: 0, finished: false, lock_held: false };
        tracee.set_options();
        tracee
    }

    fn set_options(&self) {
        let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACEFORK;
        let options = options | libc::PTRACE_O_TRACECLONE;
        // SAFETY: a stopped tracee of this thread.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, self.pid, 0, options as usize) }, 0);
    }

    /// Goes on to the next stop.
    pub fn next(&mut self) -> Stop {
        self.resume(libc::PTRACE_SYSCALL)
    }

    fn resume(&mut self, how: libc::c_uint) -> Stop {
        let mut signal = 0;
        if self.finished {
            return Stop::Finished;
        }
        loop {
            // SAFETY: a stopped tracee of this thread.
            assert_eq!(unsafe { libc::ptrace(how, self.pid, 0, signal as usize) }, 0);
            let status = wait(self.pid);
            if !libc::WIFSTOPPED(status) {
                self.pid = 0;
                panic!("the child ended in what was traced: {status:#x}");
            }
            let event = status >> 16;
            match libc::WSTOPSIG(status) {
                stop if stop == libc::SIGTRAP | 0x80 => {
                    self.stops += 1;
                    assert!(self.stops < 20_000, "the child goes round for ever");
                    return Stop::Call;
                }
                libc::SIGTRAP if event != 0 => {
                    let mut child = 0usize;
                    // SAFETY: the kernel writes one word.
                    unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, self.pid, 0, &raw mut child) };
                    return Stop::Forked(child as i32);
                }
                // A single step.
                libc::SIGTRAP => return Stop::Call,
                libc::SIGSTOP => {
                    self.finished = true;
                    return Stop::Finished;
                }
                other => signal = other,
            }
        }
    }

    /// Whether the next instruction enters the kernel.
    #[cfg(target_arch = "x86_64")]
    fn at_system_call(&self) -> bool {
        let at = std::mem::offset_of!(libc::user, regs) + std::mem::offset_of!(libc::user_regs_struct, rip);
        // SAFETY: a stopped tracee of this thread; both return what they read.
        let instruction = unsafe {
            let rip = libc::ptrace(libc::PTRACE_PEEKUSER, self.pid, at, 0);
            libc::ptrace(libc::PTRACE_PEEKTEXT, self.pid, rip, 0)
        };
        instruction & 0xffff == 0x050f
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn at_system_call(&self) -> bool {
        true
    }

    /// Steps until the next system call, or until shared memory has changed `most` times. Returns how often it has.
    fn step(&mut self, watch: &mut Watch, most: u32) -> u32 {
        let mut changes = 0;
        watch.reopen();
        let mut quiet = 0;
        // Longer stretches prepare memory that nobody else sees yet.
        while quiet < 60_000 && changes < most && !self.at_system_call() {
            let stops = self.stops;
            if self.resume(libc::PTRACE_SINGLESTEP) == Stop::Finished {
                break;
            }
            self.stops = stops;
            quiet += 1;
            if watch.changed() {
                changes += 1;
                quiet = 0;
            }
        }
        changes
    }

    /// Goes on to a point. `false`: it has finished before.
    pub fn run_to(&mut self, point: Point, watch: &mut Watch) -> bool {
        let (stop, nth) = match point {
            Point::Stop(stop) => (stop, 0),
            Point::Store(stop, nth) => (stop, nth),
        };
        while self.stops < stop {
            match self.next() {
                Stop::Finished => return false,
                Stop::Forked(_) | Stop::Call => {}
            }
        }
        if nth > 0 && self.step(watch, nth) < nth {
            return false;
        }
        watch.reopen();
        self.lock_held = watch.lock_word() != 0;
        true
    }

    /// All points up to its end at which others see something new: each store to shared memory (with `stores`) and
    /// each system call that has changed anything. With `QUINTET_CRASH_ALL` each stop.
    pub fn all_points(mut self, watch: &mut Watch, stores: bool) -> Vec<Point> {
        let mut points = vec![Point::Stop(0)];
        let all = std::env::var_os("QUINTET_CRASH_ALL").is_some();
        let mut seen = watch.surroundings();
        loop {
            // After a call has ended, not before it begins.
            if stores && self.stops.is_multiple_of(2) {
                for nth in 1..=self.step(watch, u32::MAX) {
                    points.push(Point::Store(self.stops, nth));
                }
            }
            match self.next() {
                Stop::Finished => break,
                Stop::Forked(_) => {}
                Stop::Call => {
                    let now = watch.surroundings();
                    if all || now != seen {
                        points.push(Point::Stop(self.stops));
                    }
                    seen = now;
                }
            }
        }
        points
    }

    /// Lets it go, with a signal or 0.
    pub fn release(self, signal: i32) -> Child {
        // SAFETY: a stopped tracee of this thread.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_DETACH, self.pid, 0, signal as usize) }, 0);
        let child = Child { pid: self.pid };
        std::mem::forget(self);
        child
    }

    /// SIGKILL, here and now.
    pub fn kill(self) {
        drop(self)
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        if self.pid != 0 {
            kill(self.pid, libc::SIGKILL);
            reap(self.pid);
        }
    }
}
