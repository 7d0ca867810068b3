//! Where this process last found each key.
//!
//! # Safety
//!
//! The memory is zeroed, has the size of the array, and is never unmapped.
#![allow(unsafe_code)]

use crate::sys::memory;
use crate::types::error::Errno;
use crate::types::mechanism::Mechanism;
use std::sync::atomic::AtomicU64;

type Result<T> = std::result::Result<T, Errno>;

/// The bits of a hash of a key.
pub const HINT_BITS: u32 = 15;
const HINTS: usize = Mechanism::ALL.len() << HINT_BITS;

/// For each hash of a key: 1 plus the index at which this process last found it, or 0.
///
/// The memory starts zeroed, and the kernel allocates no page before the first access.
pub struct Hints(usize);

impl Hints {
    pub fn new() -> Result<Hints> {
        memory::anonymous(size_of::<AtomicU64>() * HINTS).map(Hints)
    }
}

impl std::ops::Deref for Hints {
    type Target = [AtomicU64; HINTS];

    fn deref(&self) -> &Self::Target {
        // SAFETY: `new` mapped zeroed memory of this size, and nothing unmaps it. The elements are
        // atomics.
        unsafe { &*(self.0 as *const [AtomicU64; HINTS]) }
    }
}
