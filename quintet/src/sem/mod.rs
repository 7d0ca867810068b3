//! Semaphore sets.
//!
//! A set is one file, `sem/INDEX`: a header, one word for each semaphore, and pages of waiting calls
//! and undo records.
//!
//! | file | what |
//! |---|---|
//! | `mapping` | the files as this process has them mapped |
//! | `create` | `semget` |
//! | `operate` | `semop` and `GETVAL` without a lock |
//! | `lock`, `waiters`, `wait` | under the set's mutex: the decision, the queue of blocked calls, going to sleep |
//! | `undo`, `exec` | `SEM_UNDO`, and how it outlives `exec` |
//! | `control` | `semctl` but for `IPC_RMID` |
//! | `remove`, `reclaim` | `IPC_RMID`, and participants that exited |
//! | `list` | all sets, with blocked calls and undo |

mod control;
mod create;
pub mod exec;
mod list;
mod lock;
pub mod mapping;
mod operate;
mod reclaim;
mod remove;
mod undo;
mod wait;
mod waiters;
