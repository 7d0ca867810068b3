//! Identities of the calling process and thread.

use crate::sys::clock::coarse_nanos;
use crate::sys::errno::{errno, set_errno};
use crate::sys::fork_page::FORK_PAGE;
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The id of this process. Asking the kernel costs as much as all the rest of a detach.
const PID: &AtomicU32 = &FORK_PAGE.state.pid;

/// Returns the id of this process, as it sees itself.
#[inline]
pub fn pid() -> u32 {
    match PID.load(Relaxed) {
        0 => {
            let pid = asked_pid();
            PID.store(pid, Relaxed);
            pid
        }
        pid => pid,
    }
}

/// Asks the kernel for the id of this process. It differs from [`pid`] in a vfork child, which runs
/// on the memory of its parent.
pub fn asked_pid() -> u32 {
    rustix::process::getpid().as_raw_nonzero().get() as u32
}

/// Asks the kernel for the id of the calling thread.
pub fn tid() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get() as u32
}

/// The id of the calling thread, kept in a thread-local variable.
pub struct KnownTid(Cell<(u32, u32)>);

/// The number of forks that this memory has been through, plus one. A value that was cached before
/// a fork is not valid in the child. The process id is not sufficient: in a new PID namespace, a
/// child can have the same id as its parent.
const GENERATION: &AtomicU32 = &FORK_PAGE.state.generation;

/// Returns a number that is different in a child and in its parent.
#[inline(always)]
pub fn generation() -> u32 {
    GENERATION.load(Relaxed)
}

impl KnownTid {
    pub const fn new() -> KnownTid {
        KnownTid(Cell::new((0, 0)))
    }

    /// Returns the id, and asks again in a child.
    #[inline(always)]
    pub fn get(&self) -> u32 {
        let (known, of) = self.0.get();
        if of == generation() { known } else { self.ask() }
    }

    #[cold]
    fn ask(&self) -> u32 {
        self.0.set((tid(), generation()));
        self.0.get().0
    }
}

/// Returns the id of the calling thread without a system call.
pub fn known_tid() -> u32 {
    thread_local! {
        static KNOWN: KnownTid = const { KnownTid::new() };
    }
    KNOWN.with(KnownTid::get)
}

/// Returns the calling thread's `pthread_t`.
pub fn thread() -> usize {
    #[allow(unsafe_code)]
    // SAFETY: takes nothing and cannot fail.
    let thread = unsafe { libc::pthread_self() };
    thread as usize
}

/// Returns `true` if the calling thread has disabled its cancellation.
#[allow(unsafe_code)]
pub fn ignores_cancellation() -> bool {
    unsafe extern "C" {
        fn pthread_setcancelstate(state: libc::c_int, old: *mut libc::c_int) -> libc::c_int;
    }
    // PTHREAD_CANCEL_DISABLE, the same in all C libraries.
    const DISABLE: libc::c_int = 1;
    let mut before = 0;
    // SAFETY: sets a state and restores it, with a pointer to a local. Neither call is a
    // cancellation point.
    unsafe {
        pthread_setcancelstate(DISABLE, &raw mut before);
        pthread_setcancelstate(before, std::ptr::null_mut());
    }
    before == DISABLE
}

/// Returns `true` if a process of the caller's PID namespace has this thread.
pub fn thread_exists(pid: u32, tid: u32) -> bool {
    let saved = errno();
    #[allow(unsafe_code)]
    // SAFETY: numbers only; signal 0 is none.
    let ret = unsafe { libc::syscall(libc::SYS_tgkill, pid as libc::pid_t, tid as libc::pid_t, 0) };
    let gone = ret == -1 && errno() == libc::ESRCH;
    set_errno(saved);
    !gone
}

/// Returns `true` if the calling thread may run on one processor only, as of at most 20 ms ago.
pub fn runs_on_one_processor() -> bool {
    const FOR: u64 = 20_000_000;
    thread_local! {
        /// The last answer, and when it expires.
        static KNOWN: Cell<(bool, u64)> = const { Cell::new((false, 0)) };
    }
    let (known, until) = KNOWN.get();
    let now = coarse_nanos();
    if now < until && until <= now + FOR {
        return known;
    }
    let one = rustix::thread::sched_getaffinity(None).is_ok_and(|set| set.count() == 1);
    KNOWN.set((one, now + FOR));
    one
}

/// Forgets the ids of the parent, in a child.
pub fn forget_pid() {
    PID.store(0, Relaxed);
    GENERATION.fetch_add(1, Relaxed);
}
