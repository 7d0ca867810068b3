//! Paths that are built without allocating.

use std::ffi::CStr;

/// A path in a namespace. Building it does not allocate, because a call may come from a signal
/// handler.
pub struct PathBuffer {
    bytes: [u8; PathBuffer::MAX],
    len: usize,
}

impl PathBuffer {
    const MAX: usize = 1024;
    /// The length of the longest directory that leaves room for every entry.
    pub const LONGEST_DIRECTORY: usize = PathBuffer::MAX - 64;

    /// Builds `directory` followed by `entry`.
    pub fn new(directory: &[u8], entry: std::fmt::Arguments<'_>) -> PathBuffer {
        let mut name = PathBuffer { bytes: [0; PathBuffer::MAX], len: directory.len() };
        // A namespace is opened only if its path leaves room for its longest entry.
        name.bytes[..directory.len()].copy_from_slice(directory);
        let _ = std::fmt::Write::write_fmt(&mut name, entry);
        name
    }

    /// Returns the path as a C string.
    pub fn c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}

impl std::fmt::Write for PathBuffer {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        let end = self.len + s.len();
        let room = self.bytes.get_mut(self.len..end).filter(|_| end < PathBuffer::MAX);
        room.ok_or(std::fmt::Error)?.copy_from_slice(s.as_bytes());
        self.len = end;
        Ok(())
    }
}
