//! A command line and its parts, read, and nothing done: for a fuzzer.

use crate::cli::{Cli, consistent};
use crate::object::{Object, Queue, Set};
use crate::operations::{self, Operations};
use crate::output::{base64, clean, hexdump::Hexdump};
use crate::values::Values;
use crate::{duration, size};
use clap::Parser;
use quintet::Key;
use std::fmt::{Debug, Display};
use std::io::Write;
use std::str::FromStr;

/// Reads the arguments as those of the tool, and each of them as whatever it might stand for.
///
/// # Panics
///
/// If what was read and is printed is not read as the same, or prints what no terminal should see.
pub fn read(args: &[&str]) {
    match Cli::try_parse_from(std::iter::once(&"quintet").chain(args)).and_then(consistent) {
        Ok(cli) => assert!(!cli.command.name().is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    args.iter().for_each(|arg| read_one(arg));
}

fn read_one(text: &str) {
    if let Ok(ops) = text.parse::<Operations>() {
        assert_eq!(operations::spoken(&ops.0).parse(), Ok(ops), "{text:?}");
    }
    again::<Key>(text);
    if let Ok(bytes) = size::parse(text) {
        assert_eq!(size::parse(&bytes.to_string()), Ok(bytes), "{text:?}");
        assert!(!size::spoken(bytes).is_empty());
    }
    if let Ok(time) = duration::parse(text) {
        // As many seconds as a number of 64 bits counts, and no more.
        assert!(!duration::spoken(i64::try_from(time.as_secs()).unwrap_or(i64::MAX)).is_empty());
    }
    if let Ok(values) = text.parse::<Values>() {
        let of = values.of(values.len()).expect("one for each");
        let printed = of.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        assert_eq!(printed.parse(), Ok(values), "{text:?}");
    }
    // A name without a class is one of any; with one, only of that.
    let object = text.parse::<Object>().map(|object| object.to_string()).unwrap_or_default();
    let agrees = match object.split(' ').next() {
        Some("segment") if !text.starts_with("shm:") => (true, true),
        Some("semaphore") => (true, false),
        Some("message") => (false, true),
        _ => (false, false),
    };
    assert_eq!((text.parse::<Set>().is_ok(), text.parse::<Queue>().is_ok()), agrees, "{text:?}");
    assert!(!clean(text).chars().any(char::is_control), "{text:?}");
    assert_eq!(base64::encode(text.as_bytes()).len(), text.len().div_ceil(3) * 4);
    let mut dumped = Vec::new();
    let mut dump = Hexdump::new(&mut dumped, 0);
    dump.write_all(text.as_bytes()).and_then(|()| dump.finish()).expect("memory takes it");
    assert!(dumped.iter().all(|byte| matches!(byte, b'\n' | 0x20..0x7f)), "{text:?}");
}

/// What is printed is read as the same.
fn again<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse().ok(), Some(value), "{text:?}");
    }
}
