//! Shared memory segments.
//!
//! A segment is two files: `shm/INDEX` with its control words, `shm/INDEX.data` with its bytes and nothing else.
//!
//! | file | what |
//! |---|---|
//! | `create` | `shmget` |
//! | `attach` | `shmat`, `shmdt` |
//! | `inspect` | `shmctl` but for `IPC_RMID`; lists |
//! | `remove` | `IPC_RMID`, the last detach, the dead |
//! | `control` | the control files as this process has them mapped |
//! | `template` | attaching again without opening |
//! | `attachments` | which address is which segment |
//! | `segment`, `attachment` | the safe face |

mod attach;
pub mod attachment;
pub mod attachments;
pub mod control;
mod create;
mod inspect;
mod remove;
pub mod segment;
mod template;
