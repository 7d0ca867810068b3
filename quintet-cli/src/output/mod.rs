//! Output: a report is data, and each format prints it in its own way.

pub mod base64;
pub mod hexdump;
pub mod json;
pub mod table;
pub mod text;

use crate::context::Context;
use crate::failure::Failure;
use serde::Serialize;
use std::io::{self, Write};
use text::{BAD, Page};

pub use crate::words::clean;

/// The result of a subcommand.
pub trait Report: Serialize {
    /// Prints the report as text.
    fn text(&self, page: &mut Page) -> io::Result<()>;
}

/// Prints a report as text or as JSON.
pub fn emit(context: &Context, report: &impl Report) -> Result<(), Failure> {
    let printed = if context.json() { json::report(context, report) } else { print(context, report) };
    match printed {
        // The reader has exited. The command has done its work, and its exit code stays the same.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => Ok(printed?),
    }
}

fn print(context: &Context, report: &impl Report) -> io::Result<()> {
    let mut page = Page::new(context);
    report.text(&mut page)?;
    page.finish()
}

/// Prints an error or a warning on standard error.
pub fn complain(context: &Context, message: &str) {
    let stderr = io::stderr();
    let choice = if context.colors(&stderr) { anstream::ColorChoice::AlwaysAnsi } else { anstream::ColorChoice::Never };
    let mut stream = anstream::AutoStream::new(stderr.lock(), choice);
    // If standard error is closed, there is no other place for the message.
    let _ = writeln!(stream, "{BAD}quintet:{BAD:#} {message}");
}
