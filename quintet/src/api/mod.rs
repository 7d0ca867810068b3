//! The safe API: a namespace and its objects as Rust values.
//!
//! | file | what |
//! |---|---|
//! | `namespace/` | [`Namespace`](namespace::Namespace), and the C calls' verbs one for one |
//! | `segment`, `attachment` | shared memory |
//! | `semaphore_set`, `semaphore` | semaphores |
//! | `message_queue`, `message`, `select` | message queues |
//! | `common` | errors and loops that the three share |

pub mod attachment;
mod common;
#[cfg(feature = "serde")]
mod message;
pub mod message_queue;
pub mod namespace;
pub mod segment;
pub mod select;
pub mod semaphore;
pub mod semaphore_set;
