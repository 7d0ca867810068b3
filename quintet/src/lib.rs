//! System V IPC in user space: shared memory segments, semaphore sets and message queues, with the
//! kernel's semantics and without its tables.
//!
//! A [`Namespace`] is a directory, and an object is a file in it. Programs that open the same
//! namespace find each other's objects by [`Key`] or by [`Id`]. [`Namespace::kernel`] is the
//! kernel's own System V IPC behind the same methods.
//!
//! # Shared memory
//!
//! ```
//! # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
//! # use quintet::{Key, Kind, Namespace, Segment};
//! let ns = Namespace::create(&path, Kind::Private)?;
//! let memory = Segment::open_or_create(&ns, Key::new(0x5eed), 4096)?.attach()?;
//! memory.write(0, b"hello")?;
//!
//! // In another program:
//! let peer = Segment::open(&ns, Key::new(0x5eed))?.attach_read_only()?;
//! let mut text = [0; 5];
//! peer.read(0, &mut text)?;
//! assert_eq!(&text, b"hello");
//! # Ok::<(), quintet::Error>(())
//! ```
//!
//! # Locks
//!
//! A [`Semaphore`] guards a critical section between programs. If a program is killed inside, the
//! next one gets in.
//!
//! ```
//! # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
//! # use quintet::{Key, Kind, Namespace, Semaphore};
//! let ns = Namespace::create(&path, Kind::Private)?;
//! let lock = Semaphore::open_or_create(&ns, Key::new(0x5eed), 1)?;
//! let guard = lock.acquire()?; // until it is dropped
//!
//! // In another program:
//! assert!(Semaphore::open(&ns, Key::new(0x5eed))?.try_acquire()?.is_none());
//! # drop(guard);
//! # Ok::<(), quintet::Error>(())
//! ```
//!
//! # Messages
//!
//! ```
//! # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
//! # use quintet::{Key, Kind, MessageQueue, Namespace, Select};
//! let ns = Namespace::create(&path, Kind::Private)?;
//! let jobs = MessageQueue::open_or_create(&ns, Key::new(0x5eed))?;
//! jobs.send(1, b"print page 3")?;
//!
//! // In another program, which blocks until there is a message:
//! let ns = Namespace::open(&path)?;
//! let jobs = MessageQueue::open(&ns, Key::new(0x5eed))?;
//! assert_eq!(jobs.receive(Select::First)?.data, b"print page 3");
//! # Ok::<(), quintet::Error>(())
//! ```
//!
//! # Where to find what
//!
//! | task | item |
//! |---|---|
//! | open or create a namespace | [`Namespace`] |
//! | name an object | [`Key`], [`Id`] |
//! | share memory safely | [`Segment`], [`Attachment`], [`Cell`] |
//! | lock, or count, between processes | [`Semaphore`], [`Guard`] |
//! | change several semaphores at once | [`SemaphoreSet`], [`SemOp`] |
//! | pass messages, by type, as bytes or values | [`MessageQueue`], [`Select`], [`Message`] |
//! | call as C does, one for one | the `shm*`, `sem*` and `msg*` methods of [`Namespace`] |
//! | handle errors | [`Errno`], a number; [`Error`], a sentence |

mod api;
mod backend;
mod layout;
mod msg;
mod object;
#[doc(hidden)]
pub mod preload_api;
mod process;
mod sem;
mod shm;
mod sync;
mod sys;
mod types;

/// Reports that the calling process, or one of its threads, has changed its user, groups or
/// capabilities.
///
/// An operation on a set or queue makes no system call, so it does not read the caller's
/// credentials. The library caches the permissions of the process for each object. A program calls
/// this function after `setuid` and similar calls, except under `quintet run`. Without the call,
/// the program keeps its old permissions. It gets no access that the file system denies, because
/// the files were opened with the credentials of that time.
///
/// ```
/// // After setuid(2), setgroups(2), capset(2):
/// quintet::credentials_changed();
/// ```
pub fn credentials_changed() {
    sys::credentials::changed();
}

/// Installs a handler for SIGBUS, so that a truncated file of a namespace does not end this
/// program.
///
/// Every user with write permission for a file of a namespace can truncate it. The file of an
/// object can be truncated by users with any permission for the object, and the registry of a
/// shared namespace by every user. A program that then accesses the mapped memory gets SIGBUS,
/// which the kernel's own segments never cause.
///
/// The handler puts a private page of zeroes in the place of each lost page. It passes any other
/// SIGBUS on to the handler that was installed before. Calls on a truncated object fail. A lost
/// page of a segment reads as zeroes, and only this process sees what it writes there.
///
/// The library never installs the handler by itself. Call this function before other handlers for
/// SIGBUS are installed. A later handler replaces this one, unless it passes unknown signals on. A
/// second call has no effect.
///
/// ```
/// quintet::guard_against_truncation()?;
/// # Ok::<(), quintet::Errno>(())
/// ```
///
/// # Errors
///
/// Those of sigaction(2).
pub fn guard_against_truncation() -> std::result::Result<(), Errno> {
    sys::truncation::guard(process::fork::maps)
}

pub use api::attachment::Attachment;
pub use api::cell::Cell;
pub use api::guard::Guard;
pub use api::message::Message;
pub use api::message_queue::MessageQueue;
pub use api::message_queue::options::MessageQueueOptions;
pub use api::namespace::Namespace;
pub use api::segment::Segment;
pub use api::segment_options::SegmentOptions;
pub use api::select::Select;
pub use api::semaphore::Semaphore;
pub use api::semaphore_set::SemaphoreSet;
pub use api::set_options::SemaphoreSetOptions;
#[doc(hidden)]
pub use types::abi;
pub use types::error::{Errno, Error, Result};
pub use types::id::{Id, MAX_OBJECTS};
pub use types::key::Key;
pub use types::kind::Kind;
pub use types::limits::Limits;
pub use types::msg::{MessageStat, MsgFlags, MsgUsage, MsgWait, MsgWaiter, QueueRepair, QueueStat, QueueStatus, TypeCount};
pub use types::permissions::Permissions;
pub use types::sem::{SemFlags, SemOp, SemUndo, SemUsage, SemWaiter, SemaphoreStatus, SetStat, SetStatus};
pub use types::shm::{Attacher, ModeFlags, SegmentStat, SegmentStatus, ShmUsage};

/// The examples of the README, compiled as shown.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
