//! Looking into a file.

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::path::Path;

/// A program's file, and how it begins.
pub struct Looked {
    fd: OwnedFd,
    head: Vec<u8>,
}

impl Looked {
    /// More than the first line of a script, and in most programs all headers.
    const HEAD: usize = 4096;

    /// Opens a file, whatever it is.
    pub fn at(path: &Path) -> Result<Looked, Errno> {
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())?;
        let mut head = vec![0; Looked::HEAD];
        let len = rustix::io::pread(&fd, &mut head, 0)?;
        head.truncate(len);
        Ok(Looked { fd, head })
    }

    /// The first bytes.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Reads all of `bytes` at an offset, or nothing if the file ends before.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> Option<()> {
        if from_slice(&self.head, offset, bytes).is_some() {
            return Some(());
        }
        let read = rustix::io::pread(&self.fd, &mut *bytes, offset).ok()?;
        (read == bytes.len()).then_some(())
    }
}

/// The same of a file in memory.
pub fn from_slice(file: &[u8], offset: u64, bytes: &mut [u8]) -> Option<()> {
    let start = usize::try_from(offset).ok()?;
    bytes.copy_from_slice(file.get(start..start.checked_add(bytes.len())?)?);
    Some(())
}

/// A path for people: nothing in it reaches their terminal but what can be seen.
pub fn in_terminal(path: &Path) -> String {
    path.to_string_lossy().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The system's words for an error, without the "(os error 2)" that std adds.
pub fn describe(error: Errno) -> String {
    let mut text = std::io::Error::from(error).to_string();
    if let Some(end) = text.rfind(" (os error ") {
        text.truncate(end);
    }
    text
}
