//! Shared memory segments.
//!
//! A segment has two files: the control file `shm/INDEX` with its state, and the data file
//! `shm/INDEX.data` with its bytes and nothing else.
//!
//! | file | content |
//! |---|---|
//! | `mapping` | the mapped control files |
//! | `lookup` | lookup by identifier |
//! | `create` | `shmget` |
//! | `attach` | `shmat` and `shmdt` |
//! | `attachments` | the list of this process's attachments |
//! | `cached_mapping` | mappings that a later `shmat` duplicates |
//! | `control` | `shmctl` except `IPC_RMID` |
//! | `remove` | `IPC_RMID`, and the end of a segment with its last attachment |
//! | `reclaim` | repair after a crash; reclaiming after participants that exited |
//! | `list` | all segments, their memory and their attachers |

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
