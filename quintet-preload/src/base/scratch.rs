//! Scratch buffers for lists and strings of one call. They lie on the stack, because a vfork child
//! that executes a program would leave any other memory to its parent. A buffer is hardly larger
//! than needed: the stack may be a thread's smallest, or that of a signal handler. Larger buffers
//! use pages.
//!
//! # Safety
//!
//! The mapping is as long as the slice made of it, and is unmapped after the last use of the slice.
#![allow(unsafe_code)]

use crate::base::allocator;
use std::mem::MaybeUninit;

/// Calls `body` with a buffer of `len` elements. Returns `None`, without a call, if there is no
/// memory.
pub fn with<T, R>(len: usize, body: impl FnOnce(&mut [MaybeUninit<T>]) -> R) -> Option<R> {
    let (mut body, mut result) = (Some(body), None);
    let mut once = |buffer: &mut [MaybeUninit<T>]| result = body.take().map(|body| body(buffer));
    match len {
        0..=32 => on_stack::<T, 32>(len, &mut once),
        33..=128 => on_stack::<T, 128>(len, &mut once),
        129..=512 => on_stack::<T, 512>(len, &mut once),
        513..=2048 => on_stack::<T, 2048>(len, &mut once),
        _ => in_pages(len, &mut once),
    }
    result
}

/// Not inlined, because the caller's frame would then be as large as the largest buffer.
#[inline(never)]
fn on_stack<T, const MOST: usize>(len: usize, body: &mut dyn FnMut(&mut [MaybeUninit<T>])) {
    let mut room = [const { MaybeUninit::uninit() }; MOST];
    if let Some(room) = room.get_mut(..len) {
        body(room);
    }
}

#[inline(never)]
fn in_pages<T>(len: usize, body: &mut dyn FnMut(&mut [MaybeUninit<T>])) {
    let Some(bytes) = len.checked_mul(size_of::<T>()) else { return };
    let at = allocator::map(bytes);
    if at.is_null() {
        return;
    }
    // SAFETY: a private mapping of this length.
    body(unsafe { std::slice::from_raw_parts_mut(at.cast(), len) });
    allocator::unmap(at, bytes);
}
