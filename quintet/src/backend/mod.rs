//! The backends, which store the objects of a namespace.
//!
//! | file | content |
//! |---|---|
//! | `verbs` | the traits that each backend implements |
//! | `directory/` | objects in the files of a directory |
//! | `kernel/` | objects of the kernel's System V IPC |
//! | `any` | dispatch to one of the two |

pub mod any;
pub mod directory;
pub mod kernel;
pub mod verbs;
