//! Attached memory, safe to use although other processes write it.
//!
//! # Safety
//!
//! No `&[u8]` or `&mut [u8]` to the memory is ever formed: a peer may write it at any time.
//! All access is by atomic operations, of one machine word where alignment allows, so that
//! a racing write can tear a copy but is never undefined behaviour. The mapping lives as long as
//! its [`Attachment`], and everything handed out borrows from that.
#![allow(unsafe_code)]

use crate::api::namespace::Namespace;
use crate::api::segment::Segment;
use crate::backend::any::with_backend;
use crate::backend::verbs::SegmentVerbs;
use crate::types::error::{Errno, Error, Result};
use bytemuck::{AnyBitPattern, NoUninit};
use std::marker::PhantomData;
use std::mem::{align_of, size_of};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// A segment in this process's memory. Dropping it detaches.
///
/// Offsets and lengths are in bytes from the segment's start and are checked: beyond the end is `EINVAL`.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
/// use quintet::{Key, Segment};
/// use std::sync::atomic::Ordering;
/// let memory = Segment::create(&ns, Key::PRIVATE, 4096)?.attach()?;
/// memory.atomic_u64(8)?.fetch_add(1, Ordering::SeqCst);
/// memory.cell::<[u32; 4]>(64)?.store([1, 2, 3, 4])?;
/// assert_eq!(memory.cell::<u32>(68)?.load(), 2);
/// memory.detach()?;
/// # Ok::<(), quintet::Error>(())
/// ```
///
/// A detached attachment cannot be used, nor anything borrowed from it:
///
/// ```compile_fail,E0505
/// # let ns = quintet::Namespace::kernel();
/// # let segment = quintet::Segment::create(&ns, quintet::Key::PRIVATE, 8)?;
/// let memory = segment.attach()?;
/// let counter = memory.atomic_u64(0)?;
/// memory.detach()?;
/// counter.load(std::sync::atomic::Ordering::SeqCst);
/// # Ok::<(), quintet::Error>(())
/// ```
pub struct Attachment {
    ns: Namespace,
    segment: Segment,
    base: NonNull<u8>,
    len: usize,
    read_only: bool,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is accessed atomically only.
unsafe impl Send for Attachment {}
// SAFETY: as above.
unsafe impl Sync for Attachment {}

impl Attachment {
    pub(super) fn new(segment: &Segment, read_only: bool) -> Result<Attachment> {
        let ns = segment.namespace().clone();
        let id = segment.id().raw();
        let flags = if read_only { libc::SHM_RDONLY } else { 0 };
        let (address, len) =
            with_backend!(ns.backend, backend => backend.attach_anywhere(id, flags)).map_err(|e| segment.error("attach", e))?;
        let base = NonNull::new(address as *mut u8).ok_or_else(|| segment.error("attach", Errno::FAULT))?;
        Ok(Attachment { ns, segment: segment.clone(), base, len, read_only })
    }

    /// The segment's size in bytes, as asked for at its creation.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: a segment has at least one byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it was attached for reading only.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The segment that is attached.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// The address, for those who pass it on to C. It is valid until this value is dropped.
    pub fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Copies `to.len()` bytes from `offset` on out of the segment. Writes by others meanwhile may show in part.
    ///
    /// # Errors
    ///
    /// `EINVAL` beyond the end.
    pub fn read(&self, offset: usize, to: &mut [u8]) -> Result<()> {
        let from = self.range(offset, to.len(), 1)?;
        copy_out(from, to);
        Ok(())
    }

    /// Copies a range of bytes out of the segment.
    ///
    /// # Errors
    ///
    /// `EINVAL` beyond the end.
    pub fn to_vec(&self, range: Range<usize>) -> Result<Vec<u8>> {
        let len = range.end.saturating_sub(range.start);
        let from = self.range(range.start, len, 1)?;
        let mut bytes = vec![0; len];
        copy_out(from, &mut bytes);
        Ok(bytes)
    }

    /// Copies bytes into the segment at `offset`.
    ///
    /// # Errors
    ///
    /// `EINVAL` beyond the end; `EACCES` attached for reading only.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        self.writable()?;
        let to = self.range(offset, bytes.len(), 1)?;
        copy_in(bytes, to);
        Ok(())
    }

    /// Fills `len` bytes from `offset` on with `byte`.
    ///
    /// # Errors
    ///
    /// As [`Attachment::write`].
    pub fn fill(&self, offset: usize, len: usize, byte: u8) -> Result<()> {
        self.writable()?;
        let to = self.range(offset, len, 1)?;
        let block = [byte; 4096];
        let mut done = 0;
        while done < len {
            let n = (len - done).min(block.len());
            copy_in(&block[..n], to.wrapping_add(done));
            done += n;
        }
        Ok(())
    }

    /// A plain value in the segment, at an `offset` that its alignment divides.
    ///
    /// # Errors
    ///
    /// `EINVAL` beyond the end, or unaligned.
    pub fn cell<T: AnyBitPattern + NoUninit>(&self, offset: usize) -> Result<Cell<'_, T>> {
        let at = self.range(offset, size_of::<T>(), align_of::<T>())?;
        Ok(Cell { at: at.cast(), read_only: self.read_only, memory: PhantomData })
    }

    /// Detaches now, and tells if that fails; dropping does it silently.
    ///
    /// # Errors
    ///
    /// `EINVAL` somebody else has unmapped it.
    pub fn detach(self) -> Result<()> {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `self` is consumed and all borrows from it have ended; the fields are read once and never again.
        let (ns, segment) = unsafe { (std::ptr::read(&this.ns), std::ptr::read(&this.segment)) };
        // SAFETY: as above: nothing uses the memory any more.
        unsafe { ns.shmdt(this.base.as_ptr() as usize) }.map_err(|e| segment.error("detach", e))
    }

    fn range(&self, offset: usize, len: usize, align: usize) -> Result<*mut u8> {
        let fits = offset.checked_add(len).is_some_and(|end| end <= self.len);
        if !fits || !offset.is_multiple_of(align) {
            let error = Error::new(
                Errno::INVAL,
                format!("cannot access {len} bytes at offset {offset} of segment {}", self.segment.id()),
            );
            return Err(if fits {
                error.reason(format!("the offset is no multiple of {align}"))
            } else {
                error.reason(format!("it has {} bytes", self.len))
            });
        }
        Ok(self.base.as_ptr().wrapping_add(offset))
    }

    fn writable(&self) -> Result<()> {
        if self.read_only {
            return Err(Error::new(Errno::ACCES, format!("cannot write segment {}", self.segment.id()))
                .reason("it is attached for reading only"));
        }
        Ok(())
    }
}

macro_rules! atomic_views {
    ($($name:ident: $atomic:ident;)*) => {
        impl Attachment {
            $(
                #[doc = concat!("The `", stringify!($atomic), "` at `offset`, shared with every process that is attached.")]
                ///
                /// # Errors
                ///
                /// `EINVAL` beyond the end or unaligned; `EACCES` attached for reading only.
                pub fn $name(&self, offset: usize) -> Result<&$atomic> {
                    self.writable()?;
                    let at = self.range(offset, size_of::<$atomic>(), align_of::<$atomic>())?;
                    // SAFETY: in bounds and aligned (the base is page-aligned), mapped writable while `self`
                    // lives, and an atomic may be changed by others at any time.
                    Ok(unsafe { &*at.cast::<$atomic>() })
                }
            )*
        }
    };
}

atomic_views! {
    atomic_u8: AtomicU8;
    atomic_u32: AtomicU32;
    atomic_i32: AtomicI32;
    atomic_u64: AtomicU64;
    atomic_i64: AtomicI64;
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // SAFETY: all borrows of the memory borrow `self`, which goes.
        let _ = unsafe { self.ns.shmdt(self.base.as_ptr() as usize) };
    }
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attachment")
            .field("segment", &self.segment.id())
            .field("len", &self.len)
            .field("read_only", &self.read_only)
            .finish()
    }
}

/// A plain value in shared memory, copied in and out whole.
///
/// Types of 1, 2, 4 or 8 bytes aligned to their size are read and written in one piece; of larger ones a
/// concurrent writer may show in part.
pub struct Cell<'a, T> {
    at: *mut T,
    read_only: bool,
    memory: PhantomData<&'a Attachment>,
}

impl<T: AnyBitPattern + NoUninit> Cell<'_, T> {
    /// The value now.
    pub fn load(&self) -> T {
        let mut value = T::zeroed();
        copy_out(self.at.cast(), bytemuck::bytes_of_mut(&mut value));
        value
    }

    /// Writes a value.
    ///
    /// # Errors
    ///
    /// `EACCES` attached for reading only.
    pub fn store(&self, value: T) -> Result<()> {
        if self.read_only {
            return Err(Error::new(Errno::ACCES, "cannot write the cell").reason("the segment is attached for reading only"));
        }
        copy_in(bytemuck::bytes_of(&value), self.at.cast());
        Ok(())
    }
}

const WORD: usize = size_of::<usize>();

/// How many bytes come before the first whole word at `address`, and how many words follow.
fn split(address: usize, len: usize) -> (usize, usize) {
    let head = (address.wrapping_neg() % WORD).min(len);
    (head, (len - head) / WORD)
}

/// A small value in one access, if its address is aligned to its size.
macro_rules! whole {
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
fn copy_out(from: *mut u8, to: &mut [u8]) {
    // SAFETY: mapped, aligned as `whole!` has checked, and accessed atomically only.
    if whole!(from, to.len(), |A, I| to.copy_from_slice(&I::to_ne_bytes(unsafe { &*from.cast::<A>() }.load(Ordering::Acquire)))) {
        return;
    }
    let (head, words) = split(from as usize, to.len());
    // SAFETY: each byte is in the mapped range, each word is aligned, and all access is atomic.
    let byte = |i: usize| unsafe { &*from.wrapping_add(i).cast::<AtomicU8>() }.load(Ordering::Relaxed);
    for (i, b) in to[..head].iter_mut().enumerate() {
        *b = byte(i);
    }
    let middle = head + words * WORD;
    for (i, chunk) in to[head..middle].chunks_exact_mut(WORD).enumerate() {
        // SAFETY: as above.
        let word = unsafe { &*from.wrapping_add(head + i * WORD).cast::<AtomicUsize>() }.load(Ordering::Relaxed);
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    for (i, b) in to[middle..].iter_mut().enumerate() {
        *b = byte(middle + i);
    }
}

/// Copies into shared memory. The caller has checked that `to..to + from.len()` is mapped writable.
fn copy_in(from: &[u8], to: *mut u8) {
    // SAFETY: mapped, aligned as `whole!` has checked, and accessed atomically only.
    if whole!(to, from.len(), |A, I| {
        let mut bytes = [0; size_of::<I>()];
        bytes.copy_from_slice(from);
        // SAFETY: as above.
        unsafe { &*to.cast::<A>() }.store(I::from_ne_bytes(bytes), Ordering::Release)
    }) {
        return;
    }
    let (head, words) = split(to as usize, from.len());
    // SAFETY: each byte is in the mapped range, each word is aligned, and all access is atomic.
    let put = |i: usize, b: u8| unsafe { &*to.wrapping_add(i).cast::<AtomicU8>() }.store(b, Ordering::Relaxed);
    for (i, b) in from[..head].iter().enumerate() {
        put(i, *b);
    }
    let middle = head + words * WORD;
    for (i, chunk) in from[head..middle].chunks_exact(WORD).enumerate() {
        let mut bytes = [0; WORD];
        bytes.copy_from_slice(chunk);
        // SAFETY: as above.
        unsafe { &*to.wrapping_add(head + i * WORD).cast::<AtomicUsize>() }.store(usize::from_ne_bytes(bytes), Ordering::Relaxed);
    }
    for (i, b) in from[middle..].iter().enumerate() {
        put(middle + i, *b);
    }
}
