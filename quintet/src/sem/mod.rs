//! Semaphore sets.
//!
//! A set is one file, `sem/INDEX`: a header, one word for each semaphore, and pages of blocked
//! calls and undo records (`layout/set.rs`).
//!
//! | file | content |
//! |---|---|
//! | `mapping` | the files as this process has them mapped |
//! | `create` | `semget` |
//! | `operate` | `semop` and `GETVAL` without the lock |
//! | `lock` | the set's lock: staging a call, committing it through the journal |
//! | `waiters` | the queues of blocked calls |
//! | `wait` | `semop` under the lock, and going to sleep |
//! | `undo`, `exec` | `SEM_UNDO`, and how it outlives `exec` |
//! | `control` | `semctl` except for `IPC_RMID` |
//! | `remove`, `reclaim` | `IPC_RMID`, and what exited processes leave |
//! | `list` | all sets, with blocked calls and undo |
//!
//! Lock order: the registry's lock, then the lock of one set. `semop` takes the second only.

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
