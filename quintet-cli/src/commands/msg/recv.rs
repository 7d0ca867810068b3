//! `quintet msg recv`: `msgrcv` for scripts.

use super::content::{Content, excerpt, printable};
use super::errors::{call_failure, would_block};
use super::selection::Selection;
use super::wait_options::WaitOptions;
use super::watch::{Stop, Watch, terminate_by};
use crate::args::object::{self, Queue};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome, reason_with_errno};
use crate::output::hexdump::Hexdump;
use crate::output::json;
use crate::words::{clean, count};
use quintet::{Errno, Id, Namespace};
use serde::Serialize;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
EXIT STATUS:
  0    All messages were received; with --follow also if the queue is removed or none is left
  1    Failure
  2    Invalid command line
  124  No message: --no-wait was given, or the timeout expired

EXAMPLES:
  quintet msg recv 0                       the first message; waits for one if the queue is empty
  quintet msg recv 0 --type 7 --timeout 5  the first of type 7, within 5 seconds
  quintet msg recv 0 --up-to 9             the first of the lowest type, up to type 9
  quintet msg recv 0 --follow --line       all, one a line, until the queue is removed or Ctrl-C
  quintet msg recv 0 --follow --no-wait -0 | xargs -0 -n 1 echo
                                           all that are in the queue now
  quintet msg recv 0 --count 3 --json      three, each as a line of JSON";

/// Receive messages, and print their bytes or write them to a file
///
/// Each message is printed raw as soon as it is received; on a terminal in hexadecimal, unless it
/// is text. When the reader of the output exits, no further message is received. A message that
/// cannot be written is reported on standard error.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[arg(help = object::QUEUE_HELP)]
    queue: Queue,

    #[command(flatten)]
    selection: Selection,

    /// Number of messages
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,

    /// Receive until the queue is removed or Ctrl-C; with --no-wait or --timeout until none is left
    #[arg(long, conflicts_with = "count")]
    follow: bool,

    /// Print a newline after each message
    #[arg(long)]
    line: bool,

    /// Print a zero byte after each message
    #[arg(short = '0', long, conflicts_with = "line")]
    null: bool,

    /// Print raw bytes, on a terminal, too
    #[arg(long)]
    raw: bool,

    /// Output file, which is overwritten; - is standard output
    #[arg(long)]
    file: Option<PathBuf>,

    #[command(flatten)]
    wait: WaitOptions,
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let ns = context.namespace()?;
    let id = args.queue.find(&ns)?;
    let mut output = Output::open(context, args, id)?;
    let watch = Watch::start(output.file.is_none().then(io::stdout))?;
    let mut buffer = vec![0; first_size(&ns)];
    let mut received = 0;
    while args.follow || received < args.count {
        match watch.stop() {
            None => {}
            Some(Stop::Signal(signal)) => {
                terminate_by(signal);
                return Ok(Exit::Failure);
            }
            Some(Stop::ReaderGone) if args.follow => return Ok(Exit::Success),
            Some(Stop::ReaderGone) => {
                return Err(reader_gone(id, received));
            }
        }
        let (mtype, flags) = args.selection.arguments();
        let call = |left| ns.msgrcv(id.raw(), &mut buffer, mtype, flags, left);
        match args.wait.call(call, || watch.stop().is_some()) {
            Ok((mtype, len)) => {
                received += 1;
                output.write(mtype, &buffer[..len]).map_err(|error| output.lost_failure(mtype, &buffer[..len], &error))?;
            }
            Err(Errno::INTR) => {}
            // The message is still in the queue.
            Err(Errno::TOOBIG) if grow(&mut buffer) => {}
            Err(Errno::NOMSG | Errno::IDRM | Errno::INVAL) if args.follow => break,
            Err(errno) => return Err(receive_failure(&ns, id, args, received, errno)),
        }
    }
    Ok(Exit::Success)
}

/// Returns the first size of the buffer. It fits all but very long messages; older messages may
/// exceed today's limit.
fn first_size(ns: &Namespace) -> usize {
    (ns.limits().unwrap_or_default().msgmax as usize).clamp(1 << 16, 1 << 24)
}

/// Enlarges the buffer. Returns `false` if it already fits every message.
fn grow(buffer: &mut Vec<u8>) -> bool {
    if buffer.len() >= i32::MAX as usize {
        return false;
    }
    *buffer = vec![0; buffer.len().saturating_mul(8).min(i32::MAX as usize)];
    true
}

/// Returns the failure if the reader of the output exits before all messages are received.
fn reader_gone(id: Id, received: u64) -> Failure {
    let messages = count(received, "message");
    Failure::new(format!(
        "cannot receive more from queue {id} after {messages}: the reader of standard output has exited (EPIPE)"
    ))
    .errno(Errno::from_raw(libc::EPIPE))
}

fn receive_failure(ns: &Namespace, id: Id, args: &Args, received: u64, errno: Errno) -> Failure {
    let what = match received {
        0 => format!("receive from queue {id}"),
        n => format!("receive more from queue {id} after {}", count(n, "message")),
    };
    if errno != Errno::NOMSG {
        return call_failure(ns, id, &what, errno);
    }
    let (message, within) = (args.selection.phrase(), args.wait.within());
    let reason = if within.is_empty() { format!("there is no {message}") } else { format!("no {message} arrived{within}") };
    would_block(ns, id, &what, &reason, errno)
}

/// The output for messages.
struct Output<'a> {
    context: &'a Context,
    args: &'a Args,
    id: Id,
    file: Option<(&'a Path, File)>,
    terminal: bool,
}

/// A received message.
#[derive(Serialize)]
struct Received<'a> {
    id: i32,
    #[serde(flatten)]
    content: Content<'a>,
}

impl<'a> Output<'a> {
    fn open(context: &'a Context, args: &'a Args, id: Id) -> Result<Output<'a>, Failure> {
        let path = args.file.as_deref().filter(|path| *path != Path::new("-"));
        let open = |path: &'a Path| match File::create(path) {
            Ok(file) => Ok((path, file)),
            Err(error) => Err(Failure::io("create", path, &error)),
        };
        let file = path.map(open).transpose()?;
        let terminal = file.is_none() && !args.raw && io::stdout().is_terminal();
        Ok(Output { context, args, id, file, terminal })
    }

    /// Writes a message and what follows it, without a buffer.
    fn write(&mut self, mtype: i64, bytes: &[u8]) -> io::Result<()> {
        let text = self.format(mtype, bytes)?;
        match &mut self.file {
            Some((_, file)) => file.write_all(&text),
            None => {
                let mut out = io::stdout().lock();
                out.write_all(&text)?;
                out.flush()
            }
        }
    }

    /// Returns the output for a message.
    fn format(&self, mtype: i64, bytes: &[u8]) -> io::Result<Vec<u8>> {
        if self.context.json() {
            return json::line(self.context, &Received { id: self.id.raw(), content: Content::new(mtype, bytes) });
        }
        let mut text = Vec::with_capacity(bytes.len() + 1);
        match printable(bytes) {
            None if self.terminal => {
                let mut hex = Hexdump::new(&mut text, 0);
                hex.write_all(bytes)?;
                hex.finish()?;
                return Ok(text);
            }
            _ => text.extend_from_slice(bytes),
        }
        if self.args.null {
            text.push(0);
        } else if self.args.line || (self.terminal && bytes.last() != Some(&b'\n')) {
            text.push(b'\n');
        }
        Ok(text)
    }

    /// Returns the failure for a message that was received and could not be written.
    fn lost_failure(&self, mtype: i64, bytes: &[u8], error: &io::Error) -> Failure {
        let place = match &self.file {
            Some((path, _)) => clean(&path.to_string_lossy()),
            None => "standard output".to_owned(),
        };
        let (id, size) = (self.id, count(bytes.len() as u64, "byte"));
        let failure = Failure::new(format!(
            "cannot write to {place}: {}; a message of queue {id} is lost: type {mtype}, {size}: {}",
            reason_with_errno(error),
            excerpt(bytes)
        ));
        error.raw_os_error().into_iter().fold(failure, |failure, errno| failure.errno(Errno::from_raw(errno)))
    }
}
