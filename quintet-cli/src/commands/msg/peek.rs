//! `quintet msg peek`: the messages of a queue, which stay there.

use super::content::Content;
use super::refusal;
use crate::commands::view::queue::MessageView;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::object::{self, Queue};
use crate::output::hexdump::Hexdump;
use crate::output::text::{BOLD, Page};
use crate::output::{Report, emit};
use crate::time::local;
use quintet::{Errno, MessageStat};
use serde::{Serialize, Serializer};
use std::io::{self, Write};

const EXAMPLES: &str = "\
EXAMPLES:
  quintet msg peek 0                       all messages in hexadecimal, the first one first
  quintet msg peek key:0x4d2 --count 1     the one that is next
  quintet msg peek 0 --json | jq -r '.messages[].text'";

/// Show the messages of a queue, the first one first, and take none
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[arg(help = object::QUEUE_HELP)]
    queue: Queue,

    /// How many at most [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

struct Seen {
    stat: MessageStat,
    bytes: Vec<u8>,
}

impl Serialize for Seen {
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
    messages: Vec<Seen>,
}

impl Report for Messages {
    fn text(&self, page: &mut Page) -> io::Result<()> {
        if self.messages.is_empty() {
            return page.line(format_args!("There is no message in queue {}.", self.id));
        }
        for (i, message) in self.messages.iter().enumerate() {
            let view = MessageView::from(&message.stat);
            let sent = view.sent.map_or(String::new(), |sent| format!(", sent {} ({} ago)", local(sent), view.age()));
            let sender = view.sender.map_or(String::new(), |pid| format!(" by pid {pid}"));
            page.line(format_args!("{BOLD}{}. {}{BOLD:#}{sent}{sender}", i + 1, view.sentence()))?;
            let mut dump = Vec::new();
            let mut hex = Hexdump::new(&mut dump, 0);
            hex.write_all(&message.bytes)?;
            hex.finish()?;
            let dump = String::from_utf8_lossy(&dump);
            // The last line is the length, which is told already.
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
    // Printed only afterwards: whoever reads our output may take his time, and the queue's users should not wait for him.
    let mut messages = Vec::new();
    let seen = ns.peek(id.raw(), |stat, bytes| {
        messages.push(Seen { stat, bytes: bytes.to_owned() });
        (messages.len() as u64) < most
    });
    seen.map_err(|errno| {
        let failure = refusal(&ns, id, &format!("look at the messages of queue {id}"), errno);
        if errno == Errno::NOSYS { failure.remedy("this kernel has no MSG_COPY (CONFIG_CHECKPOINT_RESTORE)") } else { failure }
    })?;
    emit(context, &Messages { id: id.raw(), messages })?;
    Ok(Exit::Success)
}
