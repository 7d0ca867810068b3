//! Sending messages.

use crate::api::common;
use crate::api::message_queue::MessageQueue;
use crate::types::error::{Errno, Error, Result};
use crate::types::msg::MsgFlags;
use std::time::{Duration, Instant};

impl MessageQueue {
    /// Sends a message of type `mtype` (1 or more) with the bytes `data` (`msgmax` at most). Blocks
    /// until the queue has room.
    ///
    /// A message that is longer than the queue's capacity never finds room.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::MessageQueue;
    /// let queue = MessageQueue::private(&ns)?;
    /// queue.send(1, b"work")?;
    /// assert_eq!(queue.stat()?.bytes, 4);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the mode does not grant writing |
    /// | `EIDRM` | the queue was removed while the call waited |
    /// | `EINVAL` | the queue does not exist (any more) |
    /// | `EINVAL` | `mtype` is below 1, or `data` is longer than `msgmax` |
    /// | `ENOMEM` | the file system has no room for the message |
    ///
    /// # References
    ///
    /// msgop(2)
    #[doc(alias = "msgsnd")]
    pub fn send(&self, mtype: i64, data: &[u8]) -> Result<()> {
        self.send_until(mtype, data, None).map_err(|e| self.send_error(mtype, data, e))
    }

    /// Sends a message as [`send`](Self::send) does, if the queue has room. Returns `true` if it
    /// was sent. Never blocks.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, MessageQueue};
    /// let queue = MessageQueue::options().capacity(4).create(&ns, Key::PRIVATE)?;
    /// assert!(queue.try_send(1, b"abc")?);
    /// assert!(!queue.try_send(1, b"de")?);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send), without `EIDRM`.
    ///
    /// # References
    ///
    /// msgop(2), `IPC_NOWAIT`
    #[doc(alias = "IPC_NOWAIT")]
    pub fn try_send(&self, mtype: i64, data: &[u8]) -> Result<bool> {
        self.sent(mtype, data, self.ns.msgsnd(self.id.raw(), mtype, data, MsgFlags::NOWAIT, None))
    }

    /// Sends a message as [`send`](Self::send) does. Blocks for `timeout` at most. Returns `true`
    /// if it was sent.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, MessageQueue};
    /// use std::time::Duration;
    /// let queue = MessageQueue::options().capacity(4).create(&ns, Key::PRIVATE)?;
    /// assert!(queue.send_timeout(1, b"abc", Duration::from_millis(1))?);
    /// assert!(!queue.send_timeout(1, b"de", Duration::from_millis(1))?);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send), and:
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EOPNOTSUPP` | the namespace is the kernel's, which has no timeouts |
    ///
    /// # References
    ///
    /// msgop(2), which has no timeout
    pub fn send_timeout(&self, mtype: i64, data: &[u8], timeout: Duration) -> Result<bool> {
        self.sent(mtype, data, self.send_until(mtype, data, Instant::now().checked_add(timeout)))
    }

    /// Sends a message as [`send`](Self::send) does. Blocks until `deadline` at most. Returns
    /// `true` if it was sent.
    ///
    /// If the deadline has passed, it sends the message if the queue has room.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, MessageQueue};
    /// use std::time::Instant;
    /// let queue = MessageQueue::options().capacity(4).create(&ns, Key::PRIVATE)?;
    /// assert!(queue.send_deadline(1, b"abc", Instant::now())?);
    /// assert!(!queue.send_deadline(1, b"de", Instant::now())?);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`send_timeout`](Self::send_timeout).
    ///
    /// # References
    ///
    /// msgop(2), which has no timeout
    pub fn send_deadline(&self, mtype: i64, data: &[u8], deadline: Instant) -> Result<bool> {
        self.sent(mtype, data, self.send_until(mtype, data, Some(deadline)))
    }

    fn send_until(&self, mtype: i64, data: &[u8], deadline: Option<Instant>) -> std::result::Result<(), Errno> {
        common::restart_after_signals(deadline, |timeout| self.ns.msgsnd(self.id.raw(), mtype, data, MsgFlags::empty(), timeout))
    }

    /// Turns `EAGAIN` into `false`.
    fn sent(&self, mtype: i64, data: &[u8], done: std::result::Result<(), Errno>) -> Result<bool> {
        match done {
            Ok(()) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(e) => Err(self.send_error(mtype, data, e)),
        }
    }

    fn send_error(&self, mtype: i64, data: &[u8], errno: Errno) -> Error {
        let error = self.error("send to", errno);
        let msgmax = self.ns.limits().unwrap_or_default().msgmax;
        match errno {
            Errno::INVAL if mtype < 1 => error.reason(format!("a message's type is 1 or more, not {mtype}")),
            Errno::INVAL if data.len() > msgmax as usize => {
                error.reason(format!("{} bytes are more than the limit msgmax, {msgmax}", data.len())).hint(format!(
                    "raise it with {}",
                    common::command(&self.ns, format_args!("namespace limits --msgmax {}", data.len()))
                ))
            }
            Errno::NOMEM => error
                .reason("the file system of the namespace has no room for the message")
                .hint(format!("{} shows how much room there is", common::command(&self.ns, "doctor"))),
            _ => error,
        }
    }
}
