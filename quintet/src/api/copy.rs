//! Copies between private and shared memory.
//!
//! # Safety
//!
//! The callers have checked that the range in shared memory is mapped. All access to it is atomic,
//! so a racing write of a peer can tear a copy, but it is never undefined behaviour.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

const WORD: usize = size_of::<usize>();

/// Returns the number of bytes before the first aligned word at `address`, and the number of whole
/// words that follow.
fn split(address: usize, len: usize) -> (usize, usize) {
    let head = (address.wrapping_neg() % WORD).min(len);
    (head, (len - head) / WORD)
}

/// Copies a value of 1, 2, 4 or 8 bytes in one access. Evaluates to `false`, and does nothing, if
/// the address is not aligned to the size or the size is another one.
macro_rules! single_access {
    ($at:expr, $len:expr, |$atomic:ident, $int:ident| $body:expr) => {{
        use std::sync::atomic::AtomicU16;
        let aligned = ($at as usize).is_multiple_of($len.max(1));
        match $len {
            1 => {
                type $atomic = AtomicU8;
                type $int = u8;
                $body;
                true
            }
            2 if aligned => {
                type $atomic = AtomicU16;
                type $int = u16;
                $body;
                true
            }
            4 if aligned => {
                type $atomic = AtomicU32;
                type $int = u32;
                $body;
                true
            }
            8 if aligned => {
                type $atomic = AtomicU64;
                type $int = u64;
                $body;
                true
            }
            _ => false,
        }
    }};
}

/// Copies shared memory out. The caller has checked that `from..from + to.len()` is mapped.
pub fn copy_out(from: *mut u8, to: &mut [u8]) {
    // SAFETY: the range is mapped, `single_access!` has checked the alignment, and the access is
    // atomic.
    if single_access!(from, to.len(), |A, I| to
        .copy_from_slice(&I::to_ne_bytes(unsafe { &*from.cast::<A>() }.load(Ordering::Acquire))))
    {
        return;
    }
    let (head, words) = split(from as usize, to.len());
    // SAFETY: each byte is in the mapped range, and the access is atomic.
    let byte = |i: usize| unsafe { &*from.wrapping_add(i).cast::<AtomicU8>() }.load(Ordering::Relaxed);
    for (i, b) in to[..head].iter_mut().enumerate() {
        *b = byte(i);
    }
    let middle = head + words * WORD;
    for (i, chunk) in to[head..middle].chunks_exact_mut(WORD).enumerate() {
        // SAFETY: the words from `head` to `middle` are mapped and aligned, and the access is
        // atomic.
        let word = unsafe { &*from.wrapping_add(head + i * WORD).cast::<AtomicUsize>() }.load(Ordering::Relaxed);
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    for (i, b) in to[middle..].iter_mut().enumerate() {
        *b = byte(middle + i);
    }
}

/// Copies into shared memory. The caller has checked that `to..to + from.len()` is mapped writable.
pub fn copy_in(from: &[u8], to: *mut u8) {
    // SAFETY: the range is mapped, `single_access!` has checked the alignment, and the access is
    // atomic.
    if single_access!(to, from.len(), |A, I| {
        let mut bytes = [0; size_of::<I>()];
        bytes.copy_from_slice(from);
        // SAFETY: mapped, aligned and atomic, as above.
        unsafe { &*to.cast::<A>() }.store(I::from_ne_bytes(bytes), Ordering::Release)
    }) {
        return;
    }
    let (head, words) = split(to as usize, from.len());
    // SAFETY: each byte is in the mapped range, and the access is atomic.
    let put = |i: usize, b: u8| unsafe { &*to.wrapping_add(i).cast::<AtomicU8>() }.store(b, Ordering::Relaxed);
    for (i, b) in from[..head].iter().enumerate() {
        put(i, *b);
    }
    let middle = head + words * WORD;
    for (i, chunk) in from[head..middle].chunks_exact(WORD).enumerate() {
        let mut bytes = [0; WORD];
        bytes.copy_from_slice(chunk);
        // SAFETY: the words from `head` to `middle` are mapped and aligned, and the access is
        // atomic.
        unsafe { &*to.wrapping_add(head + i * WORD).cast::<AtomicUsize>() }.store(usize::from_ne_bytes(bytes), Ordering::Relaxed);
    }
    for (i, b) in from[middle..].iter().enumerate() {
        put(middle + i, *b);
    }
}
