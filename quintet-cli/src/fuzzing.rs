//! The parsers of the command line, without any effect, for a fuzzer.

use crate::args::object::{Object, Queue, Set};
use crate::args::operations::{self, Operations};
use crate::args::values::Values;
use crate::args::{duration, size};
use crate::cli::{Cli, check};
use crate::output::{base64, hexdump::Hexdump};
use crate::words;
use clap::Parser;
use quintet::Key;
use std::fmt::{Debug, Display};
use std::io::Write;
use std::str::FromStr;

/// Parses the arguments as a command line, and each of them as every kind of value.
///
/// # Panics
///
/// If a value is not parsed again from what it prints, or if a control character is printed.
pub fn read(args: &[&str]) {
    match Cli::try_parse_from(std::iter::once(&"quintet").chain(args)).and_then(check) {
        Ok(cli) => assert!(!cli.command.name().is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    args.iter().for_each(|arg| read_value(arg));
}

fn read_value(text: &str) {
    if let Ok(ops) = text.parse::<Operations>() {
        assert_eq!(operations::print(&ops.0).parse(), Ok(ops), "{text:?}");
    }
    reparse::<Key>(text);
    if let Ok(bytes) = size::parse(text) {
        assert_eq!(size::parse(&bytes.to_string()), Ok(bytes), "{text:?}");
        assert!(!words::size(bytes).is_empty());
    }
    if let Ok(time) = duration::parse(text) {
        // The age is signed, so longer durations are cut off.
        assert!(!words::age(i64::try_from(time.as_secs()).unwrap_or(i64::MAX)).is_empty());
    }
    if let Ok(values) = text.parse::<Values>() {
        let all = values.for_set(values.len()).expect("one value for each semaphore");
        let printed = all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        assert_eq!(printed.parse(), Ok(values), "{text:?}");
    }
    // A name without a class names an object of any class; a name with a class only one of that
    // class.
    let object = text.parse::<Object>().map(|object| object.to_string()).unwrap_or_default();
    let expected = match object.trim_start_matches("the ").split(' ').next() {
        Some("segment") if !text.starts_with("shm:") => (true, true),
        Some("semaphore") => (true, false),
        Some("message") => (false, true),
        _ => (false, false),
    };
    assert_eq!((text.parse::<Set>().is_ok(), text.parse::<Queue>().is_ok()), expected, "{text:?}");
    assert!(!words::clean(text).chars().any(char::is_control), "{text:?}");
    assert!(!words::shell_word(text).chars().any(char::is_control), "{text:?}");
    assert_eq!(base64::encode(text.as_bytes()).len(), text.len().div_ceil(3) * 4);
    let mut dumped = Vec::new();
    let mut dump = Hexdump::new(&mut dumped, 0);
    dump.write_all(text.as_bytes()).and_then(|()| dump.finish()).expect("a write to memory succeeds");
    assert!(dumped.iter().all(|byte| matches!(byte, b'\n' | 0x20..0x7f)), "{text:?}");
}

/// Asserts that a value is parsed again from what it prints.
fn reparse<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse().ok(), Some(value), "{text:?}");
    }
}
