//! The path of a namespace. It is stored and extended without an allocator.

use crate::sys::fd_thread;
use crate::sys::path_buffer::PathBuffer;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const REGISTRY: &[u8] = b"/registry";

/// The directory of a namespace. After the program changed its root, the thread that opens files
/// stands in the directory, and paths are relative to it.
pub struct NamespacePath {
    /// The registry's path as a C string, which begins with the directory.
    registry: [u8; PathBuffer::LONGEST_DIRECTORY + REGISTRY.len() + 1],
    directory_len: usize,
}

impl NamespacePath {
    /// `directory` has at most [`PathBuffer::LONGEST_DIRECTORY`] bytes.
    pub fn new(directory: &[u8]) -> NamespacePath {
        let mut registry = [0; PathBuffer::LONGEST_DIRECTORY + REGISTRY.len() + 1];
        registry[..directory.len()].copy_from_slice(directory);
        registry[directory.len()..][..REGISTRY.len()].copy_from_slice(REGISTRY);
        NamespacePath { registry, directory_len: directory.len() }
    }

    /// Returns the directory as it was when the namespace was opened.
    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.registry[..self.directory_len]))
    }

    /// Returns the directory as the calling thread reaches it.
    pub fn directory(&self) -> &[u8] {
        if fd_thread::is_in_pinned_root() { b"." } else { &self.registry[..self.directory_len] }
    }

    /// Returns the path of the registry as the calling thread reaches it.
    pub fn registry(&self) -> &CStr {
        if fd_thread::is_in_pinned_root() { c"registry" } else { CStr::from_bytes_until_nul(&self.registry).unwrap_or_default() }
    }
}
