//! The backend that stores a namespace in a directory.
//!
//! | file | content |
//! |---|---|
//! | `open` | opening and creating a namespace |
//! | `default`, `hidden` | the default namespace; namespaces with unguessable names |
//! | `destroy`, `files` | removing a namespace; its files and their errors |
//! | `hooks` | the steps at fork and exit |
//! | `limits` | setting the limits |
//! | `diagnose` | the cause of a failed call when the directory is removed, replaced or full |
//! | `proc_files` | the texts of `/proc/sysvipc` and `/proc/sys/kernel` |
//! | `verbs` | the implementation of the backend's traits |
//! | `memory` | the memory of an open namespace |

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

/// An open namespace in a directory.
///
/// A process has one value for each directory. The value is never freed, because attachments
/// outlive every handle.
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
