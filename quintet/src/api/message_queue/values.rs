//! Messages that are values of Rust types.

use crate::api::message_queue::MessageQueue;
use crate::api::select::Select;
use crate::types::error::{Errno, Result};
use serde::{Serialize, de::DeserializeOwned};

/// These methods need the feature `serde`, which is on by default.
impl MessageQueue {
    /// Sends a value as a message of type `mtype` (1 or more), as [`send`](Self::send) does.
    ///
    /// The value is encoded as [postcard](https://postcard.jamesmunns.com). The receiver must know
    /// its type.
    ///
    /// # Examples
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
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send), and:
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | the value cannot be encoded |
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

    /// Receives a message as [`receive`](Self::receive) does, and returns its type and its value.
    ///
    /// A message that is not a `T` is removed from the queue and lost. To keep its bytes, call
    /// [`receive`](Self::receive) and then [`Message::value`](crate::Message::value).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{MessageQueue, Select};
    /// let queue = MessageQueue::private(&ns)?;
    /// queue.send_value(3, &("page", 7))?;
    /// assert_eq!(queue.receive_value(Select::First)?, (3, ("page".to_owned(), 7)));
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`receive`](Self::receive), and:
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EBADMSG` | the message is not a `T` |
    ///
    /// # References
    ///
    /// msgop(2)
    pub fn receive_value<T: DeserializeOwned>(&self, select: Select) -> Result<(i64, T)> {
        let message = self.receive(select)?;
        Ok((message.mtype, message.value()?))
    }
}
