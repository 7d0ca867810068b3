//! A line of the log.

use std::fmt::{self, Write};

/// The longest line, in bytes.
const LINE: usize = 1024;

/// A line under construction. Text that does not fit is cut, and control characters are replaced.
#[derive(Clone)]
pub struct Line {
    bytes: [u8; LINE],
    len: usize,
    full: bool,
}

impl Line {
    const END: &[u8] = b"...\n";
    const ROOM: usize = LINE - Line::END.len();

    pub fn new() -> Line {
        Line { bytes: [0; LINE], len: 0, full: false }
    }

    /// Ends the line and returns its bytes.
    pub fn finish(&mut self) -> &[u8] {
        let end = if self.full { Line::END } else { b"\n" };
        self.bytes[self.len..self.len + end.len()].copy_from_slice(end);
        &self.bytes[..self.len + end.len()]
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let (mut utf8, c) = ([0; 4], if c.is_control() { '?' } else { c });
            let bytes = c.encode_utf8(&mut utf8).as_bytes();
            if self.full || self.len + bytes.len() > Line::ROOM {
                self.full = true;
                return Ok(());
            }
            self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
            self.len += bytes.len();
        }
        Ok(())
    }
}

/// Bytes of the program as text. Bytes that are not UTF-8 are shown as `\xNN`.
pub struct Bytes<'a>(pub &'a [u8]);

impl fmt::Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}
