//! Children under `ptrace` that are stopped at a chosen point: at a system call, or after a store
//! to shared memory.
//!
//! # Safety
//!
//! The raw calls get process ids of children that were created here and are stopped, and pointers
//! to locals.

use super::*;
use std::sync::atomic::Ordering::SeqCst;

/// The offset of the lock word in the file `registry`.
pub const LOCK: usize = 12;
/// The offset of the lock word in the file of a set.
pub const SET_LOCK: usize = 16;

/// The offset of the lock word in the file of a queue.
pub const QUEUE_LOCK: usize = 0;

/// Returns the lock word of a set that is held by this process: its slot and incarnation from the
/// registry.
pub fn lock_word_of(path: &Path, pid: i32) -> u32 {
    const SLOTS: usize = 16384;
    const SLOT: usize = 32;
    const LOOKED_AT: usize = 64;
    let registry = Window::open(&path.join("registry"), 0, SLOTS + LOOKED_AT * SLOT).unwrap();
    let at = |slot: usize, word: usize| registry.word(SLOTS + slot * SLOT + 4 * word).load(SeqCst);
    let slot = (0..LOOKED_AT).find(|slot| at(*slot, 2) == pid as u32).unwrap();
    (slot as u32 + 1) | (at(slot, 0) << 15 & 0x7fff_ffff)
}

/// Reads the lock words of the registry, the first set and the first queue.
pub fn lock_words(path: &Path) -> [u32; 3] {
    [("registry", LOCK), ("sem/0", SET_LOCK), ("msg/0", QUEUE_LOCK)].map(|(name, at)| {
        let mut word = [0; 4];
        let file = std::fs::File::open(path.join(name));
        let n = file.and_then(|file| std::os::unix::fs::FileExt::read_at(&file, &mut word, at as u64));
        if n.ok() == Some(word.len()) { u32::from_ne_bytes(word) } else { 0 }
    })
}

/// The shared memory of a namespace, watched for stores: the registry's header, its first slots and
/// keys, the control files of the first segments, the first set, and the first queue.
pub struct Watch {
    path: PathBuf,
    windows: Vec<Option<(Window, Vec<u8>)>>,
}

const CONTROLS: usize = 3;
const SET: usize = 2 + CONTROLS;
const SET_KEYS: usize = SET + 1;
const QUEUE: usize = SET_KEYS + 1;
const QUEUE_PAGES: usize = QUEUE + 1;
const QUEUE_KEYS: usize = QUEUE_PAGES + 1;
/// The offset of the key table in the registry.
pub const KEYS: u64 = 16384 + 32 * 16256;
/// Maximal number of watched bytes of a set.
const MOST_BYTES: u64 = 32768;
/// The watched part of a queue: the header and one page. Stores to further pages only copy text.
const QUEUE_BYTES: u64 = 8192;

impl Watch {
    pub fn new(path: &Path) -> Watch {
        let mut watch = Watch { path: path.to_path_buf(), windows: (0..=QUEUE_KEYS).map(|_| None).collect() };
        watch.reopen();
        watch
    }

    /// Opens new files and records the current content.
    pub fn reopen(&mut self) {
        let registry = self.path.join("registry");
        let files = [(SET, "sem/0", MOST_BYTES), (QUEUE, "msg/0", QUEUE_BYTES), (QUEUE_PAGES, "msg/0.data", QUEUE_BYTES)];
        let files = files.map(|(i, name, most)| {
            let file = self.path.join(name);
            let len = std::fs::metadata(&file).map_or(0, |stat| stat.len().min(most)) as usize;
            (i, file, len)
        });
        for (i, window) in self.windows.iter_mut().enumerate() {
            let file = files.iter().find(|(of, ..)| *of == i);
            let grown = file.is_some_and(|(_, _, len)| window.as_ref().is_some_and(|(window, _)| window.len < *len));
            if window.is_none() || grown {
                let opened = match (i, file) {
                    (_, Some((.., 0))) => None,
                    (_, Some((_, file, len))) => Window::open(file, 0, *len),
                    (0, _) => Window::open(&registry, 0, 20480),
                    (1, _) => Window::open(&registry, KEYS, 4096),
                    (SET_KEYS, _) => Window::open(&registry, KEYS + 4 * 32768, 4096),
                    (QUEUE_KEYS, _) => Window::open(&registry, KEYS + 8 * 32768, 4096),
                    (i, _) => Window::open(&self.path.join(format!("shm/{}", i - 2)), 0, 4096),
                };
                *window = opened.map(|w| (w, Vec::new()));
            }
            if let Some((window, seen)) = window {
                *seen = window.copy();
            }
        }
    }

    /// Returns `true` if a store has happened since the last call.
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

    /// Returns what other processes can see of the namespace besides shared memory: names, modes,
    /// owners, sizes, access control lists, and locks on the registry.
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

    /// Returns the three lock words combined; 0 if no lock is held.
    pub fn lock_word(&self) -> u32 {
        self.lock_words().into_iter().fold(0, |all, word| all | word)
    }

    /// Returns the lock words of the registry, the first set and the first queue.
    pub fn lock_words(&self) -> [u32; 3] {
        let word = |window: usize, at| self.windows[window].as_ref().map_or(0, |(w, _)| w.word(at).load(SeqCst));
        [word(0, LOCK), word(SET, SET_LOCK), word(QUEUE, QUEUE_LOCK)]
    }
}

/// A point at which a traced process is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// At stop `.0`. A system call stops at its beginning and at its end; 0 is the start.
    Stop(u32),
    /// After stop `.0`, when shared memory has changed `.1` times (from 1).
    Store(u32, u32),
}

/// A child under `ptrace`, between [`begin`] and [`finish`].
pub struct Tracee {
    pub pid: i32,
    pub(super) stops: u32,
    finished: bool,
    pub lock_held: bool,
    /// `true` for a child that was just forked.
    pub is_forked_child: bool,
}

/// Called by the child: starts tracing.
pub fn begin() {
    // SAFETY: no pointers.
    unsafe {
        assert_eq!(libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0), 0);
        libc::raise(libc::SIGSTOP);
    }
    first_instruction();
}

/// Marks the first traced instruction.
#[inline(never)]
pub(super) extern "C" fn first_instruction() {
    std::hint::black_box(());
}

/// Called by the child: ends the traced part.
#[inline(never)]
pub extern "C" fn finish() {
    // SAFETY: no pointers.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// Why the tracee has stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Stop {
    /// A system call begins or ends.
    Call,
    /// It has forked a child with this process id.
    Forked(i32),
    /// It has called [`finish`].
    Finished,
}

static FORKED: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(0);

/// Returns the last child that a tracee has forked, stopped before its first instruction, and
/// forgets it; 0 if none.
pub fn forked() -> i32 {
    FORKED.swap(0, SeqCst)
}

/// Kills the forked child of a tracee that was only traced.
pub(super) fn discard_forked() {
    let pid = forked();
    if pid != 0 {
        kill(pid, libc::SIGKILL);
        // SAFETY: no pointers; it may not be a child of this process.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) };
    }
}

impl Tracee {
    /// Starts `body` in a child and blocks until it calls [`begin`].
    pub fn start(body: impl FnOnce()) -> Tracee {
        let child = fork(body);
        let pid = child.pid;
        std::mem::forget(child);
        let status = wait(pid);
        assert!(libc::WIFSTOPPED(status), "the child ended before `begin`: {status:#x}");
        assert_eq!(libc::WSTOPSIG(status), libc::SIGSTOP);
        let tracee = Tracee { pid, stops: 0, finished: false, lock_held: false, is_forked_child: false };
        tracee.set_options();
        tracee
    }

    /// Takes over a forked child, stopped before its first instruction.
    pub fn forked_child(pid: i32) -> Tracee {
        let status = wait(pid);
        assert!(libc::WIFSTOPPED(status), "{status:#x}");
        let tracee = Tracee { pid, stops: 0, finished: false, lock_held: false, is_forked_child: true };
        tracee.set_options();
        tracee
    }

    fn set_options(&self) {
        let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACEFORK;
        let options = options | libc::PTRACE_O_TRACECLONE;
        // SAFETY: a stopped tracee of this thread.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, self.pid, 0, options as usize) }, 0);
    }

    pub(super) fn has_finished(&self) -> bool {
        self.finished
    }

    /// Continues to the next stop.
    pub fn next(&mut self) -> Stop {
        self.resume(libc::PTRACE_SYSCALL)
    }

    pub(super) fn resume(&mut self, how: libc::c_uint) -> Stop {
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
                panic!("the child ended in the traced part: {status:#x}");
            }
            let event = status >> 16;
            match libc::WSTOPSIG(status) {
                stop if stop == libc::SIGTRAP | 0x80 => {
                    self.stops += 1;
                    assert!(self.stops < 20_000, "the child does not finish");
                    return Stop::Call;
                }
                libc::SIGTRAP if event != 0 => {
                    let mut child = 0usize;
                    // SAFETY: the kernel writes one word.
                    unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, self.pid, 0, &raw mut child) };
                    FORKED.store(child as i32, SeqCst);
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

    /// Returns `true` if the next instruction is a system call.
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

    /// Single-steps until the next system call, or until shared memory has changed `most` times.
    /// Returns the number of changes.
    fn step(&mut self, watch: &mut Watch, most: u32) -> u32 {
        let mut changes = 0;
        watch.reopen();
        let mut quiet = 0;
        // A longer run without a change prepares private memory.
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

    /// Continues to a point. Returns `false` if the operation ends before.
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

    /// Executes this many instructions. Returns `false` if the operation ends before.
    pub fn steps(&mut self, instructions: usize) -> bool {
        (0..instructions).all(|_| {
            let (stops, stop) = (self.stops, self.resume(libc::PTRACE_SINGLESTEP));
            self.stops = stops;
            stop != Stop::Finished
        })
    }

    /// Continues until shared memory has changed `nth` times (from 0), across system calls. Returns
    /// `false` if the operation ends before.
    pub fn run_to_change(&mut self, nth: u32, watch: &mut Watch) -> bool {
        let mut left = nth;
        while left > 0 {
            if self.stops.is_multiple_of(2) {
                left -= self.step(watch, left);
            }
            if left > 0 && self.next() == Stop::Finished {
                return false;
            }
        }
        true
    }

    /// Continues within a system call until the tracee sleeps. Returns `false` if the call returns.
    pub fn falls_asleep(&mut self) -> bool {
        // SAFETY: a stopped tracee of this thread.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SYSCALL, self.pid, 0, 0) }, 0);
        loop {
            let mut status = 0;
            // SAFETY: a local.
            match unsafe { libc::waitpid(self.pid, &raw mut status, libc::__WALL | libc::WNOHANG) } {
                0 if state(self.pid) == Some('S') => return true,
                0 => std::thread::yield_now(),
                _ => return false,
            }
        }
    }

    /// Returns all points at which other processes can see a change: each store to shared memory
    /// (with `stores`) and each system call with an effect. With `QUINTET_CRASH_ALL` set, each
    /// stop.
    pub fn all_points(mut self, watch: &mut Watch, stores: bool) -> Vec<Point> {
        let mut points = vec![Point::Stop(0)];
        let all = std::env::var_os("QUINTET_CRASH_ALL").is_some();
        let mut seen = watch.surroundings();
        loop {
            // At the end of a call, not at its beginning.
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

    /// Detaches from the tracee, with a signal or 0.
    pub fn release(self, signal: i32) -> Child {
        // SAFETY: a stopped tracee of this thread.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_DETACH, self.pid, 0, signal as usize) }, 0);
        let child = Child { pid: self.pid };
        std::mem::forget(self);
        child
    }

    /// Kills the tracee.
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
