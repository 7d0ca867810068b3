//! Received messages.

#[cfg(feature = "serde")]
use crate::types::error::{Errno, Error, Result};
#[cfg(feature = "serde")]
use serde::de::DeserializeOwned;

/// A message that was received.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[doc(alias = "msgbuf")]
pub struct Message {
    /// The type, 1 or more.
    pub mtype: i64,
    /// The bytes.
    pub data: Vec<u8>,
}

/// This method needs the feature `serde`, which is on by default.
#[cfg(feature = "serde")]
impl Message {
    /// Returns the value that [`MessageQueue::send_value`](crate::MessageQueue::send_value) sent.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{MessageQueue, Select};
    /// let queue = MessageQueue::private(&ns)?;
    /// queue.send_value(1, &300_u16)?;
    /// let message = queue.receive(Select::First)?;
    /// assert_eq!(message.value::<u16>()?, 300);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EBADMSG` | the bytes are not a `T`, or more than a `T` |
    pub fn value<T: DeserializeOwned>(&self) -> Result<T> {
        let error = |reason: &dyn std::fmt::Display| {
            let failure = format!("cannot read a {} from a message of type {}", std::any::type_name::<T>(), self.mtype);
            Error::new(Errno::BADMSG, failure).reason(format!("its {} bytes are something else: {reason}", self.data.len()))
        };
        match postcard::take_from_bytes(&self.data) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(error(&format_args!("the last {} are too many", rest.len()))),
            Err(e) => Err(error(&e)),
        }
    }
}
