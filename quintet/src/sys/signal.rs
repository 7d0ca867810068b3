//! Holding signals off while a lock is held: a handler that called us then would wait for its own thread.
//!
//! # Safety
//!
//! The signal sets are locals, filled by the calls themselves.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

/// The signals are blocked while this lives.
pub struct Blocked {
    before: libc::sigset_t,
}

/// All signals that may be blocked.
pub fn all() -> libc::sigset_t {
    let mut all = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: a local of the right type, which the call fills.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        if crate::sys::truncation::is_guarded() {
            // What a fault raises ends the program if it is held off.
            libc::sigdelset(all.as_mut_ptr(), libc::SIGBUS);
        }
        all.assume_init()
    }
}

impl Blocked {
    /// Blocks all signals of the calling thread that may be blocked.
    pub fn all() -> Blocked {
        let all = all();
        let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: both are locals of the right type; pthread_sigmask cannot fail with these arguments.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, before.as_mut_ptr());
            Blocked { before: before.assume_init() }
        }
    }
}

// The first two are for the assembly in `trace`.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
impl Blocked {
    /// For a caller that has blocked them himself, with this mask before.
    pub fn with_mask(before: libc::sigset_t) -> Blocked {
        Blocked { before }
    }

    /// The mask of before, for a caller that puts it in force himself.
    pub fn into_mask(self) -> libc::sigset_t {
        let mask = self.before;
        std::mem::forget(self);
        mask
    }

    /// Whether a signal has come meanwhile that will be delivered when this ends, and does not just pass unnoticed.
    pub fn catches_pending(&self) -> bool {
        let mut pending = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: a local of the right type; zeroes are a valid set if the call fails.
        let pending = unsafe {
            libc::sigpending(pending.as_mut_ptr());
            pending.assume_init()
        };
        (1..=64).any(|signal| {
            // SAFETY: both sets are valid; a number beyond the system's gives -1.
            let new = unsafe {
                libc::sigismember(&raw const pending, signal) == 1 && libc::sigismember(&raw const self.before, signal) == 0
            };
            new && is_noticed(signal)
        })
    }
}

/// Whether a signal does anything to the process.
fn is_noticed(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks only, into a local of the right type; zeroes are a valid sigaction if the call fails.
    let action = unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    match action.sa_sigaction {
        libc::SIG_IGN => false,
        libc::SIG_DFL => ![libc::SIGCHLD, libc::SIGURG, libc::SIGWINCH, libc::SIGCONT].contains(&signal),
        _ => true,
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: `before` was filled by the kernel.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut());
        }
    }
}
