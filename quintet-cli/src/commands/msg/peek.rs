//! `quintet msg peek`: shows the messages of a queue, and leaves them in the queue.

use super::content::Content;
use super::errors::call_failure;
use crate::args::object::{self, Queue};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::hexdump::Hexdump;
use crate::output::text::{BOLD, Page};
use crate::output::{Report, emit};
use crate::view::queue::MessageView;
use quintet::{Errno, MessageStat};
use serde::{Serialize, Serializer};
use std::io::{self, Write};

const EXAMPLES: &str = "\
EXAMPLES:
  quintet msg peek 0                       all messages in hexadecimal, in order
  quintet msg peek key:0x4d2 --count 1     the next message
  quintet msg peek 0 --json | jq -r '.messages[].text'";

/// Show the messages of a queue in order, and receive none
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[arg(help = object::QUEUE_HELP)]
    queue: Queue,

    /// Maximum number of messages [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

struct PeekedMessage {
    stat: MessageStat,
    bytes: Vec<u8>,
}

impl Serialize for PeekedMessage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shape<'a> {
            #[serde(flatten)]
            content: Content<'a>,
            sender: Option<i32>,
            sent: Option<i64>,
        }
        let MessageView { mtype, sender, sent, .. } = MessageView::from(&self.stat);
        Shape { content: Content::new(mtype, &self.bytes), sender, sent }.serialize(serializer)
    }
}

#[derive(Serialize)]
struct Messages {
    id: i32,
    messages: Vec<PeekedMessage>,
}

impl Report for Messages {
    fn text(&self, page: &mut Page) -> io::Result<()> {
        if self.messages.is_empty() {
            return page.line(format_args!("Queue {} has no messages.", self.id));
        }
        for (i, message) in self.messages.iter().enumerate() {
            let view = MessageView::from(&message.stat);
            page.line(format_args!("{BOLD}{}. {}{BOLD:#}{}", i + 1, view.phrase(), view.origin()))?;
            let mut dump = Vec::new();
            let mut hex = Hexdump::new(&mut dump, 0);
            hex.write_all(&message.bytes)?;
            hex.finish()?;
            let dump = String::from_utf8_lossy(&dump);
            // The last line is the length, which the heading contains.
            let lines = dump.lines().count().saturating_sub(1);
            dump.lines().take(lines).try_for_each(|line| page.line(format_args!("   {line}")))?;
        }
        Ok(())
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let ns = context.namespace()?;
    let id = args.queue.find(&ns)?;
    let most = args.count.unwrap_or(u64::MAX);
    // The messages are printed after the call, because a slow reader of the output must not block
    // the queue.
    let mut messages = Vec::new();
    let peeked = ns.peek(id.raw(), |stat, bytes| {
        messages.push(PeekedMessage { stat, bytes: bytes.to_owned() });
        (messages.len() as u64) < most
    });
    peeked.map_err(|errno| {
        let failure = call_failure(&ns, id, &format!("peek at the messages of queue {id}"), errno);
        if errno == Errno::NOSYS { failure.remedy("use a kernel with CONFIG_CHECKPOINT_RESTORE (MSG_COPY)") } else { failure }
    })?;
    emit(context, &Messages { id: id.raw(), messages })?;
    Ok(Exit::Success)
}
