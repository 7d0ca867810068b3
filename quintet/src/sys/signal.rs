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

impl Blocked {
    /// Blocks all signals of the calling thread that may be blocked.
    pub fn all() -> Blocked {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: both are locals of the right type; pthread_sigmask cannot fail with these arguments.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            Blocked { before: before.assume_init() }
        }
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
