//! The safe API: a namespace and its objects as Rust values.
//!
//! | file | content |
//! |---|---|
//! | `namespace/` | [`Namespace`](namespace::Namespace), with the C calls' verbs one for one |
//! | `segment/`, `attachment/` | shared memory |
//! | `semaphore_set/`, `semaphore/` | semaphores |
//! | `message_queue/`, `message`, `select` | message queues |
//! | `common` | what the three classes share: opening, waiting, errors |
//!
//! Each class has `options` for its creation. Sets also have `operate` and `values`; queues
//! have `send` and `receive`.

pub mod attachment;
mod common;
pub mod message;
pub mod message_queue;
pub mod namespace;
pub mod segment;
pub mod select;
pub mod semaphore;
pub mod semaphore_set;
