//! Strings of the program, of unknown length and validity.
//!
//! # Safety
//!
//! A byte is read only from a page that was found to be readable.
#![allow(unsafe_code)]

use crate::base::page_cache::PAGE;
use crate::base::user;
use libc::c_char;

/// Reads strings. Each function returns `None` if memory cannot be read before the string ends.
pub struct Reader {
    /// The page that was read last. The strings of a list lie side by side.
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
        // SAFETY: the page of this byte is readable.
        Some(unsafe { *at } as u8)
    }

    /// Returns the address behind `text` if the string begins with it.
    fn after(&mut self, mut at: *const c_char, text: &[u8]) -> Option<Option<*const c_char>> {
        for expected in text {
            if self.byte(at)? != *expected {
                return Some(None);
            }
            at = at.wrapping_add(1);
        }
        Some(Some(at))
    }

    /// Returns the value of an entry of an environment if the entry is this variable.
    pub fn value(&mut self, entry: *const c_char, name: &[u8]) -> Option<Option<*const c_char>> {
        match self.after(entry, name)? {
            Some(end) if self.byte(end)? == b'=' => Some(Some(end.wrapping_add(1))),
            _ => Some(None),
        }
    }

    /// Returns `true` if the string equals `text`.
    pub fn is(&mut self, string: *const c_char, text: &[u8]) -> Option<bool> {
        match self.after(string, text)? {
            Some(end) => Some(self.byte(end)? == 0),
            None => Some(false),
        }
    }

    /// Returns the length of the string.
    pub fn len(&mut self, string: *const c_char) -> Option<usize> {
        let mut len = 0;
        while self.byte(string.wrapping_add(len))? != 0 {
            len += 1;
        }
        Some(len)
    }

    /// Returns `true` if a list in the format of `LD_PRELOAD`, separated by spaces or colons, has a
    /// wanted entry.
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

    /// Copies the string. Also returns `None` if the string does not fit.
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
