//! Programs on message queues. Their calls may block.
//!
//! A call may let several blocked calls proceed at once: receivers after `IPC_SET`, or senders that
//! each fit alone. The kernel does not define their order. Such a call is left out, or it is the
//! last of its program. After it, only what holds in any order is reported.

mod call;
mod execute;
mod generate;

pub use call::{Call, Text};
pub(super) use execute::{Queues, as_tester, invariants, take_answers};
pub(super) use generate::{call, initial_steps, limit_profiles};
