//! `quintet msg`: sends, receives and shows the messages of a queue, for scripts.

mod content;
mod errors;
mod peek;
mod recv;
mod selection;
mod send;
mod wait_options;
mod watch;

use crate::context::Context;
use crate::failure::Outcome;

const EXAMPLES: &str = "\
EXAMPLES:
  queue=$(quintet create msg --key 0x4d2)
  quintet msg send $queue 'hello'          send a message of type 1
  quintet msg recv $queue                  receive the first message, or wait for one
  ls | quintet msg send $queue --lines     send each line as a message
  quintet msg recv $queue --follow --line  print all messages as they arrive
  quintet msg peek $queue                  show all messages, and receive none";

/// Send, receive and show the messages of a queue
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Send(send::Args),
    #[command(visible_alias = "receive")]
    Recv(recv::Args),
    Peek(peek::Args),
}

impl Args {
    pub fn name(&self) -> &'static str {
        match self.command {
            Command::Send(_) => "msg send",
            Command::Recv(_) => "msg recv",
            Command::Peek(_) => "msg peek",
        }
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    match &args.command {
        Command::Send(args) => send::run(context, args),
        Command::Recv(args) => recv::run(context, args),
        Command::Peek(args) => peek::run(context, args),
    }
}
