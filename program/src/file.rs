//! The file of a program.

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::path::Path;

/// An open file and its first bytes.
pub struct ProgramFile {
    fd: OwnedFd,
    head: Vec<u8>,
}

impl ProgramFile {
    /// Longer than the first line of a script, and than the headers of most programs.
    const HEAD: usize = 4096;

    /// Opens a file of any type.
    pub fn open(path: &Path) -> Result<ProgramFile, Errno> {
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())?;
        let mut head = vec![0; ProgramFile::HEAD];
        let len = rustix::io::pread(&fd, &mut head, 0)?;
        head.truncate(len);
        Ok(ProgramFile { fd, head })
    }

    /// Returns the first bytes.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Reads `bytes` at an offset. Returns `None` if the file is too short.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> Option<()> {
        if from_slice(&self.head, offset, bytes).is_some() {
            return Some(());
        }
        let read = rustix::io::pread(&self.fd, &mut *bytes, offset).ok()?;
        (read == bytes.len()).then_some(())
    }
}

/// The same for a file in memory.
pub fn from_slice(file: &[u8], offset: u64, bytes: &mut [u8]) -> Option<()> {
    let start = usize::try_from(offset).ok()?;
    bytes.copy_from_slice(file.get(start..start.checked_add(bytes.len())?)?);
    Some(())
}

/// Formats a path for a terminal. Control characters are replaced.
pub fn in_terminal(path: &Path) -> String {
    path.to_string_lossy().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Returns the system's message for an error, without the "(os error 2)" of std.
pub fn describe(error: Errno) -> String {
    let mut text = std::io::Error::from(error).to_string();
    if let Some(end) = text.rfind(" (os error ") {
        text.truncate(end);
    }
    text
}
