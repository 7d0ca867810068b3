//! A namespace that is a directory.
//!
//! | file | what |
//! |---|---|
//! | `open`, `default`, `hidden` | opening and creating a namespace; the one of a program that names none |
//! | `destroy`, `files` | removing a namespace; the files that it has |
//! | `hooks` | what it does when the process forks or ends |
//! | `limits` | its limits, and who may set them |
//! | `diagnose` | why a call failed when the directory is not as it was |
//! | `proc_files` | the texts of `/proc/sysvipc` and `/proc/sys/kernel` |
//! | `verbs` | its verbs as a backend |
//! | `memory` | where all this lies in the process |

pub mod default;
mod destroy;
pub mod diagnose;
mod files;
mod hidden;
mod hooks;
mod limits;
mod memory;
mod open;
pub mod proc_files;
mod verbs;

use crate::msg::mapping::Queues;
use crate::object::core::Core;
use crate::process::fork::Registered;
use crate::sem::mapping::Sets;
use crate::shm::mapping::Segments;
use crate::types::kind::Kind;
use std::path::Path;

/// A namespace that is a directory, as this process has it open.
///
/// There is one for each directory. It is never freed, because attachments outlive every handle.
#[repr(C)]
pub struct Directory {
    pub core: &'static Core,
    pub segments: Segments,
    pub sets: Sets,
    pub queues: Queues,
    node: Registered,
}

impl Directory {
    /// Returns the path of the directory.
    pub fn path(&self) -> &Path {
        self.core.path()
    }

    /// Returns whether the namespace is private or shared.
    pub fn kind(&self) -> Kind {
        self.core.kind()
    }
}
