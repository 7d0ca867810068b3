//! Hexadecimal in the format of `hexdump -C`.

use std::io::{self, Write};

const LINE: usize = 16;

/// Prints the bytes that are written to it. Repeated lines are shown as one `*`.
pub struct Hexdump<W: Write> {
    out: W,
    offset: u64,
    pending: Vec<u8>,
    last: Option<Vec<u8>>,
    starred: bool,
}

impl<W: Write> Hexdump<W> {
    /// Returns a dump that starts at the offset `offset`.
    pub fn new(out: W, offset: u64) -> Hexdump<W> {
        Hexdump { out, offset, pending: Vec::with_capacity(LINE), last: None, starred: false }
    }

    /// Prints the last, incomplete line and the offset of the end.
    pub fn finish(mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.pending);
        if !rest.is_empty() {
            self.print(&rest)?;
        }
        writeln!(self.out, "{:08x}", self.offset)?;
        self.out.flush()
    }

    fn line(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.last.as_deref() != Some(bytes) {
            self.starred = false;
            self.last = Some(bytes.to_owned());
            return self.print(bytes);
        }
        if !self.starred {
            self.starred = true;
            writeln!(self.out, "*")?;
        }
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn print(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut hex = String::with_capacity(3 * LINE + 2);
        for (i, byte) in bytes.iter().enumerate() {
            hex.push_str(if i == LINE / 2 { "  " } else { " " });
            hex.push_str(&format!("{byte:02x}"));
        }
        let text: String = bytes.iter().map(|b| if (b' '..=b'~').contains(b) { *b as char } else { '.' }).collect();
        writeln!(self.out, "{:08x} {hex:<49}  |{text}|", self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

impl<W: Write> Write for Hexdump<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (taken, left) = rest.split_at((LINE - self.pending.len()).min(rest.len()));
            self.pending.extend_from_slice(taken);
            rest = left;
            if self.pending.len() == LINE {
                let line = std::mem::take(&mut self.pending);
                self.line(&line)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(pieces: &[&[u8]], offset: u64) -> String {
        let mut out = Vec::new();
        let mut hex = Hexdump::new(&mut out, offset);
        for piece in pieces {
            hex.write_all(piece).unwrap();
        }
        hex.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_format_is_that_of_hexdump() {
        let expected = "\
00000000  68 65 6c 6c 6f 00 00 00  00 00 00 00 00 00 00 00  |hello...........|
00000010  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
*
00000040  21                                                |!|
00000041
";
        let mut bytes = [0; 65];
        bytes[..5].copy_from_slice(b"hello");
        bytes[64] = b'!';
        assert_eq!(dump(&[&bytes], 0), expected);
        assert_eq!(dump(&[&bytes[..7], &bytes[7..40], &bytes[40..]], 0), expected);
    }

    #[test]
    fn starts_at_the_given_offset() {
        assert_eq!(dump(&[b"ab"], 0x20), format!("00000020  61 62 {}  |ab|\n00000022\n", " ".repeat(42)));
        assert_eq!(dump(&[], 5), "00000005\n");
    }
}
