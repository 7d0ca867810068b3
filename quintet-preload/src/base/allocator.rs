//! The library's own allocator. The library allocates little: when it opens the namespace, and on
//! rare paths. It takes pages of its own and never calls the program's `malloc`. That may be the
//! caller, or may be interrupted by a signal handler that calls the library. It does not move the
//! break either.
//!
//! # Safety
//!
//! Each allocation is a private, page-aligned mapping of its own, unmapped when it is freed. One
//! page is an exception: it is kept for reuse. At first that is a static page, which is never
//! unmapped. The page belongs to the thread that has taken it out of [`SPARE`].
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering::*};

struct Pages;

#[global_allocator]
static PAGES: Pages = Pages;

const PAGE: usize = 4096;

/// Returns zeroed memory, or null if there is none.
pub fn map(len: usize) -> *mut u8 {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at an address that the kernel chooses.
    let at = unsafe { libc::mmap(null_mut(), len, prot, flags, -1, 0) };
    if at == libc::MAP_FAILED { null_mut() } else { at.cast() }
}

/// Unmaps the result of [`map`], with the same length.
pub fn unmap(at: *mut u8, len: usize) {
    // SAFETY: the caller's own mapping.
    unsafe { crate::base::raw::system_call(syscalls::Sysno::munmap, [at as usize, len, 0, 0, 0, 0]) };
}

#[repr(align(4096))]
struct Page(UnsafeCell<[u8; PAGE]>);

// SAFETY: the page belongs to the thread that has taken it out of `SPARE`.
unsafe impl Sync for Page {}

/// The spare page at the start, and again whenever it is free. A mapping that is kept would make
/// each fork more expensive.
static FIRST: Page = Page(UnsafeCell::new([0; PAGE]));

/// A free page for the next allocation of one page or less. Mapping and unmapping a page costs more
/// than most calls.
static SPARE: AtomicPtr<u8> = AtomicPtr::new(FIRST.0.get().cast());

// SAFETY: see the module. An alignment beyond a page, which nothing here has, is refused.
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
            // SAFETY: allocated above with at least this size.
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
