//! Mapping memory.
//!
//! # Safety
//!
//! A mapping made at an address of the kernel's choice overlaps nothing. Where an address is
//! given, the caller says why it may be replaced or unmapped.
#![allow(unsafe_code)]

use crate::sys::fd::Fd;
use crate::types::error::Errno;
use rustix::mm::{self, Advice, MapFlags, MlockFlags, MremapFlags, ProtFlags};
use std::ffi::c_void;

type Result<T> = std::result::Result<T, Errno>;

/// The size of a page.
#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
pub const fn page() -> usize {
    4096
}

/// The size of a page.
#[cfg(not(any(target_arch = "x86_64", target_arch = "x86")))]
pub fn page() -> usize {
    rustix::param::page_size()
}

/// Where a mapping goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Wherever there is room.
    Anywhere,
    /// At this address, and only if nothing is there.
    At(usize),
    /// At this address, in place of whatever is there.
    Over(usize),
}

/// What a mapping allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Access {
    pub write: bool,
    pub execute: bool,
}

impl Access {
    pub const READ: Access = Access { write: false, execute: false };
    pub const WRITE: Access = Access { write: true, execute: false };

    fn prot(self) -> ProtFlags {
        let mut prot = ProtFlags::READ;
        prot.set(ProtFlags::WRITE, self.write);
        prot.set(ProtFlags::EXEC, self.execute);
        prot
    }
}

/// Memory before and after each mapping that nobody may touch, in a build that looks for those who do (`hostile/`).
#[cfg(quintet_fenced)]
mod fence {
    use super::*;

    /// Room for a mapping, which stays fenced when that has gone.
    pub fn room(len: usize) -> Result<Option<usize>> {
        let len = len.checked_next_multiple_of(page()).ok_or(Errno::NOMEM)?;
        let whole = len.checked_add(2 * page()).ok_or(Errno::NOMEM)?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: overlaps nothing.
        let at = unsafe { mm::mmap_anonymous(std::ptr::null_mut(), whole, ProtFlags::empty(), flags) }?;
        Ok(Some(at as usize + page()))
    }
}

#[cfg(not(quintet_fenced))]
mod fence {
    use super::*;

    #[inline(always)]
    pub fn room(_len: usize) -> Result<Option<usize>> {
        Ok(None)
    }
}

/// Maps `len` bytes of a file from its start, shared.
///
/// # Safety
///
/// With [`Place::Over`] whatever is mapped there is the caller's to lose.
pub unsafe fn map(fd: &Fd, len: usize, access: Access, place: Place) -> Result<usize> {
    let place = if place == Place::Anywhere { fence::room(len)?.map_or(place, Place::Over) } else { place };
    let (address, flags) = match place {
        Place::Anywhere => (0, MapFlags::SHARED),
        Place::At(at) => (at, MapFlags::SHARED | MapFlags::FIXED_NOREPLACE),
        Place::Over(at) => (at, MapFlags::SHARED | MapFlags::FIXED),
    };
    // SAFETY: anywhere and FIXED_NOREPLACE overlap nothing; for the third the caller vouches.
    let at = unsafe { mm::mmap(address as *mut c_void, len, access.prot(), flags, fd, 0) }? as usize;
    if place != Place::Anywhere && at != address {
        // Kernels before 4.17 take the address for a hint if something is there.
        // SAFETY: just mapped.
        let _ = unsafe { mm::munmap(at as *mut c_void, len) };
        return Err(Errno::EXIST);
    }
    Ok(at)
}

/// Maps `len` bytes of a file from `offset` on, shared, where there is room.
pub fn map_range(fd: &Fd, offset: u64, len: usize, access: Access) -> Result<usize> {
    let (place, fixed) = fence::room(len)?.map_or((0, MapFlags::empty()), |room| (room, MapFlags::FIXED));
    // SAFETY: overlaps nothing but what was reserved for it.
    let at = unsafe { mm::mmap(place as *mut c_void, len, access.prot(), MapFlags::SHARED | fixed, fd, offset) }?;
    Ok(at as usize)
}

/// Maps one page of a file, without access to it: it only keeps the open file description.
pub fn map_token(fd: &Fd) -> Result<usize> {
    // SAFETY: overlaps nothing.
    let at = unsafe { mm::mmap(std::ptr::null_mut(), page(), ProtFlags::empty(), MapFlags::SHARED, fd, 0) }?;
    Ok(at as usize)
}

/// A second mapping of what is mapped at `from`, of `len` bytes from there, wherever there is room.
pub fn duplicate(from: usize, len: usize) -> Result<usize> {
    // SAFETY: with an old length of 0 mremap leaves the shared mapping at `from` alone.
    let at = unsafe { mm::mremap(from as *mut c_void, 0, len, MremapFlags::MAYMOVE) }?;
    Ok(at as usize)
}

/// Private zeroed memory, which costs nothing until touched.
pub fn anonymous(len: usize) -> Result<usize> {
    let (place, fixed) = fence::room(len)?.map_or((0, MapFlags::empty()), |room| (room, MapFlags::FIXED));
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | fixed;
    // SAFETY: overlaps nothing but what was reserved for it.
    let at = unsafe { mm::mmap_anonymous(place as *mut c_void, len, ProtFlags::READ | ProtFlags::WRITE, flags) }?;
    Ok(at as usize)
}

/// Puts inaccessible memory in place of a mapping, which thereby goes.
///
/// # Safety
///
/// The mapping is the caller's, and nobody uses it.
pub unsafe fn blank(at: usize, len: usize) {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
    // SAFETY: the caller vouches for the range.
    let _ = unsafe { mm::mmap_anonymous(at as *mut c_void, len, ProtFlags::empty(), flags) };
}

/// Puts zeroed memory in place of a mapping, which thereby goes, for those who may still look at it.
///
/// # Safety
///
/// The mapping is the caller's, and zeroes are something that its users expect.
pub unsafe fn zeroed_over(at: usize, len: usize) {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
    // SAFETY: the caller vouches for the range.
    let _ = unsafe { mm::mmap_anonymous(at as *mut c_void, len, ProtFlags::READ | ProtFlags::WRITE, flags) };
}

/// # Safety
///
/// The mapping is the caller's, and nobody uses it any more.
pub unsafe fn unmap(at: usize, len: usize) -> Result<()> {
    // SAFETY: the caller vouches for the range.
    Ok(unsafe { mm::munmap(at as *mut c_void, len) }?)
}

/// Puts a private page of zeroes in place of one whose file has been shortened.
pub fn replace_page(at: usize) -> Result<()> {
    let flags = MapFlags::PRIVATE | MapFlags::FIXED;
    // SAFETY: a page of a mapping of this crate's, which nobody can read or write any more.
    unsafe { mm::mmap_anonymous(at as *mut c_void, page(), ProtFlags::READ | ProtFlags::WRITE, flags) }?;
    Ok(())
}

/// A child made by fork does not get this mapping.
pub fn not_for_children(at: usize) -> Result<()> {
    // SAFETY: `at` is a page that this crate has mapped; the advice changes no memory.
    Ok(unsafe { mm::madvise(at as *mut c_void, page(), Advice::LinuxDontFork) }?)
}

/// A child made by fork finds this page zeroed.
pub fn zeroed_for_children(at: usize) -> Result<()> {
    // SAFETY: `at` is a page that this crate has mapped; the advice changes no memory here.
    Ok(unsafe { mm::madvise(at as *mut c_void, page(), Advice::LinuxWipeOnFork) }?)
}

/// Asks for huge pages.
pub fn prefer_huge_pages(at: usize, len: usize) {
    // SAFETY: the range was just mapped by the caller; the advice changes no memory.
    let _ = unsafe { mm::madvise(at as *mut c_void, len, Advice::LinuxHugepage) };
}

/// Keeps a range out of swap as it is touched, as far as this process may lock memory.
pub fn lock_on_touch(at: usize, len: usize) {
    // SAFETY: the range was just mapped by the caller.
    let _ = unsafe { mm::mlock_with(at as *mut c_void, len, MlockFlags::ONFAULT) };
}

/// Zeroes mapped shared memory.
///
/// # Safety
///
/// The range is mapped writable, this crate's own view of a segment that nobody is attached to.
pub unsafe fn zero(at: usize, len: usize) {
    // SAFETY: the caller vouches; a peer that scribbles here meanwhile only spoils its own memory.
    unsafe { std::ptr::write_bytes(at as *mut u8, 0, len) }
}

/// The opposite of [`lock_on_touch`].
pub fn unlock(at: usize, len: usize) {
    // SAFETY: the range is a segment's, mapped by the caller.
    let _ = unsafe { mm::munlock(at as *mut c_void, len) };
}
