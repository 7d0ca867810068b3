//! Text for people, in colours if they are wanted.

use crate::context::Context;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use std::fmt::Arguments;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

/// Headings.
pub const BOLD: Style = Style::new().bold();
/// Less important text.
pub const DIM: Style = Style::new().dimmed();
/// Success.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// A warning.
pub const FAIR: Style = AnsiColor::Yellow.on_default();
/// A failure.
pub const BAD: Style = AnsiColor::Red.on_default().bold();

/// Standard output. It removes styles if colours are not wanted.
pub struct Page {
    out: BufWriter<AutoStream<StdoutLock<'static>>>,
    width: Option<usize>,
}

impl Page {
    pub fn new(context: &Context) -> Page {
        let stdout = io::stdout();
        let choice = if context.colors(&stdout) { ColorChoice::AlwaysAnsi } else { ColorChoice::Never };
        let width = if stdout.is_terminal() { terminal_width(&stdout) } else { None };
        Page { out: BufWriter::new(AutoStream::new(stdout.lock(), choice)), width }
    }

    /// Writes one line.
    pub fn line(&mut self, line: Arguments) -> io::Result<()> {
        self.out.write_fmt(line)?;
        self.out.write_all(b"\n")
    }

    /// Writes an empty line.
    pub fn gap(&mut self) -> io::Result<()> {
        self.out.write_all(b"\n")
    }

    /// Returns the text, shortened to fit on the terminal after `used` columns. Pipes and files get
    /// the whole text.
    pub fn fit(&self, text: &str, used: usize) -> String {
        match self.width {
            Some(width) if text.chars().count() + used > width => {
                let room = width.saturating_sub(used + 1).max(8);
                text.chars().take(room).chain(['…']).collect()
            }
            _ => text.to_owned(),
        }
    }

    /// Writes out what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn terminal_width(stdout: &io::Stdout) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stdout).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}
