//! `quintet msg send`: `msgsnd` for scripts.

use super::errors::{call_failure, would_block};
use super::wait_options::WaitOptions;
use crate::args::message_type;
use crate::args::object::{self, Queue};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::hint;
use crate::output::text::Page;
use crate::output::{Report, complain, emit};
use crate::words::count;
use quintet::{Errno, Id, MsgFlags, Namespace};
use serde::Serialize;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const EXAMPLES: &str = "\
EXIT STATUS:
  0    All messages were sent
  1    Failure
  2    Invalid command line
  124  No room: --no-wait was given, or the timeout expired

EXAMPLES:
  quintet msg send 0 hello                 one message of type 1, without a newline
  date | quintet msg send 0 --type 7       the output of a command as one message
  quintet msg send key:0x4d2 --file job    the bytes of a file
  quintet msg send 0 --lines < jobs        each line as a message
  quintet msg send 0 hello --timeout 5 || echo full";

/// Send a message: the text given, or the bytes of a file or of standard input
///
/// A message may be empty and may contain any bytes. The command blocks while the queue has no
/// room.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[arg(help = object::QUEUE_HELP)]
    queue: Queue,

    /// The message [default: standard input]
    #[arg(conflicts_with_all = ["file", "lines"])]
    text: Option<OsString>,

    /// Type of the message, 1 or more
    #[arg(long = "type", value_name = "N", default_value = "1", allow_negative_numbers = true, value_parser = message_type::parse)]
    mtype: i64,

    /// Input file; - is standard input
    #[arg(long)]
    file: Option<PathBuf>,

    /// Send each line as a message, without its newline
    #[arg(long)]
    lines: bool,

    /// With --lines: separate messages by zero bytes instead of newlines
    #[arg(short = '0', long, requires = "lines")]
    null: bool,

    #[command(flatten)]
    wait: WaitOptions,
}

#[derive(Serialize)]
struct Sent {
    id: i32,
    #[serde(rename = "type")]
    mtype: i64,
    messages: u64,
    bytes: u64,
}

impl Report for Sent {
    fn text(&self, _: &mut Page) -> io::Result<()> {
        Ok(())
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let ns = context.namespace()?;
    let id = args.queue.find(&ns)?;
    let most = ns.limits().map_err(|errno| Failure::call("read the limits", errno))?.msgmax as usize;
    let mut sender =
        Sender { context, ns: &ns, id, args, most, sent: Sent { id: id.raw(), mtype: args.mtype, messages: 0, bytes: 0 } };
    match &args.text {
        Some(text) => sender.send(text.as_bytes())?,
        None if args.lines => sender.send_lines(args.input()?)?,
        None => sender.send_all(args.input()?)?,
    }
    emit(context, &sender.sent)?;
    Ok(Exit::Success)
}

impl Args {
    /// Returns the input file, if the command line names one.
    fn path(&self) -> Option<&Path> {
        self.file.as_deref().filter(|path| *path != Path::new("-"))
    }

    fn input(&self) -> Result<Box<dyn BufRead>, Failure> {
        match self.path() {
            None => Ok(Box::new(io::stdin().lock())),
            Some(path) => match File::open(path) {
                Ok(file) => Ok(Box::new(BufReader::new(file))),
                Err(error) => Err(Failure::io("read", path, &error)),
            },
        }
    }

    fn read_failure(&self, error: &io::Error) -> Failure {
        Failure::io("read", self.path().unwrap_or(Path::new("standard input")), error)
    }
}

struct Sender<'a> {
    context: &'a Context,
    ns: &'a Namespace,
    id: Id,
    args: &'a Args,
    /// The maximum length of a message.
    most: usize,
    sent: Sent,
}

impl Sender<'_> {
    /// Sends the whole input as one message.
    fn send_all(&mut self, input: impl Read) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        // One byte more than the maximum shows that the input is too long.
        let read = input.take(self.most as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| self.args.read_failure(&error))?;
        self.send(&bytes)
    }

    /// Sends each line as a message when it is read.
    fn send_lines(&mut self, mut input: impl BufRead) -> Result<(), Failure> {
        let end = if self.args.null { 0 } else { b'\n' };
        let mut line = Vec::new();
        loop {
            line.clear();
            // One byte more than the maximum, and the separator.
            let read = (&mut input).take(self.most as u64 + 2).read_until(end, &mut line);
            if read.map_err(|error| self.args.read_failure(&error))? == 0 {
                return Ok(());
            }
            if line.last() == Some(&end) {
                line.pop();
            }
            self.send(&line)?;
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Sender { ns, id, args, .. } = *self;
        if bytes.len() > self.most {
            return Err(self.too_long(bytes.len()));
        }
        self.warn_if_over_capacity(bytes.len());
        let call = |left| ns.msgsnd(id.raw(), args.mtype, bytes, MsgFlags::empty(), left);
        args.wait.call(call, || false).map_err(|errno| self.send_failure(bytes.len(), errno))?;
        self.sent.messages += 1;
        self.sent.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Returns "send line 3 to queue 0 after 2 messages", or "send the message to queue 0".
    fn what(&self) -> String {
        let id = self.id;
        match self.sent.messages {
            _ if !self.args.lines => format!("send the message to queue {id}"),
            0 => format!("send line 1 to queue {id}"),
            n => format!("send line {} to queue {id} after {}", n + 1, count(n, "message")),
        }
    }

    /// Returns the failure for a message over the limit. It was not read to its end, so its size
    /// may be unknown.
    fn too_long(&self, read: usize) -> Failure {
        let most = self.most;
        let size = match self.args.path().and_then(|path| path.metadata().ok()) {
            Some(metadata) if metadata.is_file() && !self.args.lines => count(metadata.len().max(read as u64), "byte"),
            _ if self.args.text.is_some() => count(read as u64, "byte"),
            _ => format!("more than {}", count(most as u64, "byte")),
        };
        let what = self.what();
        let needed = match self.args.path().and_then(|path| path.metadata().ok()) {
            Some(metadata) if metadata.is_file() => metadata.len().max(read as u64),
            _ => (read as u64).max(2 * most as u64),
        };
        let raise = hint::on(self.ns, format_args!("namespace limits --msgmax {needed}"));
        Failure::new(format!("cannot {what}: it has {size}, but the limit msgmax is {most} (EINVAL)"))
            .errno(Errno::INVAL)
            .remedy(format_args!("send it in parts, or raise the limit: {raise}"))
    }

    /// Warns about a message over the capacity of the queue. The call blocks until the capacity is
    /// raised.
    fn warn_if_over_capacity(&self, len: usize) {
        let Sender { ns, id, .. } = *self;
        let stat = ns.msg_stat_index(i32::from(id.index()), true).ok().filter(|stat| stat.id == id);
        if let Some(stat) = stat.filter(|stat| len as u64 > stat.capacity && self.args.wait.limit() != Some(Duration::ZERO)) {
            let (size, capacity) = (count(len as u64, "byte"), count(stat.capacity, "byte"));
            let warning = format!("queue {id} has a capacity of {capacity}: a message of {size} waits until it is raised");
            complain(self.context, &warning);
        }
    }

    fn send_failure(&self, len: usize, errno: Errno) -> Failure {
        let Sender { ns, id, .. } = *self;
        if errno != Errno::AGAIN {
            return call_failure(ns, id, &self.what(), errno);
        }
        let within = self.args.wait.within();
        let load = match ns.msg_stat_index(i32::from(id.index()), true) {
            Ok(stat) if stat.id == id => {
                let (messages, capacity) = (count(stat.messages, "message"), count(stat.capacity, "byte"));
                format!(", the queue has {messages}, {} of {capacity}", stat.bytes)
            }
            _ => String::new(),
        };
        let reason = format!("no room for {}{within}{load}", count(len as u64, "byte"));
        would_block(ns, id, &self.what(), &reason, errno)
    }
}
