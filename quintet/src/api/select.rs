//! Which message a receiver takes.

use crate::types::error::Errno;
use crate::types::msg::MsgFlags;

/// Which message a receiver takes: the first in the queue that fits, or else the next that arrives.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
/// use quintet::{MessageQueue, Select};
/// let queue = MessageQueue::private(&ns)?;
/// for (mtype, text) in [(5, "later"), (2, "soon"), (1, "now")] {
///     queue.send(mtype, text.as_bytes())?;
/// }
/// assert_eq!(queue.receive(Select::LowestUpTo(4))?.data, b"now");
/// assert_eq!(queue.receive(Select::NotType(5))?.data, b"soon");
/// assert_eq!(queue.try_receive(Select::Type(2))?, None);
/// assert_eq!(queue.receive(Select::First)?.data, b"later");
/// # Ok::<(), quintet::Error>(())
/// ```
///
/// # References
///
/// msgop(2), `msgtyp` and `MSG_EXCEPT`
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[doc(alias = "msgtyp")]
pub enum Select {
    /// The first message, of any type.
    #[default]
    First,
    /// The first message of this type, 1 or more.
    Type(i64),
    /// The first message of the lowest type that is at most this, 1 or more. Types are priorities
    /// then, of which 1 is the highest.
    LowestUpTo(i64),
    /// The first message of any type but this, 1 or more.
    #[doc(alias = "MSG_EXCEPT")]
    NotType(i64),
}

impl Select {
    /// Returns the `msgtyp` of the C call and the flag that belongs to it.
    pub(crate) fn raw(self) -> Result<(i64, MsgFlags), Errno> {
        match self {
            Select::First => Ok((0, MsgFlags::empty())),
            Select::Type(n) if n > 0 => Ok((n, MsgFlags::empty())),
            Select::LowestUpTo(n) if n > 0 => Ok((-n, MsgFlags::empty())),
            Select::NotType(n) if n > 0 => Ok((n, MsgFlags::EXCEPT)),
            _ => Err(Errno::INVAL),
        }
    }

    /// Returns `true` if a message of type `mtype` replaces an earlier one of type `found`.
    pub(crate) fn prefers(self, mtype: i64, found: Option<i64>) -> bool {
        match self {
            Select::First => found.is_none(),
            Select::Type(n) => mtype == n && found.is_none(),
            Select::LowestUpTo(n) => mtype <= n && found.is_none_or(|found| mtype < found),
            Select::NotType(n) => mtype != n && found.is_none(),
        }
    }
}
