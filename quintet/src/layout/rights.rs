//! Owner, mode and time of change, kept twice, so that one store changes them whole.
#![allow(unsafe_code)]

use crate::sync::primitive::Ordering::*;
use crate::sync::primitive::{AtomicU32, AtomicU64, fence};

/// One of the two copies.
#[repr(C)]
#[derive(Default)]
pub struct RightsWords {
    uid: AtomicU32,
    gid: AtomicU32,
    mode: AtomicU32,
    pad: AtomicU32,
    ctime: AtomicU64,
}

/// Owner, mode and time of change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rights {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    pub ctime: i64,
}

/// The rights in force, whole. The lowest bit of `current` says which copy they are.
pub fn load(current: &AtomicU32, copies: &[RightsWords; 2]) -> Rights {
    loop {
        let which = current.load(Acquire);
        let words = &copies[which as usize & 1];
        let rights = Rights {
            uid: words.uid.load(Relaxed),
            gid: words.gid.load(Relaxed),
            mode: words.mode.load(Relaxed) & 0o777,
            ctime: words.ctime.load(Relaxed) as i64,
        };
        // Who has seen anything of the next change but one sees that there was one in between.
        fence(Acquire);
        if current.load(Relaxed) == which {
            return rights;
        }
    }
}

/// Changes the rights, whole. The caller is the only one who does.
pub fn store(current: &AtomicU32, copies: &[RightsWords; 2], rights: Rights) {
    let which = current.load(Relaxed).wrapping_add(1);
    let words = &copies[which as usize & 1];
    fence(Release);
    words.uid.store(rights.uid, Relaxed);
    words.gid.store(rights.gid, Relaxed);
    words.mode.store(rights.mode, Relaxed);
    words.ctime.store(rights.ctime as u64, Relaxed);
    current.store(which, Release);
}
