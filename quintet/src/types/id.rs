//! Identifiers: the kernel's, `sequence * 32768 + index`.

use crate::types::error::Errno;
use std::fmt;

/// The greatest number of objects of one class in a namespace, `IPCMNI`.
pub const MAX_OBJECTS: u32 = 32768;

/// The identifier of an object: where it is (the index) and which one of those that were
/// there it is (the sequence), so that an identifier kept after the object's removal is refused.
///
/// ```
/// use quintet::Id;
/// let id = Id::new(3, 7);
/// assert_eq!((id.raw(), id.index(), id.sequence()), (3 * 32768 + 7, 7, 3));
/// assert!(Id::from_raw(-1).is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Id(i32);

impl Id {
    /// The identifier of sequence `sequence` (0..=65535) at index `index` (0..=32767).
    pub const fn new(sequence: u16, index: u16) -> Id {
        Id(((sequence as u32 & 0xffff) << 15 | (index as u32 & 0x7fff)) as i32 & i32::MAX)
    }

    /// An identifier as a C program holds it.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a negative number.
    pub const fn from_raw(raw: i32) -> Result<Id, Errno> {
        if raw < 0 { Err(Errno::INVAL) } else { Ok(Id(raw)) }
    }

    /// The number.
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// The place in the table, 0..=32767.
    pub const fn index(self) -> u16 {
        (self.0 as u32 & 0x7fff) as u16
    }

    /// The sequence number, 0..=65535.
    pub const fn sequence(self) -> u16 {
        (self.0 as u32 >> 15) as u16
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
