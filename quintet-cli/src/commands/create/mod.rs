//! `quintet create`: creates an object and prints its identifier.

mod created;
mod key_options;
mod msg;
mod sem;
mod shm;

use crate::context::Context;
use crate::failure::Outcome;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet create --size 1M                             a segment without a key
  quintet create --size 4096 --key 0x4d2 --mode 0660   as shmget(0x4d2, 4096, IPC_CREAT | 0660)
  quintet create --size 64K --ftok /etc/hosts:q        with the key ftok(\"/etc/hosts\", 'q')
  quintet create sem --values 1,0,5                    a set of three semaphores with these values
  quintet create msg --key 0x4d3                       a message queue";

/// Create a segment, semaphore set or message queue, or find the one with this key, and print its
/// id
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

pub fn run(context: &Context, args: &Args) -> Outcome {
    match &args.command {
        Some(Command::Sem(args)) => sem::run(context, args),
        Some(Command::Msg(args)) => msg::run(context, args),
        Some(Command::Shm(args)) => shm::run(context, args),
        // The word `shm` is optional.
        None => shm::run(context, &args.segment),
    }
}
