//! The first lines of scripts: the interpreter, and the program that `/usr/bin/env` would run.

use crate::search;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Maximal depth of nested script interpreters.
pub const MAX_DEPTH: u32 = 4;
/// The kernel reads no more of the first line.
const LINE: usize = 255;

/// Returns the programs in the first line: the interpreter, and the program that `/usr/bin/env`
/// would run.
pub fn interpreters(head: &[u8]) -> Vec<PathBuf> {
    let words = words(head);
    let Some((interpreter, arguments)) = words.split_first() else { return Vec::new() };
    let path = PathBuf::from(OsStr::from_bytes(interpreter));
    let behind = if path.file_name().is_some_and(|name| name == "env") { program_of_env(arguments) } else { None };
    let behind = behind.and_then(search::resolve);
    std::iter::once(path).chain(behind).collect()
}

/// Parses `env prog` and `env -S NAME=value prog`. Other options of env are not supported.
pub fn program_of_env<'a>(arguments: &[&'a [u8]]) -> Option<&'a OsStr> {
    let mut arguments = arguments.iter().skip_while(|a| **a == b"-S" || a.contains(&b'='));
    arguments.next().filter(|name| !name.starts_with(b"-")).map(|name| OsStr::from_bytes(name))
}

/// Returns the words of the first line after `#!`.
pub fn words(head: &[u8]) -> Vec<&[u8]> {
    let line = &head[2..head.len().min(LINE)];
    let line = line.split(|b| *b == b'\n').next().unwrap_or(line);
    line.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_the_first_line() {
        assert_eq!(words(b"#! /bin/sh -e\nrest"), [&b"/bin/sh"[..], b"-e"]);
        assert!(words(b"#!").is_empty() && words(b"#!  \n/bin/sh").is_empty());
    }
}
