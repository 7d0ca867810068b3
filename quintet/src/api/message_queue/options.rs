//! How a queue is created.

use crate::api::common::{self, Class};
use crate::api::message_queue::{MessageQueue, capacity_error};
use crate::api::namespace::Namespace;
use crate::types::error::{Errno, Error, Result};
use crate::types::id::Id;
use crate::types::key::Key;

/// Choices for the creation of a queue. [`MessageQueue::options`] returns the defaults.
#[derive(Clone, Debug)]
pub struct MessageQueueOptions {
    mode: u32,
    exclusive: bool,
    capacity: Option<u64>,
}

impl MessageQueueOptions {
    pub(crate) fn new() -> MessageQueueOptions {
        MessageQueueOptions { mode: 0o600, exclusive: false, capacity: None }
    }

    /// Sets the access mode: the nine bits `rw-rw-rw-`, where `r` is the permission to receive and
    /// `w` the permission to send. The default is 0o600.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, MessageQueue};
    /// let queue = MessageQueue::options().mode(0o640).create(&ns, Key::PRIVATE)?;
    /// assert_eq!(queue.stat()?.perm.mode, 0o640);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode & 0o777;
        self
    }

    /// Lets the creation fail with `EEXIST` if the key is in use (`IPC_EXCL`).
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Errno, Key, MessageQueue};
    /// let options = MessageQueue::options().exclusive();
    /// options.create(&ns, Key::new(5))?;
    /// assert_eq!(options.create(&ns, Key::new(5)).unwrap_err().errno(), Errno::EXIST);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    #[doc(alias = "IPC_EXCL")]
    pub fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    /// Sets the capacity of a new queue in bytes, which also limits the number of its messages
    /// (`msg_qbytes`). The default is the limit `msgmnb`.
    ///
    /// In a directory, the queue has this capacity from its first instant. In the kernel, a process
    /// can open the queue before its capacity is set.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, MessageQueue};
    /// let queue = MessageQueue::options().capacity(4096).create(&ns, Key::PRIVATE)?;
    /// assert_eq!(queue.stat()?.capacity, 4096);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    #[doc(alias = "msg_qbytes")]
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.capacity = Some(bytes);
        self
    }

    /// Creates the queue of `key`, or opens the existing one, which keeps its mode and capacity.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, MessageQueue};
    /// let queue = MessageQueue::options().capacity(100).create(&ns, Key::new(5))?;
    /// let same = MessageQueue::options().capacity(200).create(&ns, Key::new(5))?;
    /// assert_eq!((same.id(), same.stat()?.capacity), (queue.id(), 100));
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | the queue exists and its mode does not grant the mode asked for |
    /// | `EEXIST` | the key is in use, and [`exclusive`](Self::exclusive) was asked for |
    /// | `ENOMEM` | the file system has no room |
    /// | `ENOSPC` | the limit `msgmni` is reached |
    /// | `EPERM` | the capacity is over `msgmnb`, and the caller lacks `CAP_SYS_RESOURCE` |
    ///
    /// # References
    ///
    /// msgget(2)
    pub fn create(&self, ns: &Namespace, key: Key) -> Result<MessageQueue> {
        let queue = |id| MessageQueue { ns: ns.clone(), id };
        let exclusive = if self.exclusive { libc::IPC_EXCL } else { 0 };
        let flags = self.mode as i32 | libc::IPC_CREAT | exclusive;
        let created = match self.capacity {
            None => ns.msgget(key, flags),
            Some(bytes) => ns.msgget_with(key, flags, bytes).unwrap_or_else(|| {
                let (get, remove) = (|flags| ns.msgget(key, flags), |id: Id| ns.msg_remove(id.raw()));
                let change = |id| queue(id).change(|stat| stat.capacity = bytes);
                common::create_in_steps(self.mode as i32, self.exclusive, get, change, remove)
            }),
        };
        created.map(queue).map_err(|errno| self.error(ns, key, errno))
    }

    pub(super) fn error(&self, ns: &Namespace, key: Key, errno: Errno) -> Error {
        let error = Error::new(errno, format!("cannot create a message queue with key {key}"));
        let limits = ns.limits().unwrap_or_default();
        match errno {
            Errno::NOSPC => error.reason(format!("the limit msgmni ({} queues) is reached", limits.msgmni)).hint(format!(
                "remove queues, or raise the limit with {}",
                common::command(ns, format_args!("namespace limits --msgmni {}", limits.msgmni.saturating_mul(2).max(1)))
            )),
            Errno::PERM => capacity_error(ns, error, self.capacity.unwrap_or_default(), limits.msgmnb),
            _ => common::creation_error(ns, Class::QUEUE, key, error),
        }
    }
}

impl MessageQueue {
    /// Returns the choices for the creation of a queue.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let ns = quintet::Namespace::create(dir.path().join("ns"), quintet::Kind::Private)?;
    /// use quintet::{Key, MessageQueue};
    /// let queue = MessageQueue::options().mode(0o640).exclusive().capacity(4096).create(&ns, Key::new(5))?;
    /// let stat = queue.stat()?;
    /// assert_eq!((stat.perm.mode, stat.capacity), (0o640, 4096));
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// msgget(2)
    pub fn options() -> MessageQueueOptions {
        MessageQueueOptions::new()
    }
}
