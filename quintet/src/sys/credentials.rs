//! The calling thread's ids, groups and capabilities.
//!
//! They are read from the kernel at each call, because a program can change them at any time.

use rustix::thread::{CapabilitySet, capabilities};
use std::sync::atomic::{AtomicU32, Ordering::*};

/// Returns the effective user id.
pub fn euid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Returns the effective group id.
pub fn egid() -> u32 {
    rustix::process::getegid().as_raw()
}

/// Returns `true` if the effective group or a supplementary group of the thread is `a` or `b`.
pub fn in_groups(a: u32, b: u32) -> bool {
    let own = egid();
    if own == a || own == b {
        return true;
    }
    let mut groups = [rustix::process::Gid::ROOT; 64];
    match getgroups(&mut groups) {
        Some(n) => groups[..n].iter().any(|g| g.as_raw() == a || g.as_raw() == b),
        // More groups than the array has room for are rare, so this may allocate.
        None => rustix::process::getgroups().unwrap_or_default().iter().any(|g| g.as_raw() == a || g.as_raw() == b),
    }
}

/// Reads the supplementary groups. Returns their number, or `None` if there are more than 64.
#[allow(unsafe_code)]
fn getgroups(into: &mut [rustix::process::Gid; 64]) -> Option<usize> {
    let mut raw = [0u32; 64];
    #[cfg(any(target_arch = "x86", target_arch = "arm"))]
    const GETGROUPS: libc::c_long = libc::SYS_getgroups32;
    #[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
    const GETGROUPS: libc::c_long = libc::SYS_getgroups;
    let saved = crate::sys::errno::errno();
    // SAFETY: getgroups(2) writes at most as many ids as the array has room for. It is called by
    // number, because the C library's function can be one of fakeroot's.
    let n = unsafe { libc::syscall(GETGROUPS, raw.len() as libc::c_long, raw.as_mut_ptr()) };
    crate::sys::errno::set_errno(saved);
    let n = usize::try_from(n).ok()?;
    for (to, from) in into.iter_mut().zip(&raw[..n]) {
        *to = rustix::process::Gid::from_raw(*from);
    }
    Some(n)
}

/// Returns `true` if the capability is effective.
pub fn capable(capability: CapabilitySet) -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

/// The number of reported changes of credentials.
static GENERATION: AtomicU32 = AtomicU32::new(1);

/// Reports that the credentials of this process or of one of its threads may have changed.
///
/// Permissions that were remembered before are checked again.
pub fn changed() {
    GENERATION.fetch_add(1, SeqCst);
}

/// Returns a number that differs after each call of [`changed`].
#[inline]
pub fn generation() -> u32 {
    GENERATION.load(Relaxed)
}
