//! Where the objects of a namespace are kept.
//!
//! | file | what |
//! |---|---|
//! | `verbs` | the verbs, which each backend implements |
//! | `directory/` | files of a directory, which this crate reads and writes itself |
//! | `kernel/` | the kernel's own System V IPC, by its system calls |
//! | `any` | either of them, dispatched by a `match` |

pub mod any;
pub mod directory;
pub mod kernel;
pub mod verbs;
