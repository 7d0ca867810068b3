//! Owner, mode and time of change of an object, kept twice, so that one store changes them
//! together.
//!
//! `current` counts the changes, and its lowest bit names the copy in force. A change writes the
//! other copy and then increments `current`. A reader that is interrupted by two changes reads
//! again.
//!
//! A process that dies halfway leaves the copy in force as it was. The next change overwrites the
//! other copy.
#![allow(unsafe_code)]

use crate::sync::primitive::Ordering::*;
use crate::sync::primitive::{AtomicU32, AtomicU64, fence};

/// One of the two copies.
#[repr(C)]
#[derive(Default)]
pub struct PermissionWords {
    uid: AtomicU32,
    gid: AtomicU32,
    mode: AtomicU32,
    pad: AtomicU32,
    ctime: AtomicU64,
}

/// Owner, mode and time of change of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoredPermissions {
    /// The owner's user id.
    pub uid: u32,
    /// The owner's group id.
    pub gid: u32,
    /// The nine bits of the access mode.
    pub mode: u32,
    /// The time of the last change, in seconds since the Epoch.
    pub ctime: i64,
}

/// Returns the permissions in force, all from the same change.
pub fn load(current: &AtomicU32, copies: &[PermissionWords; 2]) -> StoredPermissions {
    loop {
        // Acquire pairs with the last store in `store`: the copy is complete.
        let which = current.load(Acquire);
        let words = &copies[which as usize & 1];
        let permissions = StoredPermissions {
            uid: words.uid.load(Relaxed),
            gid: words.gid.load(Relaxed),
            mode: words.mode.load(Relaxed) & 0o777,
            ctime: words.ctime.load(Relaxed) as i64,
        };
        // This copy changes again only in the second change from here. If a word of that change was
        // read above, the load below sees the first one (Release fence in `store`).
        fence(Acquire);
        if current.load(Relaxed) == which {
            return permissions;
        }
    }
}

/// Changes the permissions. The caller is the only process that does.
pub fn store(current: &AtomicU32, copies: &[PermissionWords; 2], permissions: StoredPermissions) {
    let which = current.load(Relaxed).wrapping_add(1);
    let words = &copies[which as usize & 1];
    // A reader of the words below also sees the last change of `current`.
    fence(Release);
    words.uid.store(permissions.uid, Relaxed);
    words.gid.store(permissions.gid, Relaxed);
    words.mode.store(permissions.mode, Relaxed);
    words.ctime.store(permissions.ctime as u64, Relaxed);
    // Release publishes the copy.
    current.store(which, Release);
}
