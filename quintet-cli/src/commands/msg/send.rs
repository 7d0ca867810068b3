//! `quintet msg send`: `msgsnd`, for scripts.

use super::{Patience, parse_type, refusal, would_wait};
use crate::commands::view::count;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::object::{self, Queue};
use crate::output::text::Page;
use crate::output::{Report, complain, emit};
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
  0 if everything is sent; 124 if there is no room and --no-wait was given, or the timeout has
  passed; 1 for any other failure, 2 for a command line that makes no sense.

EXAMPLES:
  quintet msg send 0 hello                 one message of type 1, without a newline
  date | quintet msg send 0 --type 7       what comes from a pipe, to its end
  quintet msg send key:0x4d2 --file job    the bytes of a file
  quintet msg send 0 --lines < jobs        each line is a message
  quintet msg send 0 hello --timeout 5 || echo full";

/// Send a message: the text given, or the bytes of a file or of standard input
///
/// A message may be empty, and hold any bytes. If there is no room in the queue the command waits.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[arg(help = object::QUEUE_HELP)]
    queue: Queue,

    /// The message [default: standard input, to its end]
    #[arg(conflicts_with_all = ["file", "lines"])]
    text: Option<OsString>,

    /// Its type, 1 or more
    #[arg(long = "type", value_name = "N", default_value = "1", allow_negative_numbers = true, value_parser = parse_type)]
    mtype: i64,

    /// The file whose bytes are the message; - is standard input
    #[arg(long)]
    file: Option<PathBuf>,

    /// Send each line as a message, without its newline
    #[arg(long)]
    lines: bool,

    /// With --lines: a zero byte ends each message, not a newline
    #[arg(short = '0', long, requires = "lines")]
    null: bool,

    #[command(flatten)]
    patience: Patience,
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
    let most = ns.limits().map_err(|e| Failure::new(format!("cannot read the limits: {e}")).errno(e))?.msgmax as usize;
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
    /// The file, if one is named.
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

    fn unread(&self, error: &io::Error) -> Failure {
        Failure::io("read", self.path().unwrap_or(Path::new("standard input")), error)
    }
}

struct Sender<'a> {
    context: &'a Context,
    ns: &'a Namespace,
    id: Id,
    args: &'a Args,
    /// The greatest length of a message.
    most: usize,
    sent: Sent,
}

impl Sender<'_> {
    /// All of the input as one message.
    fn send_all(&mut self, input: impl Read) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        // One byte more than may be sent tells that it is too much.
        let read = input.take(self.most as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| self.args.unread(&error))?;
        self.send(&bytes)
    }

    /// Each line as a message, sent when it is read.
    fn send_lines(&mut self, mut input: impl BufRead) -> Result<(), Failure> {
        let end = if self.args.null { 0 } else { b'\n' };
        let mut line = Vec::new();
        loop {
            line.clear();
            // A byte more than may be sent, and what ends it.
            let read = (&mut input).take(self.most as u64 + 2).read_until(end, &mut line);
            if read.map_err(|error| self.args.unread(&error))? == 0 {
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
        self.warn_if_never(bytes.len());
        let call = |left| ns.msgsnd(id.raw(), args.mtype, bytes, MsgFlags::empty(), left);
        args.patience.wait(call, || false).map_err(|errno| self.explain(bytes.len(), errno))?;
        self.sent.messages += 1;
        self.sent.bytes += bytes.len() as u64;
        Ok(())
    }

    /// "send line 3 to queue 0, after 2 messages", or "send the message to queue 0".
    fn what(&self) -> String {
        let id = self.id;
        match self.sent.messages {
            _ if !self.args.lines => format!("send the message to queue {id}"),
            0 => format!("send line 1 to queue {id}"),
            n => format!("send line {} to queue {id}, after {}", n + 1, count(n, "message")),
        }
    }

    /// What is longer than a message may be was not read to its end.
    fn too_long(&self, read: usize) -> Failure {
        let most = self.most;
        let size = match self.args.path().and_then(|path| path.metadata().ok()) {
            Some(metadata) if metadata.is_file() && !self.args.lines => metadata.len().max(read as u64).to_string(),
            _ if self.args.text.is_some() => read.to_string(),
            _ => format!("more than {most}"),
        };
        let what = self.what();
        Failure::new(format!("cannot {what}: it has {size} bytes, and the limit msgmax is {most} (EINVAL)"))
            .errno(Errno::INVAL)
            .remedy("send it in pieces, or raise the limit with 'quintet namespace limits --msgmax'")
    }

    /// A message that is longer than all that the queue takes waits until somebody raises that; nobody should have to guess why.
    fn warn_if_never(&self, len: usize) {
        let Sender { ns, id, .. } = *self;
        let stat = ns.msg_stat_index(i32::from(id.index()), true).ok().filter(|stat| stat.id == id);
        if let Some(stat) = stat.filter(|stat| len as u64 > stat.capacity && self.args.patience.limit() != Some(Duration::ZERO)) {
            let size = count(len as u64, "byte");
            let capacity = stat.capacity;
            complain(
                self.context,
                &format!("the message has {size}, and queue {id} takes {capacity} in all: it waits until that is raised"),
            );
        }
    }

    fn explain(&self, len: usize, errno: Errno) -> Failure {
        let Sender { ns, id, .. } = *self;
        if errno != Errno::AGAIN {
            return refusal(ns, id, &self.what(), errno);
        }
        let time = self.args.patience.within();
        let full = match ns.msg_stat_index(i32::from(id.index()), true) {
            Ok(stat) if stat.id == id => {
                format!(": it has {}, {} bytes of {}", count(stat.messages, "message"), stat.bytes, stat.capacity)
            }
            _ => String::new(),
        };
        would_wait(id, &self.what(), &format!("no room for {}{time}{full}", count(len as u64, "byte")), errno)
    }
}
