//! Memory for what little the drop-in allocates, when it opens the namespace and on rare paths: pages of its
//! own. The program's `malloc` is not called (it may be what called us, or be interrupted by a handler
//! that calls us), and the break does not move.
//!
//! # Safety
//!
//! Each allocation is a private mapping of its own, page-aligned, zeroed, unmapped when freed.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};

struct Pages;

#[global_allocator]
static PAGES: Pages = Pages;

const PAGE: usize = 4096;

/// Zeroed memory; null: there is none.
pub fn map(len: usize) -> *mut u8 {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping where there is room.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) };
    if at == libc::MAP_FAILED { std::ptr::null_mut() } else { at.cast() }
}

/// Gives back what [`map`] gave, with the same length.
pub fn unmap(at: *mut u8, len: usize) {
    // SAFETY: the caller's own mapping.
    unsafe { libc::syscall(libc::SYS_munmap, at, len) };
}

// SAFETY: see the module; an alignment beyond a page, which nothing here has, is refused.
unsafe impl GlobalAlloc for Pages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > PAGE { std::ptr::null_mut() } else { map(layout.size()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is the same, and a new mapping is zeroed.
        unsafe { self.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unmap(at, layout.size());
    }
}
