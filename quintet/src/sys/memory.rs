//! Mappings of files and of private memory.
//!
//! # Safety
//!
//! A mapping at an address that the kernel chooses overlaps no other mapping. Functions that take
//! an address of a range to replace or unmap are unsafe, or state why the range is theirs.
#![allow(unsafe_code)]

use crate::sys::fd::Fd;
use crate::types::error::Errno;
use rustix::mm::{self, Advice, MapFlags, MlockFlags, MremapFlags, ProtFlags};
use std::ffi::c_void;

type Result<T> = std::result::Result<T, Errno>;

/// Returns the size of a page in bytes.
#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
pub const fn page() -> usize {
    4096
}

/// Returns the size of a page in bytes.
#[cfg(not(any(target_arch = "x86_64", target_arch = "x86")))]
pub fn page() -> usize {
    rustix::param::page_size()
}

/// The place of a new mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// An address that the kernel chooses.
    Anywhere,
    /// This address; fails if anything is mapped there.
    At(usize),
    /// This address; replaces what is mapped there.
    Over(usize),
}

/// The access that a mapping allows, besides reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Access {
    /// Memory can be written.
    pub write: bool,
    /// Memory can be executed.
    pub execute: bool,
}

impl Access {
    /// Reading only.
    pub const READ: Access = Access { write: false, execute: false };
    /// Reading and writing.
    pub const WRITE: Access = Access { write: true, execute: false };

    fn prot(self) -> ProtFlags {
        let mut prot = ProtFlags::READ;
        prot.set(ProtFlags::WRITE, self.write);
        prot.set(ProtFlags::EXEC, self.execute);
        prot
    }
}

/// Inaccessible pages before and after each mapping, in a build that looks for accesses out of
/// bounds (`hostile/`).
#[cfg(quintet_fenced)]
mod fence {
    use super::*;

    /// Reserves room for a mapping of `len` bytes. The pages around it stay inaccessible when the
    /// mapping has gone.
    pub fn room(len: usize) -> Result<Option<usize>> {
        let len = len.checked_next_multiple_of(page()).ok_or(Errno::NOMEM)?;
        let whole = len.checked_add(2 * page()).ok_or(Errno::NOMEM)?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: the kernel chooses the address.
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

/// Maps the first `len` bytes of a file, shared. Returns the address.
///
/// # Safety
///
/// With [`Place::Over`], the caller owns the mapping that is replaced.
pub unsafe fn map(fd: &Fd, len: usize, access: Access, place: Place) -> Result<usize> {
    let place = if place == Place::Anywhere { fence::room(len)?.map_or(place, Place::Over) } else { place };
    let (address, flags) = match place {
        Place::Anywhere => (0, MapFlags::SHARED),
        Place::At(at) => (at, MapFlags::SHARED | MapFlags::FIXED_NOREPLACE),
        Place::Over(at) => (at, MapFlags::SHARED | MapFlags::FIXED),
    };
    // SAFETY: the first two places overlap no mapping, and the caller owns the range of the third.
    let at = unsafe { mm::mmap(address as *mut c_void, len, access.prot(), flags, fd, 0) }? as usize;
    if place != Place::Anywhere && at != address {
        // Kernels before 4.17 ignore FIXED_NOREPLACE and choose another address if this one is
        // taken. SAFETY: the range was mapped above.
        let _ = unsafe { mm::munmap(at as *mut c_void, len) };
        return Err(Errno::EXIST);
    }
    Ok(at)
}

/// Maps `len` bytes of a file from `offset` on, shared, at an address that the kernel chooses.
pub fn map_range(fd: &Fd, offset: u64, len: usize, access: Access) -> Result<usize> {
    let (place, fixed) = fence::room(len)?.map_or((0, MapFlags::empty()), |room| (room, MapFlags::FIXED));
    // SAFETY: the kernel chooses the address, or the range was reserved for this mapping.
    let at = unsafe { mm::mmap(place as *mut c_void, len, access.prot(), MapFlags::SHARED | fixed, fd, offset) }?;
    Ok(at as usize)
}

/// Maps one page of a file without access. The mapping keeps the open file description, and so its
/// locks.
pub fn map_token(fd: &Fd) -> Result<usize> {
    // SAFETY: the kernel chooses the address.
    let at = unsafe { mm::mmap(std::ptr::null_mut(), page(), ProtFlags::empty(), MapFlags::SHARED, fd, 0) }?;
    Ok(at as usize)
}

/// Maps the `len` bytes of the shared mapping at `from` a second time. Returns the new address.
pub fn duplicate(from: usize, len: usize) -> Result<usize> {
    // SAFETY: with an old length of 0, mremap(2) leaves the shared mapping at `from` as it is, and
    // the kernel chooses the new address.
    let at = unsafe { mm::mremap(from as *mut c_void, 0, len, MremapFlags::MAYMOVE) }?;
    Ok(at as usize)
}

/// Maps private zeroed memory. It uses no memory until it is touched.
pub fn anonymous(len: usize) -> Result<usize> {
    let (place, fixed) = fence::room(len)?.map_or((0, MapFlags::empty()), |room| (room, MapFlags::FIXED));
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | fixed;
    // SAFETY: the kernel chooses the address, or the range was reserved for this mapping.
    let at = unsafe { mm::mmap_anonymous(place as *mut c_void, len, ProtFlags::READ | ProtFlags::WRITE, flags) }?;
    Ok(at as usize)
}

/// Replaces a mapping with inaccessible memory.
///
/// # Safety
///
/// The caller owns the mapping, and no thread uses it.
pub unsafe fn make_inaccessible(at: usize, len: usize) {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
    // SAFETY: the caller owns the range.
    let _ = unsafe { mm::mmap_anonymous(at as *mut c_void, len, ProtFlags::empty(), flags) };
}

/// Replaces a mapping with zeroed memory, for threads that may still read it.
///
/// # Safety
///
/// The caller owns the mapping, and its users can handle zeroes.
pub unsafe fn replace_with_zeroes(at: usize, len: usize) {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
    // SAFETY: the caller owns the range.
    let _ = unsafe { mm::mmap_anonymous(at as *mut c_void, len, ProtFlags::READ | ProtFlags::WRITE, flags) };
}

/// Removes a mapping.
///
/// # Safety
///
/// The caller owns the mapping, and no thread uses it any more.
pub unsafe fn unmap(at: usize, len: usize) -> Result<()> {
    // SAFETY: the caller owns the range.
    Ok(unsafe { mm::munmap(at as *mut c_void, len) }?)
}

/// Replaces a page that was lost by truncation of its file with a private page of zeroes.
pub fn replace_with_zero_page(at: usize) -> Result<()> {
    let flags = MapFlags::PRIVATE | MapFlags::FIXED;
    // SAFETY: the page is of a mapping of this crate, and no thread can access it any more.
    unsafe { mm::mmap_anonymous(at as *mut c_void, page(), ProtFlags::READ | ProtFlags::WRITE, flags) }?;
    Ok(())
}

/// Excludes a page from forks: a child does not get the mapping (`MADV_DONTFORK`).
pub fn exclude_from_fork(at: usize) -> Result<()> {
    // SAFETY: `at` is a page that this crate has mapped. The advice changes no memory.
    Ok(unsafe { mm::madvise(at as *mut c_void, page(), Advice::LinuxDontFork) }?)
}

/// Wipes a page on fork: a child finds it zeroed (`MADV_WIPEONFORK`).
pub fn wipe_on_fork(at: usize) -> Result<()> {
    // SAFETY: `at` is a page that this crate has mapped. The advice changes no memory of this
    // process.
    Ok(unsafe { mm::madvise(at as *mut c_void, page(), Advice::LinuxWipeOnFork) }?)
}

/// Asks the kernel to use huge pages for a range.
pub fn prefer_huge_pages(at: usize, len: usize) {
    // SAFETY: the caller has just mapped the range. The advice changes no memory.
    let _ = unsafe { mm::madvise(at as *mut c_void, len, Advice::LinuxHugepage) };
}

/// Locks the pages of a range in memory when they are touched, within the limit of the process.
pub fn lock_on_touch(at: usize, len: usize) {
    // SAFETY: the caller has just mapped the range. Locking changes no content.
    let _ = unsafe { mm::mlock_with(at as *mut c_void, len, MlockFlags::ONFAULT) };
}

/// Zeroes shared memory.
///
/// # Safety
///
/// The range is mapped writable. It is this crate's own mapping of a segment to which no process is
/// attached.
pub unsafe fn zero(at: usize, len: usize) {
    // SAFETY: the range is mapped writable. A peer that writes here at the same time can only
    // damage the segment's content.
    unsafe { std::ptr::write_bytes(at as *mut u8, 0, len) }
}

/// Undoes [`lock_on_touch`].
pub fn unlock(at: usize, len: usize) {
    // SAFETY: the range is a segment that the caller has mapped. Unlocking changes no content.
    let _ = unsafe { mm::munlock(at as *mut c_void, len) };
}
