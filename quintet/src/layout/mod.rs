//! Every byte in shared memory. docs/format.md says the same in words.
//!
//! # Safety
//!
//! Peers may write any bit of this at any time. All fields are atomics (or bytes that are copied out
//! before they are looked at), so that a reference to a structure here is never a promise about its
//! content; no field is a pointer, `usize` or libc type. [`Shared`] is the only way to one, and its
//! constructor wants a mapping of the whole structure that is never unmapped.
#![allow(unsafe_code)]

mod control;
mod header;
mod queue;
mod registry;
mod rights;
mod set;
mod sleeper;
mod state;

pub use control::{Control, NEVER_RECYCLED, RECYCLED_BYTES, SEGMENT_BYTES};
pub use header::{HEADER_BYTES, Header, Validity};
pub use queue::{
    BLOCK_BYTES, BLOCK_HEADER, CLASSES, MESSAGE_HEADER, MOST_STORES, QueueHeader, Slot, SlotKind, SlotUse, Stamp, TypeIndex,
    UNIT, class_for, halves, high, inline_len, low, words,
};
pub use registry::{REGISTRY_BYTES, Registry, SLOTS, SlotState};
pub use rights::Rights;
pub use set::{
    CELLS_INLINE, CELLS_PER_PAGE, Change, JournalKind, MOST_OPS, Page, PageKind, SetHeader, SetMemory, WAITERS_PER_PAGE, Waiter,
    WaiterState,
};

pub use sleeper::Sleeper;
pub use state::ObjectState;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64};

/// The version of the layout. A namespace of another one is refused.
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
    /// # Safety
    ///
    /// At `at`, aligned to a page, `size_of::<T>()` bytes are mapped readable, and stay mapped (by this or by another
    /// file in its place). What is written through this is mapped writable.
    pub unsafe fn new(at: usize) -> Shared<T> {
        Shared { at, kind: PhantomData }
    }
}

impl<T: AtomicStruct> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: mapped and aligned by the constructor's contract; `AtomicStruct` holds atomics only,
        // for which every bit pattern is a value and a change by others is no race.
        unsafe { &*(self.at as *const T) }
    }
}

/// Structures that consist of atomics, or bytes never read in place, without padding that matters.
///
/// # Safety
///
/// The implementor is `repr(C)` and has only such fields.
pub unsafe trait AtomicStruct: 'static {}

/// A `T` for a file that nobody else sees yet: all zeroes, then set up by `fill`, then turned into bytes.
pub fn image<T: AtomicStruct>(fill: impl FnOnce(&T)) -> Vec<u8> {
    let words = size_of::<T>().div_ceil(8);
    let memory: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(0)).collect();
    // SAFETY: the vector is large enough and aligned for 64-bit atomics, the most that a `AtomicStruct` has.
    fill(unsafe { &*memory.as_ptr().cast::<T>() });
    let bytes = memory.into_iter().flat_map(|word| word.into_inner().to_ne_bytes());
    bytes.take(size_of::<T>()).collect()
}

const _: () = assert!(size_of::<AtomicI32>() == 4 && size_of::<AtomicU32>() == 4 && size_of::<AtomicU64>() == 8);
