//! The safe API: a namespace and its objects as Rust values.
//!
//! | file | content |
//! |---|---|
//! | `namespace/` | [`Namespace`](namespace::Namespace), with the C calls' verbs one for one |
//! | `segment`, `segment_options` | segments, and how they are created |
//! | `attachment`, `cell`, `copy` | attached memory |
//! | `semaphore_set`, `set_options` | sets, and how they are created |
//! | `set_operate`, `set_values` | operations on a set, and its values |
//! | `semaphore`, `guard` | one semaphore of a set, and acquired units |
//! | `message_queue/`, `message`, `select` | queues: creation, sending, receiving, values |
//! | `common` | what the three classes share: opening, waiting, errors |

pub mod attachment;
pub mod cell;
mod common;
mod copy;
pub mod guard;
pub mod message;
pub mod message_queue;
pub mod namespace;
pub mod segment;
pub mod segment_options;
pub mod select;
pub mod semaphore;
pub mod semaphore_set;
mod set_operate;
pub mod set_options;
mod set_values;
