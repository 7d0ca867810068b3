//! Strings of the program, of which nobody has said how long they are, or whether they are there.
//!
//! # Safety
//!
//! A byte is read only in a page that was found to be readable.
#![allow(unsafe_code)]

use crate::base::page_cache::PAGE;
use crate::base::user;
use libc::c_char;

/// Reads strings. `None`, from each of its functions: a string is not there, or has no end.
pub struct Reader {
    /// The page that was read last: strings of one list lie side by side.
    page: usize,
}

impl Reader {
    pub fn new() -> Reader {
        Reader { page: usize::MAX }
    }

    fn byte(&mut self, at: *const c_char) -> Option<u8> {
        let page = at as usize & !(PAGE - 1);
        if page != self.page {
            if !user::is_known_readable(at.cast(), 1) {
                user::ask_readable(at.cast(), 1).ok()?;
            }
            self.page = page;
        }
        // SAFETY: its page can be read.
        Some(unsafe { *at } as u8)
    }

    /// Where the bytes of `text` end, if the string begins with them.
    fn after(&mut self, mut at: *const c_char, text: &[u8]) -> Option<Option<*const c_char>> {
        for expected in text {
            if self.byte(at)? != *expected {
                return Some(None);
            }
            at = at.wrapping_add(1);
        }
        Some(Some(at))
    }

    /// The value of an entry of an environment, if it is this variable.
    pub fn value(&mut self, entry: *const c_char, name: &[u8]) -> Option<Option<*const c_char>> {
        match self.after(entry, name)? {
            Some(end) if self.byte(end)? == b'=' => Some(Some(end.wrapping_add(1))),
            _ => Some(None),
        }
    }

    /// Whether the string is just this.
    pub fn is(&mut self, string: *const c_char, text: &[u8]) -> Option<bool> {
        match self.after(string, text)? {
            Some(end) => Some(self.byte(end)? == 0),
            None => Some(false),
        }
    }

    /// How long the string is.
    pub fn len(&mut self, string: *const c_char) -> Option<usize> {
        let mut len = 0;
        while self.byte(string.wrapping_add(len))? != 0 {
            len += 1;
        }
        Some(len)
    }

    /// Whether a list in the manner of `LD_PRELOAD`, with spaces or colons between its entries, has such a one.
    pub fn lists(&mut self, list: *const c_char, is_wanted: impl Fn(&[u8]) -> bool) -> Option<bool> {
        let mut at = list;
        loop {
            let mut len = 0;
            while !matches!(self.byte(at.wrapping_add(len))?, 0 | b' ' | b':') {
                len += 1;
            }
            // SAFETY: all these bytes were just read.
            if is_wanted(unsafe { std::slice::from_raw_parts(at.cast(), len) }) {
                return Some(true);
            }
            at = at.wrapping_add(len);
            if self.byte(at)? == 0 {
                return Some(false);
            }
            at = at.wrapping_add(1);
        }
    }

    /// The string in memory of ours; `None` also if it is longer than that.
    pub fn copy<'a>(&mut self, string: *const c_char, to: &'a mut [u8]) -> Option<&'a [u8]> {
        for (len, slot) in to.iter_mut().enumerate() {
            *slot = self.byte(string.wrapping_add(len))?;
            if *slot == 0 {
                return Some(&to[..len]);
            }
        }
        None
    }
}
