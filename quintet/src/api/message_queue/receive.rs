//! Receiving messages, and looking at them.

use crate::api::common;
use crate::api::message::Message;
use crate::api::message_queue::MessageQueue;
use crate::api::select::Select;
use crate::types::error::{Errno, Error, Result};
use crate::types::msg::MsgFlags;
use std::time::{Duration, Instant};

impl MessageQueue {
    /// Receives the selected message, of any length. Blocks until there is one.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{MessageQueue, Select};
    /// let queue = MessageQueue::private(&ns)?;
    /// queue.send(7, b"word")?;
    /// let message = queue.receive(Select::First)?;
    /// assert_eq!((message.mtype, &message.data[..]), (7, &b"word"[..]));
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant reading |
    /// | `EIDRM` | the queue was removed while the call waited |
    /// | `EINVAL` | the queue does not exist (any more), or `select` has a type below 1 |
    /// | `ENOMEM` | there is no memory for the message, which stays in the queue |
    /// | `ENOMEM` | there is no room for the blocked call |
    ///
    /// # References
    ///
    /// msgop(2)
    #[doc(alias = "msgrcv")]
    pub fn receive(&self, select: Select) -> Result<Message> {
        self.receive_until(select, None).map_err(|e| self.receive_error(select, e))
    }

    /// Receives the selected message if there is one. Never blocks.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{MessageQueue, Select};
    /// let queue = MessageQueue::private(&ns)?;
    /// queue.send(1, b"only")?;
    /// assert_eq!(queue.try_receive(Select::First)?.unwrap().data, b"only");
    /// assert_eq!(queue.try_receive(Select::First)?, None);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`receive`](Self::receive), without `EIDRM`.
    ///
    /// # References
    ///
    /// msgop(2), `IPC_NOWAIT`
    #[doc(alias = "IPC_NOWAIT")]
    pub fn try_receive(&self, select: Select) -> Result<Option<Message>> {
        self.received(select, self.take(select, MsgFlags::NOWAIT, None))
    }

    /// Receives the selected message. Blocks until there is one, for `timeout` at most; then
    /// returns `None`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{MessageQueue, Select};
    /// use std::time::Duration;
    /// let queue = MessageQueue::private(&ns)?;
    /// assert_eq!(queue.receive_timeout(Select::First, Duration::from_millis(1))?, None);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`receive`](Self::receive), and:
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EOPNOTSUPP` | the namespace is the kernel's, which has no timeouts |
    ///
    /// # References
    ///
    /// msgop(2), which has no timeout
    pub fn receive_timeout(&self, select: Select, timeout: Duration) -> Result<Option<Message>> {
        self.received(select, self.receive_until(select, Instant::now().checked_add(timeout)))
    }

    /// Receives the selected message. Blocks until there is one, until `deadline` at most; then
    /// returns `None`.
    ///
    /// If the deadline has passed, it receives a message that is there.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{MessageQueue, Select};
    /// use std::time::Instant;
    /// let queue = MessageQueue::private(&ns)?;
    /// queue.send(1, b"only")?;
    /// assert_eq!(queue.receive_deadline(Select::First, Instant::now())?.unwrap().data, b"only");
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`receive_timeout`](Self::receive_timeout).
    ///
    /// # References
    ///
    /// msgop(2), which has no timeout
    pub fn receive_deadline(&self, select: Select, deadline: Instant) -> Result<Option<Message>> {
        self.received(select, self.receive_until(select, Some(deadline)))
    }

    /// Receives the selected message into `buffer`, without an allocation. Blocks until there is
    /// one. Returns its type and its length in bytes.
    ///
    /// A message that is longer than the buffer stays in the queue.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Errno, MessageQueue, Select};
    /// let queue = MessageQueue::private(&ns)?;
    /// queue.send(7, b"word")?;
    /// let too_long = queue.receive_into(&mut [0; 3], Select::First);
    /// assert_eq!(too_long.unwrap_err().errno(), Errno::TOOBIG);
    /// let mut buffer = [0; 64];
    /// assert_eq!(queue.receive_into(&mut buffer, Select::First)?, (7, 4));
    /// assert_eq!(&buffer[..4], b"word");
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`receive`](Self::receive), and:
    ///
    /// | errno | when |
    /// |---|---|
    /// | `E2BIG` | the message is longer than `buffer` |
    ///
    /// # References
    ///
    /// msgop(2)
    pub fn receive_into(&self, buffer: &mut [u8], select: Select) -> Result<(i64, usize)> {
        let received = select.raw().and_then(|(mtype, flags)| {
            common::restart_after_signals(None, |timeout| self.ns.msgrcv(self.id.raw(), buffer, mtype, flags, timeout))
        });
        received.map_err(|e| match e {
            Errno::TOOBIG => self
                .error("receive from", e)
                .reason(format!("the message is longer than the buffer of {} bytes", buffer.len()))
                .hint("it is still there: receive it with a larger buffer"),
            _ => self.receive_error(select, e),
        })
    }

    /// Returns a copy of the message that [`receive`](Self::receive) would take now, or `None` if
    /// there is none. The message stays in the queue.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{MessageQueue, Select};
    /// let queue = MessageQueue::private(&ns)?;
    /// queue.send(3, b"third")?;
    /// queue.send(1, b"first")?;
    /// assert_eq!(queue.peek(Select::LowestUpTo(9))?.unwrap().data, b"first");
    /// assert_eq!(queue.stat()?.messages, 2);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`messages`](Self::messages), and:
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EINVAL` | `select` has a type below 1 |
    ///
    /// # References
    ///
    /// msgop(2), `MSG_COPY`
    #[doc(alias = "MSG_COPY")]
    pub fn peek(&self, select: Select) -> Result<Option<Message>> {
        select.raw().map_err(|e| self.receive_error(select, e))?;
        let mut found: Option<Message> = None;
        let seen = self.ns.peek(self.id.raw(), |message, data| {
            if select.prefers(message.mtype, found.as_ref().map(|found| found.mtype)) {
                found = Some(Message { mtype: message.mtype, data: data.to_vec() });
            }
            // A later message can replace this one only if it has a lower type.
            found.as_ref().is_none_or(|found| matches!(select, Select::LowestUpTo(_)) && found.mtype > 1)
        });
        seen.map_err(|e| self.peek_error(e))?;
        Ok(found)
    }

    /// Returns copies of all messages, in the order of the queue. The messages stay in the queue.
    ///
    /// [`Namespace::peek`](crate::Namespace::peek) makes no copies, and reports the sender and the
    /// time of each message.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::MessageQueue;
    /// let queue = MessageQueue::private(&ns)?;
    /// queue.send(3, b"abc")?;
    /// queue.send(1, b"d")?;
    /// let lengths: Vec<usize> = queue.messages()?.iter().map(|message| message.data.len()).collect();
    /// assert_eq!(lengths, [3, 1]);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant reading |
    /// | `EIDRM` | the queue was removed meanwhile |
    /// | `EINVAL` | the queue does not exist (any more) |
    /// | `ENOSYS` | the namespace is the kernel's, which was built without `MSG_COPY` |
    ///
    /// # References
    ///
    /// msgop(2), `MSG_COPY`
    pub fn messages(&self) -> Result<Vec<Message>> {
        let mut all = Vec::new();
        let seen = self.ns.peek(self.id.raw(), |message, data| {
            all.push(Message { mtype: message.mtype, data: data.to_vec() });
            true
        });
        seen.map(|()| all).map_err(|e| self.peek_error(e))
    }

    fn receive_until(&self, select: Select, deadline: Option<Instant>) -> std::result::Result<Message, Errno> {
        common::restart_after_signals(deadline, |timeout| self.take(select, MsgFlags::empty(), timeout))
    }

    fn take(&self, select: Select, flags: MsgFlags, timeout: Option<Duration>) -> std::result::Result<Message, Errno> {
        let (mtype, except) = select.raw()?;
        let (mtype, data) = self.ns.take(self.id.raw(), mtype, flags | except, timeout)?;
        Ok(Message { mtype, data })
    }

    /// Turns `ENOMSG` into `None`.
    fn received(&self, select: Select, done: std::result::Result<Message, Errno>) -> Result<Option<Message>> {
        match done {
            Ok(message) => Ok(Some(message)),
            Err(Errno::NOMSG) => Ok(None),
            Err(e) => Err(self.receive_error(select, e)),
        }
    }

    fn receive_error(&self, select: Select, errno: Errno) -> Error {
        let error = self.error("receive from", errno);
        match (errno, select) {
            (Errno::INVAL, Select::Type(n) | Select::LowestUpTo(n) | Select::NotType(n)) if n < 1 => {
                error.reason(format!("a message's type is 1 or more, not {n}"))
            }
            (Errno::NOMEM, _) => error.reason("there is no memory for the message, or no room for the waiting call"),
            _ => error,
        }
    }

    fn peek_error(&self, errno: Errno) -> Error {
        let error = self.error("peek at", errno);
        if errno == Errno::NOSYS { error.reason("the kernel was built without MSG_COPY") } else { error }
    }
}
