//! `quintet sem`: operates on the semaphores of a set, for scripts.

mod errors;
mod get;
mod op;
mod set;

use crate::context::Context;
use crate::failure::Outcome;

const EXAMPLES: &str = "\
EXAMPLES:
  id=$(quintet create sem --values 1)      a lock
  quintet sem op $id 0:-1 -- make install  hold it while make runs
  quintet sem op $id 0:+1                  let one more process hold it
  quintet sem get $id 0
  quintet sem set $id 0 1";

/// Operate on the semaphores of a set: take, release or wait for zero; read and set values
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Op(op::Args),
    Get(get::Args),
    Set(set::Args),
}

impl Args {
    pub fn name(&self) -> &'static str {
        match self.command {
            Command::Op(_) => "sem op",
            Command::Get(_) => "sem get",
            Command::Set(_) => "sem set",
        }
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    match &args.command {
        Command::Op(args) => op::run(context, args),
        Command::Get(args) => get::run(context, args),
        Command::Set(args) => set::run(context, args),
    }
}
