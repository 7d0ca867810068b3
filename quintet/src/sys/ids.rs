//! Identities of the calling process and thread.

use crate::sys::clock::coarse_nanos;
use crate::sys::errno::{errno, set_errno};
use crate::sys::fork_page::FORK_PAGE;
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// This process's id, remembered: asking costs as much as all the rest of a detach.
const PID: &AtomicU32 = &FORK_PAGE.state.pid;

/// This process, as it sees itself.
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

/// The same, asked of the kernel: differs from [`pid`] in a child made by vfork, whose memory is its parent's.
pub fn asked_pid() -> u32 {
    rustix::process::getpid().as_raw_nonzero().get() as u32
}

/// The calling thread.
pub fn tid() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get() as u32
}

/// The calling thread, remembered in a variable of its own.
pub struct KnownTid(Cell<(u32, u32)>);

/// How many forks this memory has been through, plus one: what was remembered before one is not true of the child. (Its pid
/// does not tell: in a PID namespace of its own a child may have its parent's number.)
const GENERATION: &AtomicU32 = &FORK_PAGE.state.generation;

/// A number that is another one in a child than in its parent.
#[inline(always)]
pub fn generation() -> u32 {
    GENERATION.load(Relaxed)
}

impl KnownTid {
    pub const fn new() -> KnownTid {
        KnownTid(Cell::new((0, 0)))
    }

    /// The thread: asked for again in another process.
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

/// The calling thread, remembered.
pub fn known_tid() -> u32 {
    thread_local! {
        static KNOWN: KnownTid = const { KnownTid::new() };
    }
    KNOWN.with(KnownTid::get)
}

/// The calling thread, as the C library knows it.
pub fn thread() -> usize {
    #[allow(unsafe_code)]
    // SAFETY: takes nothing and cannot fail.
    let thread = unsafe { libc::pthread_self() };
    thread as usize
}

/// Whether the calling thread does not end where it is cancelled.
#[allow(unsafe_code)]
pub fn ignores_cancellation() -> bool {
    unsafe extern "C" {
        fn pthread_setcancelstate(state: libc::c_int, old: *mut libc::c_int) -> libc::c_int;
    }
    // PTHREAD_CANCEL_DISABLE, the same in all C libraries.
    const DISABLE: libc::c_int = 1;
    let mut before = 0;
    // SAFETY: a local, and what it was before. The thread ends by neither: it is only looked for at certain places.
    unsafe {
        pthread_setcancelstate(DISABLE, &raw mut before);
        pthread_setcancelstate(before, std::ptr::null_mut());
    }
    before == DISABLE
}

/// Whether a process of the caller's PID namespace has this thread.
pub fn thread_exists(pid: u32, tid: u32) -> bool {
    let saved = errno();
    #[allow(unsafe_code)]
    // SAFETY: numbers only; signal 0 is none.
    let ret = unsafe { libc::syscall(libc::SYS_tgkill, pid as libc::pid_t, tid as libc::pid_t, 0) };
    let gone = ret == -1 && errno() == libc::ESRCH;
    set_errno(saved);
    !gone
}

/// Whether the calling thread may run on one processor only, as it was a short while ago.
pub fn runs_on_one_processor() -> bool {
    const FOR: u64 = 20_000_000;
    thread_local! {
        /// What was found, and until when that is believed.
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

/// After a fork, in the child.
pub fn forget_pid() {
    PID.store(0, Relaxed);
    GENERATION.fetch_add(1, Relaxed);
}
