//! Identifiers of objects, as the kernel forms them: `sequence * 32768 + index`.

use crate::types::error::Errno;
use std::fmt;

/// The greatest number of objects of one class in a namespace, `IPCMNI`.
pub const MAX_OBJECTS: u32 = 32768;

/// The identifier of an object.
///
/// The index is the object's place in the table. The sequence counts the objects at this place, so
/// an identifier stays invalid after its object was removed.
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
    /// Creates the identifier of the object with this sequence (0..=65535) at `index` (0..=32767).
    ///
    /// ```
    /// assert_eq!(quintet::Id::new(0, 5).raw(), 5);
    /// ```
    pub const fn new(sequence: u16, index: u16) -> Id {
        Id(((sequence as u32 & 0xffff) << 15 | (index as u32 & 0x7fff)) as i32 & i32::MAX)
    }

    /// Creates an identifier from the number that a C program uses.
    ///
    /// ```
    /// use quintet::{Errno, Id};
    /// assert_eq!(Id::from_raw(32768)?.sequence(), 1);
    /// assert_eq!(Id::from_raw(-1), Err(Errno::INVAL));
    /// # Ok::<(), Errno>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `EINVAL` if the number is negative.
    pub const fn from_raw(raw: i32) -> Result<Id, Errno> {
        if raw < 0 { Err(Errno::INVAL) } else { Ok(Id(raw)) }
    }

    /// Returns the number, 0..=2147483647.
    ///
    /// ```
    /// assert_eq!(quintet::Id::new(2, 1).raw(), 65537);
    /// ```
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// Returns the place in the table, 0..=32767.
    ///
    /// ```
    /// assert_eq!(quintet::Id::new(2, 1).index(), 1);
    /// ```
    pub const fn index(self) -> u16 {
        (self.0 as u32 & 0x7fff) as u16
    }

    /// Returns the sequence number, 0..=65535.
    ///
    /// ```
    /// assert_eq!(quintet::Id::new(2, 1).sequence(), 2);
    /// ```
    pub const fn sequence(self) -> u16 {
        (self.0 as u32 >> 15) as u16
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
