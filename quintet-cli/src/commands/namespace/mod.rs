//! `quintet namespace`: creates, lists, limits and removes namespaces.

mod create;
mod limits;
mod ls;
mod rm;

use crate::context::Context;
use crate::failure::Outcome;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet namespace create --shared /srv/ipc
  quintet namespace ls
  quintet namespace limits --shmmni 100";

/// Create, list, limit and remove namespaces
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Create(create::Args),
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Rm(rm::Args),
    Limits(limits::Args),
}

impl Args {
    pub fn name(&self) -> &'static str {
        match self.command {
            Command::Create(_) => "namespace create",
            Command::Ls(_) => "namespace ls",
            Command::Rm(_) => "namespace rm",
            Command::Limits(_) => "namespace limits",
        }
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    match &args.command {
        Command::Create(args) => create::run(context, args),
        Command::Ls(args) => ls::run(context, args),
        Command::Rm(args) => rm::run(context, args),
        Command::Limits(args) => limits::run(context, args),
    }
}
