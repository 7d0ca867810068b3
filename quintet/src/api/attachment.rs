//! Attached memory. It is safe to use although other processes write to it.
//!
//! # Safety
//!
//! A peer can write to the memory at any time, so this module never forms a `&[u8]` or `&mut [u8]`
//! to it. All access is atomic, and one machine word wide where the alignment allows. A racing
//! write can tear a copy, but it is never undefined behaviour. The mapping lives as long as its
//! [`Attachment`], and every reference into it borrows the attachment.
#![allow(unsafe_code)]

use crate::api::copy::{copy_in, copy_out};
use crate::api::namespace::Namespace;
use crate::api::segment::Segment;
use crate::backend::any::with_backend;
use crate::backend::verbs::SegmentVerbs;
use crate::types::error::{Errno, Error, Result};
use std::mem::{align_of, size_of};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU8, AtomicU32, AtomicU64};

/// A segment in the memory of this process. Dropping the value detaches the segment.
///
/// Offsets and lengths are in bytes, from the start of the segment. Each access is checked and
/// fails with `EINVAL` beyond the end.
///
/// # Examples
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
/// use quintet::Segment;
/// use std::sync::atomic::Ordering;
/// let memory = Segment::private(&ns, 4096)?.attach()?;
/// memory.atomic_u64(8)?.fetch_add(1, Ordering::SeqCst);
/// memory.cell::<[u32; 4]>(64)?.store([1, 2, 3, 4])?;
/// assert_eq!(memory.cell::<u32>(68)?.load(), 2);
/// memory.detach()?;
/// # Ok::<(), quintet::Error>(())
/// ```
///
/// References into the memory cannot outlive the attachment:
///
/// ```compile_fail,E0505
/// # let ns = quintet::Namespace::kernel();
/// # let segment = quintet::Segment::private(&ns, 8)?;
/// let memory = segment.attach()?;
/// let counter = memory.atomic_u64(0)?;
/// memory.detach()?;
/// counter.load(std::sync::atomic::Ordering::SeqCst);
/// # Ok::<(), quintet::Error>(())
/// ```
///
/// # References
///
/// shmop(2)
pub struct Attachment {
    ns: Namespace,
    segment: Segment,
    base: NonNull<u8>,
    len: usize,
    pub(super) read_only: bool,
}

// SAFETY: the mapping belongs to the process, not to a thread, and all access is atomic.
unsafe impl Send for Attachment {}
// SAFETY: as for `Send`; a shared reference gives atomic access only.
unsafe impl Sync for Attachment {}

impl Attachment {
    pub(crate) fn new(segment: &Segment, read_only: bool) -> Result<Attachment> {
        let ns = segment.namespace().clone();
        let id = segment.id().raw();
        let flags = if read_only { libc::SHM_RDONLY } else { 0 };
        let (address, len) =
            with_backend!(ns.backend, backend => backend.attach_anywhere(id, flags)).map_err(|e| segment.error("attach", e))?;
        let base = NonNull::new(address as *mut u8).ok_or_else(|| segment.error("attach", Errno::FAULT))?;
        Ok(Attachment { ns, segment: segment.clone(), base, len, read_only })
    }

    /// Returns the size that the creator asked for, in bytes, 1 or more.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Segment;
    /// let memory = Segment::private(&ns, 100)?.attach()?;
    /// assert_eq!(memory.len(), 100);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns `false`, because a segment has at least 1 byte.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Segment;
    /// assert!(!Segment::private(&ns, 1)?.attach()?.is_empty());
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns `true` if the segment was attached for reading only.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Segment;
    /// let segment = Segment::private(&ns, 100)?;
    /// assert!(segment.attach_read_only()?.is_read_only());
    /// assert!(!segment.attach()?.is_read_only());
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Returns the attached segment.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Segment;
    /// let memory = Segment::private(&ns, 100)?.attach()?;
    /// assert_eq!(memory.segment().stat()?.nattch, 1);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Returns the address, for C code. It is valid until this value is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Segment;
    /// let memory = Segment::private(&ns, 100)?.attach()?;
    /// assert!(memory.as_ptr().addr().is_multiple_of(4096));
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Copies `to.len()` bytes from `offset` out of the segment.
    ///
    /// The copy can contain part of a concurrent write.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Segment;
    /// let memory = Segment::private(&ns, 100)?.attach()?;
    /// memory.write(10, b"word")?;
    /// let mut word = [0; 4];
    /// memory.read(10, &mut word)?;
    /// assert_eq!(&word, b"word");
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | the range ends beyond the end of the segment |
    pub fn read(&self, offset: usize, to: &mut [u8]) -> Result<()> {
        let from = self.checked_range(offset, to.len(), 1)?;
        copy_out(from, to);
        Ok(())
    }

    /// Returns a copy of a range of bytes.
    ///
    /// The copy can contain part of a concurrent write.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Segment;
    /// let memory = Segment::private(&ns, 100)?.attach()?;
    /// memory.fill(2, 2, 7)?;
    /// assert_eq!(memory.to_vec(1..5)?, [0, 7, 7, 0]);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | the range ends beyond the end of the segment |
    pub fn to_vec(&self, range: Range<usize>) -> Result<Vec<u8>> {
        let len = range.end.saturating_sub(range.start);
        let from = self.checked_range(range.start, len, 1)?;
        let mut bytes = vec![0; len];
        copy_out(from, &mut bytes);
        Ok(bytes)
    }

    /// Copies bytes into the segment at `offset`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Segment;
    /// let memory = Segment::private(&ns, 100)?.attach()?;
    /// memory.write(96, b"last")?;
    /// assert!(memory.write(97, b"last").is_err());
    /// assert_eq!(memory.to_vec(96..100)?, b"last");
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the segment is attached for reading only |
    /// | `EINVAL` | the range ends beyond the end of the segment |
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        self.check_writable()?;
        let to = self.checked_range(offset, bytes.len(), 1)?;
        copy_in(bytes, to);
        Ok(())
    }

    /// Sets `len` bytes from `offset` to `byte`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Segment;
    /// let memory = Segment::private(&ns, 100)?.attach()?;
    /// memory.fill(0, 3, b'x')?;
    /// assert_eq!(memory.to_vec(0..4)?, b"xxx\0");
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the segment is attached for reading only |
    /// | `EINVAL` | the range ends beyond the end of the segment |
    pub fn fill(&self, offset: usize, len: usize, byte: u8) -> Result<()> {
        self.check_writable()?;
        let to = self.checked_range(offset, len, 1)?;
        let block = [byte; 4096];
        let mut done = 0;
        while done < len {
            let n = (len - done).min(block.len());
            copy_in(&block[..n], to.wrapping_add(done));
            done += n;
        }
        Ok(())
    }

    /// Detaches the segment, and reports a failure, which dropping ignores.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Segment;
    /// let segment = Segment::private(&ns, 100)?;
    /// segment.attach()?.detach()?;
    /// assert_eq!(segment.stat()?.nattch, 0);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | other code has unmapped the memory |
    ///
    /// # References
    ///
    /// shmop(2)
    #[doc(alias = "shmdt")]
    pub fn detach(self) -> Result<()> {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `self` is consumed, so all borrows from it have ended. Each field is read once.
        let (ns, segment) = unsafe { (std::ptr::read(&this.ns), std::ptr::read(&this.segment)) };
        // SAFETY: all borrows have ended, so nothing uses the memory any more.
        unsafe { ns.shmdt(this.base.as_ptr() as usize) }.map_err(|e| segment.error("detach", e))
    }

    /// Returns the address of a range after it has checked bounds and alignment.
    pub(super) fn checked_range(&self, offset: usize, len: usize, align: usize) -> Result<*mut u8> {
        let fits = offset.checked_add(len).is_some_and(|end| end <= self.len);
        if !fits || !offset.is_multiple_of(align) {
            let error = Error::new(
                Errno::INVAL,
                format!("cannot access {len} bytes at offset {offset} of segment {}", self.segment.id()),
            );
            return Err(if fits {
                error.reason(format!("the offset must be a multiple of {align}"))
            } else {
                error.reason(format!("it has {} bytes", self.len))
            });
        }
        Ok(self.base.as_ptr().wrapping_add(offset))
    }

    fn check_writable(&self) -> Result<()> {
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
                #[doc = concat!("Returns the `", stringify!($atomic), "` at `offset`.")]
                ///
                /// Every process that has attached the segment shares it.
                ///
                /// # Examples
                ///
                /// ```
                /// # let dir = tempfile::tempdir().unwrap();
                /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
                /// use quintet::Segment;
                /// use std::sync::atomic::Ordering;
                /// let memory = Segment::private(&ns, 100)?.attach()?;
                #[doc = concat!("let counter = memory.", stringify!($name), "(16)?;")]
                /// counter.fetch_add(5, Ordering::SeqCst);
                /// assert_eq!(counter.load(Ordering::SeqCst), 5);
                /// # Ok::<(), quintet::Error>(())
                /// ```
                ///
                /// # Errors
                ///
                /// | errno | when |
                /// |---|---|
                /// | `EACCES` | the segment is attached for reading only |
                /// | `EINVAL` | the value ends beyond the end of the segment, or `offset` is not aligned |
                pub fn $name(&self, offset: usize) -> Result<&$atomic> {
                    self.check_writable()?;
                    let at = self.checked_range(offset, size_of::<$atomic>(), align_of::<$atomic>())?;
                    // SAFETY: in bounds and aligned (the base is page-aligned), and mapped writable
                    // while `self` lives. Peers can change an atomic at any time.
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
        // SAFETY: every reference into the memory borrows `self`, so none is left.
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
