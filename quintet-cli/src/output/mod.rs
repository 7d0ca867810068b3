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

/// What a subcommand has found out or done.
pub trait Report: Serialize {
    /// Prints it for a person.
    fn text(&self, page: &mut Page) -> io::Result<()>;
}

/// Prints a report in the format that was asked for.
pub fn emit(context: &Context, report: &impl Report) -> Result<(), Failure> {
    let printed = if context.json() { json::report(context, report) } else { print(context, report) };
    match printed {
        // Nobody reads it; what was done, and its exit code, stay the same.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => Ok(printed?),
    }
}

fn print(context: &Context, report: &impl Report) -> io::Result<()> {
    let mut page = Page::new(context);
    report.text(&mut page)?;
    page.finish()
}

/// Tells of a failure on standard error.
pub fn complain(context: &Context, message: &str) {
    let stderr = io::stderr();
    let choice = if context.colors(&stderr) { anstream::ColorChoice::AlwaysAnsi } else { anstream::ColorChoice::Never };
    let mut stream = anstream::AutoStream::new(stderr.lock(), choice);
    // If standard error is closed too there is nobody to tell.
    let _ = writeln!(stream, "{BAD}quintet:{BAD:#} {message}");
}

/// Makes text of others (file names, command lines) harmless on a terminal.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn escapes_of_others_do_not_reach_the_terminal() {
        assert_eq!(super::clean("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
