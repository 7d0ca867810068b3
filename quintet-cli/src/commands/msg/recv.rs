//! `quintet msg recv`: `msgrcv`, for scripts.

use super::content::{Content, beginning, printable};
use super::selection::Selection;
use super::watch::{Stop, Watch, end_by};
use super::{Patience, refusal, would_wait};
use crate::commands::view::count;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome, reason};
use crate::object::{self, Queue};
use crate::output::hexdump::Hexdump;
use crate::output::json;
use quintet::{Errno, Id, Namespace};
use serde::Serialize;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
EXIT STATUS:
  0 if as many as were asked for are received, with --follow whenever no more is to come; 124 if
  there is none and --no-wait was given, or the timeout has passed; 1 for any other failure, 2 for
  a command line that makes no sense.

EXAMPLES:
  quintet msg recv 0                       the first one, as it is; wait until there is one
  quintet msg recv 0 --type 7 --timeout 5  the first of type 7, within five seconds
  quintet msg recv 0 --up-to 9             the lowest type first, up to 9
  quintet msg recv 0 --follow --line       all, a line each, until the queue is removed or Ctrl-C
  quintet msg recv 0 --follow --no-wait -0 | xargs -0 -n 1 echo
                                           all that are there now
  quintet msg recv 0 --count 3 --json      a line of JSON for each";

/// Take messages out of a queue, and print their bytes or write them to a file
///
/// A message is printed as soon as it is taken, as it is; on a terminal in hexadecimal, unless it is text. If nobody reads the output
/// any more none is taken; if one cannot be written, standard error tells which.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[arg(help = object::QUEUE_HELP)]
    queue: Queue,

    #[command(flatten)]
    selection: Selection,

    /// How many to take
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,

    /// Take all, until the queue is removed or Ctrl-C; with --no-wait or --timeout until no more comes
    #[arg(long, conflicts_with = "count")]
    follow: bool,

    /// Print a newline after each
    #[arg(long)]
    line: bool,

    /// Print a zero byte after each
    #[arg(short = '0', long, conflicts_with = "line")]
    null: bool,

    /// Print the bytes as they are, also to a terminal
    #[arg(long)]
    raw: bool,

    /// The file to write to, which is made anew; - is standard output
    #[arg(long)]
    file: Option<PathBuf>,

    #[command(flatten)]
    patience: Patience,
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let ns = context.namespace()?;
    let id = args.queue.find(&ns)?;
    let mut output = Output::open(context, args, id)?;
    let watch = Watch::start(output.file.is_none().then(io::stdout))?;
    let mut buffer = vec![0; first_size(&ns)];
    let mut taken = 0;
    while args.follow || taken < args.count {
        match watch.stop() {
            None => {}
            Some(Stop::Signal(signal)) => {
                end_by(signal);
                return Ok(Exit::Failure);
            }
            Some(Stop::ReaderGone) if args.follow => return Ok(Exit::Success),
            Some(Stop::ReaderGone) => {
                let what = format!("nobody reads standard output any more: {} taken from queue {id}", received(taken));
                return Err(Failure::new(what).errno(Errno::from_raw(libc::EPIPE)));
            }
        }
        let (mtype, flags) = args.selection.for_call();
        let call = |left| ns.msgrcv(id.raw(), &mut buffer, mtype, flags, left);
        match args.patience.wait(call, || watch.stop().is_some()) {
            Ok((mtype, len)) => {
                taken += 1;
                output.put(mtype, &buffer[..len]).map_err(|error| output.lost(mtype, &buffer[..len], &error))?;
            }
            Err(Errno::INTR) => {}
            // It stays in the queue.
            Err(Errno::TOOBIG) if grow(&mut buffer) => {}
            Err(Errno::NOMSG | Errno::IDRM | Errno::INVAL) if args.follow => break,
            Err(errno) => return Err(explain(&ns, id, args, taken, errno)),
        }
    }
    Ok(Exit::Success)
}

/// Room for every message that can be sent now, within reason. Older ones may be longer.
fn first_size(ns: &Namespace) -> usize {
    (ns.limits().unwrap_or_default().msgmax as usize).clamp(1 << 16, 1 << 24)
}

/// Makes room for longer messages, if there can be any.
fn grow(buffer: &mut Vec<u8>) -> bool {
    let grows = buffer.len() < i32::MAX as usize;
    if grows {
        *buffer = vec![0; buffer.len().saturating_mul(8).min(i32::MAX as usize)];
    }
    grows
}

/// "no message was", "1 message was", "2 messages were".
fn received(taken: u64) -> String {
    match taken {
        0 => "no message was".to_owned(),
        1 => "1 message was".to_owned(),
        n => format!("{n} messages were"),
    }
}

fn explain(ns: &Namespace, id: Id, args: &Args, taken: u64, errno: Errno) -> Failure {
    let after = if taken > 0 { format!(", after {}", count(taken, "message")) } else { String::new() };
    let what = format!("receive from queue {id}{after}");
    if errno != Errno::NOMSG {
        return refusal(ns, id, &what, errno);
    }
    let (message, within) = (args.selection.sentence(), args.patience.within());
    let why = if within.is_empty() { format!("there is no {message}") } else { format!("no {message} came{within}") };
    would_wait(id, &what, &why, errno)
}

/// Where the messages go.
struct Output<'a> {
    context: &'a Context,
    args: &'a Args,
    id: Id,
    file: Option<(&'a Path, File)>,
    terminal: bool,
}

/// A message that was taken.
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
            Err(error) => Err(Failure::io("write", path, &error)),
        };
        let file = path.map(open).transpose()?;
        let terminal = file.is_none() && !args.raw && io::stdout().is_terminal();
        Ok(Output { context, args, id, file, terminal })
    }

    /// Writes a message, with what follows it, at once.
    fn put(&mut self, mtype: i64, bytes: &[u8]) -> io::Result<()> {
        let text = self.shape(mtype, bytes)?;
        match &mut self.file {
            Some((_, file)) => file.write_all(&text),
            None => {
                let mut out = io::stdout().lock();
                out.write_all(&text)?;
                out.flush()
            }
        }
    }

    fn shape(&self, mtype: i64, bytes: &[u8]) -> io::Result<Vec<u8>> {
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

    /// A message that is in the queue no more, and could not be written.
    fn lost(&self, mtype: i64, bytes: &[u8], error: &io::Error) -> Failure {
        let place = match &self.file {
            Some((path, _)) => crate::output::clean(&path.to_string_lossy()),
            None => "standard output".to_owned(),
        };
        let (id, size) = (self.id, count(bytes.len() as u64, "byte"));
        let failure = Failure::new(format!(
            "cannot write to {place}: {}; the message that was taken from queue {id} is lost: type {mtype}, {size}: {}",
            reason(error),
            beginning(bytes)
        ));
        error.raw_os_error().into_iter().fold(failure, |failure, errno| failure.errno(Errno::from_raw(errno)))
    }
}
