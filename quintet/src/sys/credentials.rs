//! Who the calling thread is, asked of the kernel at each call, because a program may change it at any time.

use rustix::thread::{CapabilitySet, capabilities};
use std::sync::atomic::{AtomicU32, Ordering::*};

/// The effective user id.
pub fn euid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The effective group id.
pub fn egid() -> u32 {
    rustix::process::getegid().as_raw()
}

/// Whether the thread is in either group, by its effective or a supplementary one.
pub fn in_groups(a: u32, b: u32) -> bool {
    let own = egid();
    if own == a || own == b {
        return true;
    }
    let mut groups = [rustix::process::Gid::ROOT; 64];
    match getgroups(&mut groups) {
        Some(n) => groups[..n].iter().any(|g| g.as_raw() == a || g.as_raw() == b),
        // More than the array holds: rare enough to allocate.
        None => rustix::process::getgroups().unwrap_or_default().iter().any(|g| g.as_raw() == a || g.as_raw() == b),
    }
}

/// The supplementary groups, if they fit.
#[allow(unsafe_code)]
fn getgroups(into: &mut [rustix::process::Gid; 64]) -> Option<usize> {
    let mut raw = [0u32; 64];
    #[cfg(any(target_arch = "x86", target_arch = "arm"))]
    const GETGROUPS: libc::c_long = libc::SYS_getgroups32;
    #[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
    const GETGROUPS: libc::c_long = libc::SYS_getgroups;
    let saved = crate::sys::errno::errno();
    // SAFETY: the array holds as many group ids as is said. The C library's function may be fakeroot's.
    let n = unsafe { libc::syscall(GETGROUPS, raw.len() as libc::c_long, raw.as_mut_ptr()) };
    crate::sys::errno::set_errno(saved);
    let n = usize::try_from(n).ok()?;
    for (to, from) in into.iter_mut().zip(&raw[..n]) {
        *to = rustix::process::Gid::from_raw(*from);
    }
    Some(n)
}

/// Whether the capability is effective.
pub fn capable(capability: CapabilitySet) -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

/// Counts the changes of this process's rights that were told.
static CHANGES: AtomicU32 = AtomicU32::new(1);
/// The process may have other rights from now on.
pub fn changed() {
    CHANGES.fetch_add(1, SeqCst);
}

/// A number that is another one after each [`changed`].
#[inline]
pub fn changes() -> u32 {
    CHANGES.load(Relaxed)
}
