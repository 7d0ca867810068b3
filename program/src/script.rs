//! Scripts: their interpreter must be able to load the drop-in.

use crate::file::in_terminal;
use crate::{Refusal, search};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The kernel reads no more of the first line.
const LINE: usize = 255;

/// Checks the interpreter, and the program that `/usr/bin/env` would run.
pub fn check(head: &[u8], scripts_left: u32) -> Result<(), Refusal> {
    if scripts_left == 0 {
        return Err(too_deep());
    }
    let words = words(head);
    let Some((interpreter, arguments)) = words.split_first() else {
        return Err(Refusal::new("its first line names no interpreter"));
    };
    let path = Path::new(OsStr::from_bytes(interpreter));
    check_interpreter(path, scripts_left)?;
    match path.file_name() {
        Some(name) if name == "env" => check_env(arguments, scripts_left),
        _ => Ok(()),
    }
}

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

pub fn too_deep() -> Refusal {
    Refusal::new("its interpreters are scripts, too many levels deep")
}

fn check_interpreter(path: &Path, scripts_left: u32) -> Result<(), Refusal> {
    crate::check_nested(path, scripts_left - 1).map_err(|refusal| {
        let path = in_terminal(path);
        Refusal { reason: format!("its interpreter {path} cannot be used: {}", refusal.reason), ..refusal }
    })
}

fn check_env(arguments: &[&[u8]], scripts_left: u32) -> Result<(), Refusal> {
    let Some(name) = program_of_env(arguments) else { return Ok(()) };
    let shown = in_terminal(Path::new(name));
    let path = search::resolve(name).ok_or_else(|| Refusal::new(format!("its interpreter {shown} is not in PATH")))?;
    check_interpreter(&path, scripts_left)
}

/// Parses `env prog` and `env -S NAME=value prog`. Other options of env are not supported.
fn program_of_env<'a>(arguments: &[&'a [u8]]) -> Option<&'a OsStr> {
    let mut arguments = arguments.iter().skip_while(|a| **a == b"-S" || a.contains(&b'='));
    arguments.next().filter(|name| !name.starts_with(b"-")).map(|name| OsStr::from_bytes(name))
}

fn words(head: &[u8]) -> Vec<&[u8]> {
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

    #[test]
    fn follows_env() {
        assert!(check(b"#!/usr/bin/env sh\n", 4).is_ok());
        assert!(check(b"#!/usr/bin/env -S A=b sh -e\n", 4).is_ok());
        let reason = check(b"#!/usr/bin/env no-such-program\n", 4).unwrap_err().reason;
        assert!(reason.contains("no-such-program is not in PATH"), "{reason}");
    }
}
