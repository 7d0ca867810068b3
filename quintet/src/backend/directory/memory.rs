//! Where a namespace and the tables that it begins with lie in this process.
//!
//! They lie together: what a process has touched is copied by its forks, page by page.
//!
//! # Safety
//!
//! The memory is zeroed, which is a valid value of all atomics. [`DirectoryMemory::get`] returns each
//! piece once, and the caller writes core and directory before it shares them.
#![allow(unsafe_code)]

use crate::backend::directory::Directory;
use crate::msg::mapping::QueueEntry;
use crate::object::core::Core;
use crate::sem::mapping::SetEntry;
use crate::shm::attachments;
use crate::shm::mapping::SegmentEntry;
use crate::sys::fork_page::{FORK_PAGE, ROOM};
use crate::sys::memory;
use crate::sys::table::NEAR;
use crate::types::error::Errno;
use crate::types::id::MAX_OBJECTS;
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// A namespace, and the first elements of its tables.
#[repr(C)]
pub struct DirectoryMemory {
    core: UnsafeCell<MaybeUninit<Core>>,
    directory: UnsafeCell<MaybeUninit<Directory>>,
    pub undo_noted: AtomicU32,
    pub attachments: [attachments::Entry; attachments::FIRST],
    pub segments: [SegmentEntry; NEAR],
    pub sets: [SetEntry; NEAR],
    pub queues: [QueueEntry; NEAR],
    pub with_undo: [AtomicU64; MAX_OBJECTS as usize / 64],
}

const _: () = assert!(size_of::<DirectoryMemory>() <= ROOM && align_of::<DirectoryMemory>() <= 64);

impl DirectoryMemory {
    /// Returns memory that no other caller has: behind the process's own words for the first caller.
    pub fn get() -> Result<&'static DirectoryMemory, Errno> {
        let at = match FORK_PAGE.take_room() {
            Some(at) => at,
            None => memory::anonymous(size_of::<DirectoryMemory>())?,
        };
        // SAFETY: zeroed, large enough and aligned, and never freed; the assertion above.
        Ok(unsafe { &*(at as *const DirectoryMemory) })
    }

    /// Stores the core, once.
    pub fn set_core(&'static self, core: Core) -> &'static Core {
        // SAFETY: no other caller has this memory, or knows of the core yet.
        unsafe { (*self.core.get()).write(core) }
    }

    /// Stores the directory, once.
    pub fn set_directory(&'static self, directory: Directory) -> &'static Directory {
        // SAFETY: no other caller has this memory, or knows of the directory yet.
        unsafe { (*self.directory.get()).write(directory) }
    }
}
