//! A cache of pages of the program that the kernel has confirmed to be readable or writable.
//!
//! Asking the kernel costs more than the rest of a semaphore operation. An answer stays valid as
//! follows:
//!
//! | page of | valid |
//! |---|---|
//! | the program, or a library that was loaded with it | forever: these are never unloaded |
//! | the heap | while the page is below the break |
//! | a stack | while the caller's own stack reaches the page |
//!
//! All threads share one table. What is known of a page does not depend on the thread that asked,
//! and a thread-local variable would cost a call at each access. An entry is one word, so no reader
//! sees half of one. A reader that finds another page in the entry asks the kernel.
//!
//! # Safety
//!
//! The C library's break is a variable that lives as long as the C library, and is read atomically.
//! The table of loaded images is written when the library is loaded, before its count is published.
#![allow(unsafe_code)]

use libc::{c_int, c_void, size_t};
use std::sync::atomic::{AtomicUsize, Ordering::*};

/// The unit of an answer. A larger hardware page consists of several units.
pub const PAGE: usize = 4096;

/// What a page allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    Read,
    Write,
}

const STACK: usize = 1;
const IMAGE: usize = 2;
const HEAP: usize = 4;

/// How far above the stack pointer a buffer counts as part of the stack, in bytes.
const STACK_REACH: usize = 32 << 10;

const ENTRIES: usize = 1024;

/// For reading and for writing: the address of a page, and the kind of memory in its low bits. 0:
/// empty.
static PAGES: [[AtomicUsize; ENTRIES]; 2] = [const { [const { AtomicUsize::new(0) }; ENTRIES] }; 2];

/// Returns the entry of a page. Thread stacks lie at equal distances; the multiplication scatters
/// them.
#[inline(always)]
fn entry(page: usize, access: Access) -> &'static AtomicUsize {
    let scattered = ((page >> 12) as u32).wrapping_mul(0x9e37_79b1);
    &PAGES[access as usize][(scattered >> (u32::BITS - ENTRIES.ilog2())) as usize]
}

/// The longest range that is cached, in bytes.
const MOST: usize = 64 << 10;

/// Returns `true` if the whole range is known to allow this access.
#[inline(always)]
pub fn allows(start: usize, len: usize, access: Access) -> bool {
    let last = start.wrapping_add(len.wrapping_sub(1));
    if (start ^ last) < PAGE { page_allows(start, access) } else { all_allow(start, len, access) }
}

#[inline(never)]
fn all_allow(start: usize, len: usize, access: Access) -> bool {
    len <= MOST && pages(start, len).is_some_and(|mut all| all.all(|page| page_allows(page.max(start), access)))
}

/// Returns the addresses of the pages of a range, or `None` if the range is empty or wraps around
/// the address space.
#[inline(always)]
fn pages(start: usize, len: usize) -> Option<impl Iterator<Item = usize>> {
    let last = start.checked_add(len.checked_sub(1)?)?;
    Some((start / PAGE..=last / PAGE).map(|number| number * PAGE))
}

#[inline(always)]
fn page_allows(at: usize, access: Access) -> bool {
    let known = entry(at, access).load(Relaxed);
    if (known ^ at) >= PAGE {
        return false;
    }
    if known & STACK != 0 { is_on_stack(at) } else { known & IMAGE != 0 || (known & HEAP != 0 && is_in_heap(at)) }
}

/// Records the kernel's answer that the range allows this access.
#[cold]
pub fn learn(start: usize, len: usize, access: Access) {
    if len > MOST {
        return;
    }
    for page in pages(start, len).into_iter().flatten() {
        // Every page but the first lies in the range from its first byte on.
        let part = part_of(page.max(start));
        if part != 0 {
            entry(page, access).store(page | part, Relaxed);
        }
    }
}

fn part_of(at: usize) -> usize {
    if is_in_image(at) {
        IMAGE
    } else if is_in_heap(at) {
        HEAP
    } else if is_on_stack(at) {
        STACK
    } else {
        0
    }
}

#[inline(always)]
fn is_on_stack(at: usize) -> bool {
    let here = 0u8;
    at.wrapping_sub((&raw const here) as usize) < STACK_REACH
}

/// The lowest possible address of the heap: the end of the program, which the kernel loads below
/// it.
static HEAP_START: AtomicUsize = AtomicUsize::new(usize::MAX);
/// The address of glibc's `__curbrk`. 0 with another C library, where `sbrk(0)` asks the kernel.
static BREAK: AtomicUsize = AtomicUsize::new(0);

#[inline(always)]
fn is_in_heap(at: usize) -> bool {
    let variable = BREAK.load(Acquire) as *const AtomicUsize;
    // SAFETY: null, or a word of the C library, which is never unloaded.
    let Some(end) = (unsafe { variable.as_ref() }) else { return false };
    HEAP_START.load(Relaxed) <= at && (at | (PAGE - 1)) < end.load(Relaxed)
}

/// Pages of further libraries are not cached.
const MOST_IMAGES: usize = 64;

/// The first and the last address of each image that was loaded with the program.
static IMAGES: [(AtomicUsize, AtomicUsize); MOST_IMAGES] = [const { (AtomicUsize::new(0), AtomicUsize::new(0)) }; MOST_IMAGES];
static IMAGE_COUNT: AtomicUsize = AtomicUsize::new(0);

fn is_in_image(at: usize) -> bool {
    let images = &IMAGES[..IMAGE_COUNT.load(Acquire).min(MOST_IMAGES)];
    images.iter().any(|(first, last)| first.load(Relaxed) <= at && at <= last.load(Relaxed))
}

/// Records the images that are loaded now, and the address of the break.
pub fn at_load() {
    // SAFETY: the callback has the type that the C library expects, and ignores the null pointer.
    unsafe { libc::dl_iterate_phdr(Some(add_image), std::ptr::null_mut()) };
    // SAFETY: a NUL-terminated name.
    let variable = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__curbrk".as_ptr()) };
    BREAK.store(variable as usize, Release);
}

unsafe extern "C" fn add_image(info: *mut libc::dl_phdr_info, _size: size_t, _data: *mut c_void) -> c_int {
    // SAFETY: the C library passes a valid description, with as many headers as it states.
    let (base, headers) = unsafe {
        let info = &*info;
        (info.dlpi_addr as usize, std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize))
    };
    let (mut first, mut end) = (usize::MAX, 0);
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD) {
        let at = base.wrapping_add(header.p_vaddr as usize);
        first = first.min(at);
        end = end.max(at.wrapping_add(header.p_memsz as usize));
    }
    let index = IMAGE_COUNT.load(Relaxed);
    if first >= end {
        return 0;
    }
    // The first image is the program.
    if index == 0 {
        HEAP_START.store(end, Relaxed);
    }
    IMAGES[index].0.store(first, Relaxed);
    IMAGES[index].1.store(end - 1, Relaxed);
    IMAGE_COUNT.store(index + 1, Release);
    c_int::from(index + 1 == MOST_IMAGES)
}
