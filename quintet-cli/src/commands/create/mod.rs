//! `quintet create`: makes an object and prints its identifier.

mod msg;
mod naming;
mod sem;
mod shm;

use super::view::{KeyView, NamespaceView};
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Report;
use crate::output::text::Page;
use serde::Serialize;
use std::io;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet create --size 1M                             no key: found by its id only
  quintet create --size 4096 --key 0x4d2 --mode 0660   the C call shmget(0x4d2, 4096, IPC_CREAT | 0660)
  quintet create --size 64K --ftok /etc/hosts:q        the key of ftok(\"/etc/hosts\", 'q')
  quintet create sem --values 1,0,5                    a set of three semaphores with these values
  quintet create msg --key 0x4d3                       a message queue";

/// Create a segment, a semaphore set or a message queue, or find the one that has the key, and print its identifier
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    segment: shm::Args,
}

#[derive(clap::Subcommand)]
enum Command {
    Shm(shm::Args),
    Sem(sem::Args),
    Msg(msg::Args),
}

/// What was made or found.
#[derive(Serialize)]
struct Created {
    namespace: NamespaceView,
    /// `shm`, `sem` or `msg`.
    class: &'static str,
    id: i32,
    key: KeyView,
    #[serde(flatten)]
    size: Size,
    created: bool,
}

/// How large it is, in the class's own measure.
#[derive(Serialize)]
#[serde(untagged)]
enum Size {
    Bytes { size: u64 },
    Semaphores { nsems: u32 },
    Capacity { capacity: u64 },
}

impl Report for Created {
    fn text(&self, page: &mut Page) -> io::Result<()> {
        page.line(format_args!("{}", self.id))
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    match &args.command {
        Some(Command::Sem(args)) => sem::run(context, args),
        Some(Command::Msg(args)) => msg::run(context, args),
        Some(Command::Shm(args)) => shm::run(context, args),
        // The word for a segment may be left out.
        None => shm::run(context, &args.segment),
    }
}
