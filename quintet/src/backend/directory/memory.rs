//! The memory of an open namespace.
//!
//! A namespace and the first entries of its tables lie together, because a fork copies each page
//! that the process has written.
//!
//! # Safety
//!
//! The memory is zeroed, which is a valid value of all atomics. [`DirectoryMemory::get`] never
//! returns the same memory twice. The caller writes core and directory before it shares them.
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

/// The memory of a namespace and of the first entries of its tables.
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
    /// Returns memory that no other caller has. The first caller gets the room in the fork page.
    pub fn get() -> Result<&'static DirectoryMemory, Errno> {
        let at = match FORK_PAGE.take_room() {
            Some(at) => at,
            None => memory::anonymous(size_of::<DirectoryMemory>())?,
        };
        // SAFETY: the memory is zeroed and never freed. The assertion above checks size and
        // alignment.
        Ok(unsafe { &*(at as *const DirectoryMemory) })
    }

    /// Stores the core, once.
    pub fn set_core(&'static self, core: Core) -> &'static Core {
        // SAFETY: no other caller has this memory, and the core is not shared yet.
        unsafe { (*self.core.get()).write(core) }
    }

    /// Stores the directory, once.
    pub fn set_directory(&'static self, directory: Directory) -> &'static Directory {
        // SAFETY: no other caller has this memory, and the directory is not shared yet.
        unsafe { (*self.directory.get()).write(directory) }
    }
}
