//! Blocking signals while a lock is held.
//!
//! Without this, a handler that calls the library could wait for the lock of its own thread.
//!
//! # Safety
//!
//! The signal sets are local variables, which the calls initialise.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

/// Blocks the signals of the calling thread. Dropping it restores the mask.
pub struct Blocked {
    before: libc::sigset_t,
}

/// Returns the set of all signals that the library blocks.
pub fn all() -> libc::sigset_t {
    let mut all = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: `all` is a local of the right type, and `sigfillset` initialises it.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        if crate::sys::truncation::is_guarded() {
            // A fault ends the program if its signal is blocked, so SIGBUS must reach its handler.
            libc::sigdelset(all.as_mut_ptr(), libc::SIGBUS);
        }
        all.assume_init()
    }
}

impl Blocked {
    /// Blocks the signals of [`all`] in the calling thread.
    pub fn all() -> Blocked {
        let all = all();
        let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: both are locals of the right type. pthread_sigmask(3) fails only for an invalid
        // first argument, so it initialises `before`.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, before.as_mut_ptr());
            Blocked { before: before.assume_init() }
        }
    }
}

// The first two are for the assembly in `sigframe_probe`.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
impl Blocked {
    /// Takes over from a caller that has blocked the signals itself; `before` is the mask to
    /// restore.
    pub fn with_mask(before: libc::sigset_t) -> Blocked {
        Blocked { before }
    }

    /// Returns the mask to restore, for a caller that restores it itself.
    pub fn into_mask(self) -> libc::sigset_t {
        let mask = self.before;
        std::mem::forget(self);
        mask
    }

    /// Returns `true` if a pending signal will have an effect when the mask is restored: it runs a
    /// handler, or ends or stops the process.
    pub fn catches_pending(&self) -> bool {
        let mut pending = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: `pending` is a local of the right type. If the call fails, its zeroes are a valid
        // set.
        let pending = unsafe {
            libc::sigpending(pending.as_mut_ptr());
            pending.assume_init()
        };
        (1..=64).any(|signal| {
            // SAFETY: both sets are valid. The call returns -1 for a number that is not a signal.
            let new = unsafe {
                libc::sigismember(&raw const pending, signal) == 1 && libc::sigismember(&raw const self.before, signal) == 0
            };
            new && has_effect(signal)
        })
    }
}

/// Returns `true` if the signal is neither ignored nor without effect by default.
fn has_effect(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the call changes no action, and writes to a local of the right type. If it fails, the
    // zeroes there are a valid sigaction.
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
        // SAFETY: `before` is a valid set: the kernel has written it.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut());
        }
    }
}
