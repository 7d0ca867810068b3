//! System V IPC in user space.
//!
//! Three lines create a segment, attach it and write to it; another program that opens the
//! same key in the same [`Namespace`] reads them:
//!
//! ```
//! # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
//! # use quintet::{Key, Kind, Namespace, Segment};
//! let ns = Namespace::create(&path, Kind::Private)?;
//! let memory = Segment::create(&ns, Key::new(0x5eed), 4096)?.attach()?;
//! memory.write(0, b"hello")?;
//!
//! // elsewhere
//! let peer = Segment::open(&ns, Key::new(0x5eed))?.attach_read_only()?;
//! let mut text = [0; 5];
//! peer.read(0, &mut text)?;
//! assert_eq!(&text, b"hello");
//! # Ok::<(), quintet::Error>(())
//! ```
//!
//! Three lines guard a critical section between two programs; a program that is killed in it lets the next one in:
//!
//! ```
//! # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
//! # use quintet::{Key, Kind, Namespace, Semaphore};
//! let ns = Namespace::create(&path, Kind::Private)?;
//! let turn = Semaphore::open_or_create(&ns, Key::new(0x5eed), 1)?;
//! let mine = turn.acquire()?; // until dropped
//!
//! // elsewhere
//! assert!(Semaphore::open(&ns, Key::new(0x5eed))?.try_acquire()?.is_none());
//! # drop(mine);
//! # Ok::<(), quintet::Error>(())
//! ```
//!
//! Three lines send a message, three receive it in another program, which waits for it if need be:
//!
//! ```
//! # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
//! # use quintet::{Key, Kind, MessageQueue, Namespace, Select};
//! let ns = Namespace::create(&path, Kind::Private)?;
//! let jobs = MessageQueue::open_or_create(&ns, Key::new(0x5eed))?;
//! jobs.send(1, b"print page 3")?;
//!
//! // elsewhere
//! let ns = Namespace::open(&path)?;
//! let jobs = MessageQueue::open(&ns, Key::new(0x5eed))?;
//! assert_eq!(jobs.receive(Select::First)?.data, b"print page 3");
//! # Ok::<(), quintet::Error>(())
//! ```
//!
//! | what | where |
//! |---|---|
//! | a directory of objects, or the kernel's own IPC | [`Namespace`] |
//! | names and identifiers | [`Key`], [`Id`] |
//! | shared memory, safely | [`Segment`], [`Attachment`], [`Cell`] |
//! | a lock or a counting semaphore between processes | [`Semaphore`], [`Guard`] |
//! | semaphore sets, several operations at once | [`SemaphoreSet`], [`SemOp`] |
//! | message queues, by type, of bytes or of values | [`MessageQueue`], [`Select`], [`Message`] |
//! | the C calls' verbs, one for one | the `shm*`, `sem*` and `msg*` methods of [`Namespace`] |
//! | errors | [`Errno`] where a number is enough, [`Error`] where a person reads it |

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

/// Tells the library that the calling process, or one of its threads, has changed its user, groups or capabilities.
///
/// Operations on semaphores make no system call, so they do not ask who calls: what a process may do to a set is
/// found out once and remembered. A program that changes its rights by `setuid` and the like says so here (under
/// `quintet run` that is not needed). It never gets more than the file system gives it: the files were opened with its rights.
///
/// ```
/// // after setuid(2), setgroups(2), capset(2) ...
/// quintet::credentials_changed();
/// ```
pub fn credentials_changed() {
    sys::credentials::changed();
}

/// From now on, a file of a namespace that somebody shortens while it is mapped does not end this program by SIGBUS.
///
/// Whoever may write a file of a namespace can shorten it (of an object: who has a right to it; of a shared namespace's registry: anybody). A program
/// that then looks at the mapped memory gets the signal SIGBUS, which the kernel's own segments never cause. This function installs a handler, which puts a
/// private page of zeroes in the place of each page that was lost, and passes any other SIGBUS on to the handler that was there before. Calls on what was
/// shortened fail; a segment's lost pages read as zeroes, and what is written to them nobody else sees.
///
/// The library never does this by itself. Call it before others install theirs: a handler for SIGBUS that comes later replaces this one, unless it passes
/// on what it does not know. Calling it again changes nothing.
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

pub use api::attachment::{Attachment, Cell};
pub use api::message_queue::{Message, MessageQueue, MessageQueueOptions};
pub use api::namespace::Namespace;
pub use api::segment::{Segment, SegmentOptions};
pub use api::select::Select;
pub use api::semaphore::{Guard, Semaphore};
pub use api::semaphore_set::{SemaphoreSet, SemaphoreSetOptions};
#[doc(hidden)]
pub use preload_api as drop_in;
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
pub use types::shm::{Attacher, ModeFlags, SegmentStat, SegmentStatus, Usage};
