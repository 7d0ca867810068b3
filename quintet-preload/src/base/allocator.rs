//! Memory for what little the drop-in allocates, when it opens the namespace and on rare paths: pages of its
//! own. The program's `malloc` is not called (it may be what called us, or be interrupted by a handler
//! that calls us), and the break does not move.
//!
//! # Safety
//!
//! Each allocation is a private mapping of its own, page-aligned, unmapped when freed; but one page is kept, at first a static one that is never
//! unmapped, and belongs to whoever has taken it out of its place.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering::*};

struct Pages;

#[global_allocator]
static PAGES: Pages = Pages;

const PAGE: usize = 4096;

/// Zeroed memory; null: there is none.
pub fn map(len: usize) -> *mut u8 {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping where there is room.
    let at = unsafe { libc::mmap(null_mut(), len, prot, flags, -1, 0) };
    if at == libc::MAP_FAILED { null_mut() } else { at.cast() }
}

/// Gives back what [`map`] gave, with the same length.
pub fn unmap(at: *mut u8, len: usize) {
    // SAFETY: the caller's own mapping.
    unsafe { crate::base::raw::system_call(syscalls::Sysno::munmap, [at as usize, len, 0, 0, 0, 0]) };
}

#[repr(align(4096))]
struct Page(UnsafeCell<[u8; PAGE]>);

// SAFETY: it belongs to whoever has taken it out of its place.
unsafe impl Sync for Page {}

/// The page that is spare at first, and again whenever it is free: a mapping that is kept would cost each fork more.
static FIRST: Page = Page(UnsafeCell::new([0; PAGE]));

/// A page that was freed, for the next one who wants one or less: getting and giving back a page costs more than most calls.
static SPARE: AtomicPtr<u8> = AtomicPtr::new(FIRST.0.get().cast());

// SAFETY: see the module; an alignment beyond a page, which nothing here has, is refused.
unsafe impl GlobalAlloc for Pages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > PAGE {
            return null_mut();
        }
        if layout.size() > PAGE {
            return map(layout.size());
        }
        match SPARE.swap(null_mut(), Acquire) {
            none if none.is_null() => map(PAGE),
            spare => spare,
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is the same.
        let at = unsafe { self.alloc(layout) };
        // A new mapping is zeroed.
        if layout.size() <= PAGE && !at.is_null() {
            // SAFETY: just allocated, so large.
            unsafe { at.write_bytes(0, layout.size()) };
        }
        at
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if layout.size() > PAGE {
            unmap(at, layout.size());
            return;
        }
        let over = if at == FIRST.0.get().cast() {
            SPARE.swap(at, AcqRel)
        } else {
            SPARE.compare_exchange(null_mut(), at, AcqRel, Relaxed).err().map_or(null_mut(), |_| at)
        };
        if !over.is_null() {
            unmap(over, PAGE);
        }
    }
}
