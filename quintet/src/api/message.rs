//! Values as messages.

use crate::api::message_queue::{Message, MessageQueue};
use crate::api::select::Select;
use crate::types::error::{Errno, Error, Result};
use serde::{Serialize, de::DeserializeOwned};

/// With the feature `serde`, which is on by default.
impl MessageQueue {
    /// Sends a value, as [`send`](Self::send) sends its bytes. They are encoded as [postcard](https://postcard.jamesmunns.com) has it, for
    /// programs on either side that know the type.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{MessageQueue, Select};
    /// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    /// struct Order {
    ///     article: String,
    ///     pieces: u32,
    /// }
    /// let queue = MessageQueue::private(&ns)?;
    /// queue.send_value(1, &Order { article: "bolt".into(), pieces: 12 })?;
    /// let (_, order) = queue.receive_value::<Order>(Select::First)?;
    /// assert_eq!(order, Order { article: "bolt".into(), pieces: 12 });
    /// # queue.remove()?;
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); `EINVAL` also if the value cannot be encoded.
    ///
    /// # References
    ///
    /// msgop(2)
    pub fn send_value<T: Serialize + ?Sized>(&self, mtype: i64, value: &T) -> Result<()> {
        let data = postcard::to_stdvec(value).map_err(|e| {
            self.error("send to", Errno::INVAL).reason(format!("a {} cannot be encoded: {e}", std::any::type_name::<T>()))
        })?;
        self.send(mtype, &data)
    }

    /// Takes the message that is selected, as [`receive`](Self::receive) does: its type and its value. A message that holds no such value is
    /// lost; [`receive`](Self::receive) and [`Message::value`] keep its bytes.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive); `EBADMSG` the message's bytes are no `T`.
    ///
    /// # References
    ///
    /// msgop(2)
    pub fn receive_value<T: DeserializeOwned>(&self, select: Select) -> Result<(i64, T)> {
        let message = self.receive(select)?;
        Ok((message.mtype, message.value()?))
    }
}

/// With the feature `serde`, which is on by default.
impl Message {
    /// The value that was sent by [`MessageQueue::send_value`].
    ///
    /// # Errors
    ///
    /// `EBADMSG` the bytes are no `T`, or more than that.
    pub fn value<T: DeserializeOwned>(&self) -> Result<T> {
        let error = |why: &dyn std::fmt::Display| {
            let what = format!("cannot read a {} from a message of type {}", std::any::type_name::<T>(), self.mtype);
            Error::new(Errno::BADMSG, what).reason(format!("its {} bytes are something else: {why}", self.data.len()))
        };
        match postcard::take_from_bytes(&self.data) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(error(&format_args!("the last {} are too many", rest.len()))),
            Err(e) => Err(error(&e)),
        }
    }
}
