//! Message queues.
//!
//! A queue is one file, `msg/INDEX`: a header and pages of slots (`layout/queue.rs`). In a shared
//! namespace, the pages are a file of their own, `msg/INDEX.data`.
//!
//! | file | content |
//! |---|---|
//! | `mapping` | the files as this process has them mapped |
//! | `create` | `msgget` |
//! | `send`, `receive` | `msgsnd` and `msgrcv`: in a restartable sequence, then under the lock |
//! | `spin` | trying again for a short while before a call sleeps |
//! | `lock`, `write_set` | the queue lock, and the stores that an operation is about to make |
//! | `message_list`, `type_index`, `arena` | the messages in order, by type, and their slots |
//! | `waiters`, `handover` | the lists of blocked calls, and messages handed to receivers |
//! | `blocked_call` | the blocked call of the calling thread |
//! | `control` | `msgctl` except for `IPC_RMID` |
//! | `remove`, `reclaim` | `IPC_RMID`, and what exited processes leave |
//! | `salvage` | damaged queues |
//! | `list` | all queues, with messages and blocked calls |
//!
//! Lock order: the registry's lock, then the lock of one queue. `msgsnd` and `msgrcv` take the
//! second only.

mod arena;
mod blocked_call;
mod control;
mod create;
mod handover;
mod list;
pub mod lock;
pub mod mapping;
mod message_list;
mod receive;
mod reclaim;
mod remove;
mod salvage;
mod send;
mod spin;
mod type_index;
mod waiters;
mod write_set;
