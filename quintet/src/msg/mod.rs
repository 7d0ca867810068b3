//! Message queues.
//!
//! A queue is one file, `msg/INDEX`, of a header and pages of slots; in a shared namespace the pages
//! are a file of their own, `msg/INDEX.data`.
//!
//! | file | what |
//! |---|---|
//! | `mapping` | the files as this process has them mapped |
//! | `create` | `msgget` |
//! | `send`, `receive`, `spin` | `msgsnd`, `msgrcv`, and looking again before they sleep |
//! | `lock`, `write_set` | the queue lock, and what an operation will store |
//! | `message_list`, `type_index`, `arena` | messages in order, by type, and the slots that hold them |
//! | `waiters` | blocked calls, and the peers that let them go on |
//! | `control` | `msgctl` but for `IPC_RMID` |
//! | `remove`, `reclaim`, `salvage` | `IPC_RMID`, participants that exited, damaged queues |
//! | `list` | all queues, with messages and blocked calls |

mod arena;
mod control;
mod create;
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
