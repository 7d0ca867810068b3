//! Where the objects of a namespace are kept.
//!
//! | folder | what |
//! |---|---|
//! | `directory/` | files of a directory, which this crate reads and writes itself |
//! | `kernel/` | the kernel's own System V IPC, by its system calls |

pub mod directory;
pub mod kernel;
