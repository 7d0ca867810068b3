//! The exported System V IPC calls.

pub mod key;
pub mod msg;
pub mod sem;
pub mod shm;

use libc::c_int;

/// The command that `shmctl`, `semctl` and `msgctl` share and the `libc` crate lacks.
const IPC_INFO: c_int = 3;
