//! Room for lists and strings that last for a call, on the stack: the child of a vfork that executes a program would leave anything else
//! to its parent. Hardly more of the stack is taken than is needed, because it may be a thread's smallest, or a signal handler's own.
//! Pages are used only for what is larger.
//!
//! # Safety
//!
//! Pages are as many as the slice made of them says, and given back when nobody uses it any more.
#![allow(unsafe_code)]

use crate::base::allocator;
use std::mem::MaybeUninit;

/// Calls `body` with room for `len` elements. `None`: there is none, and it was not called.
pub fn with<T, R>(len: usize, body: impl FnOnce(&mut [MaybeUninit<T>]) -> R) -> Option<R> {
    let (mut body, mut result) = (Some(body), None);
    let mut once = |room: &mut [MaybeUninit<T>]| result = body.take().map(|body| body(room));
    match len {
        0..=32 => on_stack::<T, 32>(len, &mut once),
        33..=128 => on_stack::<T, 128>(len, &mut once),
        129..=512 => on_stack::<T, 512>(len, &mut once),
        513..=2048 => on_stack::<T, 2048>(len, &mut once),
        _ => in_pages(len, &mut once),
    }
    result
}

/// Not inlined, as that would be a frame for the largest.
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
    // SAFETY: a mapping of its own, so large.
    body(unsafe { std::slice::from_raw_parts_mut(at.cast(), len) });
    allocator::unmap(at, bytes);
}
