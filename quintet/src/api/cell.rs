//! Plain values in shared memory.

use crate::api::attachment::Attachment;
use crate::api::copy::{copy_in, copy_out};
use crate::types::error::{Errno, Error, Result};
use bytemuck::{AnyBitPattern, NoUninit};
use std::marker::PhantomData;

/// A plain value in shared memory, which is copied in and out. [`Attachment::cell`] returns it.
///
/// Values of 1, 2, 4 or 8 bytes that are aligned to their size are read and written in one access.
/// A larger value can contain part of a concurrent write.
pub struct Cell<'a, T> {
    pub(crate) at: *mut T,
    pub(crate) read_only: bool,
    pub(crate) memory: PhantomData<&'a Attachment>,
}

impl<T: AnyBitPattern + NoUninit> Cell<'_, T> {
    /// Returns a copy of the value.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Segment;
    /// let memory = Segment::private(&ns, 100)?.attach()?;
    /// memory.write(4, &7_u32.to_ne_bytes())?;
    /// assert_eq!(memory.cell::<u32>(4)?.load(), 7);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn load(&self) -> T {
        let mut value = T::zeroed();
        copy_out(self.at.cast(), bytemuck::bytes_of_mut(&mut value));
        value
    }

    /// Replaces the value.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Segment;
    /// let memory = Segment::private(&ns, 100)?.attach()?;
    /// let cell = memory.cell::<u64>(8)?;
    /// cell.store(1 << 40)?;
    /// assert_eq!(cell.load(), 1 << 40);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the segment is attached for reading only |
    pub fn store(&self, value: T) -> Result<()> {
        if self.read_only {
            return Err(Error::new(Errno::ACCES, "cannot write the cell").reason("the segment is attached for reading only"));
        }
        copy_in(bytemuck::bytes_of(&value), self.at.cast());
        Ok(())
    }
}

impl Attachment {
    /// Returns a plain value in the segment, at an `offset` that is a multiple of its alignment.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::Segment;
    /// let memory = Segment::private(&ns, 100)?.attach()?;
    /// let point = memory.cell::<[i32; 2]>(8)?;
    /// point.store([3, -4])?;
    /// assert_eq!(point.load(), [3, -4]);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | the value ends beyond the end of the segment, or `offset` is not aligned |
    pub fn cell<T: AnyBitPattern + NoUninit>(&self, offset: usize) -> Result<Cell<'_, T>> {
        let at = self.checked_range(offset, size_of::<T>(), align_of::<T>())?;
        Ok(Cell { at: at.cast(), read_only: self.read_only, memory: PhantomData })
    }
}
