//! The layout of every byte in shared memory; docs/format.md describes it.
//!
//! # Safety
//!
//! Peers can write any bit of shared memory at any time. Therefore:
//!
//! - All fields are atomics, or bytes that are copied out before they are read. A reference to a
//!   structure here promises nothing about its content.
//! - No field is a pointer, a `usize` or a libc type.
//! - [`Shared`] is the only way to a reference. Its constructor requires a mapping of the whole
//!   structure that is never unmapped.
#![allow(unsafe_code)]

mod control;
mod header;
mod permissions;
mod queue;
mod registry;
mod set;
mod sleeper;
mod state;

pub use control::{Control, NEVER_RECYCLED, RECYCLED_BYTES, SEGMENT_BYTES};
pub use header::{HEADER_BYTES, Header, Validity};
pub use permissions::StoredPermissions;
pub use queue::{
    BLOCK_BYTES, BLOCK_HEADER, CLASSES, MAX_STORES, MESSAGE_HEADER, QueueHeader, Slot, SlotKind, SlotUse, Stamp, TypeIndex, UNIT,
    class_for, halves, high, inline_len, low, words,
};
pub use registry::{REGISTRY_BYTES, Registry, SLOTS, SlotState};
pub use set::{
    CELLS_INLINE, CELLS_PER_PAGE, Change, JournalKind, MAX_OPS, Page, PageKind, SetHeader, SetMemory, WAITERS_PER_PAGE, Waiter,
    WaiterState,
};

pub use sleeper::Sleeper;
pub use state::ObjectState;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64};

/// The layout version. A namespace of another version cannot be opened.
pub const VERSION: u32 = 1;

/// A structure of atomics in a shared mapping.
pub struct Shared<T: AtomicStruct + 'static> {
    at: usize,
    kind: PhantomData<&'static T>,
}

impl<T: AtomicStruct> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: AtomicStruct> Copy for Shared<T> {}

impl<T: AtomicStruct> Shared<T> {
    /// A structure at address `at`.
    ///
    /// # Safety
    ///
    /// - `at` is aligned to a page, and `size_of::<T>()` bytes are mapped readable there.
    /// - They stay mapped, by this file or by another one in its place.
    /// - If the caller writes through the reference, they are mapped writable.
    pub unsafe fn new(at: usize) -> Shared<T> {
        Shared { at, kind: PhantomData }
    }
}

impl<T: AtomicStruct> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the memory is mapped and aligned by the constructor's contract. `AtomicStruct`
        // has atomics only: every bit pattern is a value, and a store by a peer is not a data race.
        unsafe { &*(self.at as *const T) }
    }
}

/// A structure of atomics, or of bytes that are never read in place.
///
/// # Safety
///
/// The type is `repr(C)` and has only such fields.
pub unsafe trait AtomicStruct: 'static {}

/// Returns the bytes of a `T` that is zeroed and then set up by `init`, for a new file.
pub fn image<T: AtomicStruct>(init: impl FnOnce(&T)) -> Vec<u8> {
    let mut words = vec![0u64; size_of::<T>().div_ceil(8)];
    // SAFETY: the vector is large enough, and aligned for 64-bit atomics, the widest that an
    // `AtomicStruct` has; zeroes are valid atomics, and no other reference to it lives meanwhile.
    init(unsafe { &*words.as_mut_ptr().cast::<T>() });
    let mut bytes = bytemuck::cast_slice(&words).to_vec();
    bytes.truncate(size_of::<T>());
    bytes
}

const _: () = assert!(size_of::<AtomicI32>() == 4 && size_of::<AtomicU32>() == 4 && size_of::<AtomicU64>() == 8);
