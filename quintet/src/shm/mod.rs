//! Shared memory segments.
//!
//! A segment is two files: `shm/INDEX` with its control words, `shm/INDEX.data` with its bytes and
//! nothing else.
//!
//! | file | what |
//! |---|---|
//! | `mapping`, `lookup` | the control files as this process has them mapped |
//! | `create` | `shmget` |
//! | `attach`, `attachments` | `shmat`, `shmdt`, and which address is which segment |
//! | `cached_mapping` | attaching again without opening the file |
//! | `control` | `shmctl` but for `IPC_RMID` |
//! | `remove`, `reclaim` | `IPC_RMID`, the last detach, and participants that exited |
//! | `list` | all segments, and what they use |

mod attach;
pub mod attachments;
mod cached_mapping;
mod control;
mod create;
mod list;
mod lookup;
pub mod mapping;
mod reclaim;
mod remove;
