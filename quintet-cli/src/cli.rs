//! The command line: the subcommands and the global options.

use crate::commands::{cat, completions, create, demo, doctor, ls, man, msg, namespace, rm, run, sem, stat, why, write};
use crate::demo::programs;
use crate::exit::Exit;
use crate::options::GlobalOptions;
use clap::{CommandFactory, Parser, Subcommand};
use std::ffi::OsString;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet demo                             see it at work, step by step
  quintet run -- ./server                  run a program on your own namespace
  quintet ls                               list objects and the processes that use them
  quintet why 4711                         what does process 4711 wait for?
  quintet rm --orphans                     remove what exited programs left behind
  quintet doctor -- ./server               can it be run? if not, why not?";

/// System V IPC in user space: runs unmodified programs on a namespace that is a directory,
/// and inspects and cleans up the objects in it.
#[derive(Parser)]
#[command(name = "quintet", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: GlobalOptions,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    Run(run::Args),
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Stat(stat::Args),
    Create(create::Args),
    Rm(rm::Args),
    Cat(cat::Args),
    Write(write::Args),
    Sem(sem::Args),
    Msg(msg::Args),
    Why(why::Args),
    #[command(visible_alias = "ns")]
    Namespace(namespace::Args),
    Doctor(doctor::Args),
    Demo(demo::Args),
    #[command(hide = true)]
    DemoClient(programs::Args),
    Completions(completions::Args),
    Man(man::Args),
}

impl Command {
    /// Returns the name that JSON output and messages use.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Run(_) => "run",
            Command::Ls(_) => "ls",
            Command::Stat(_) => "stat",
            Command::Create(_) => "create",
            Command::Rm(_) => "rm",
            Command::Cat(_) => "cat",
            Command::Write(_) => "write",
            Command::Sem(args) => args.name(),
            Command::Msg(args) => args.name(),
            Command::Why(_) => "why",
            Command::Namespace(args) => args.name(),
            Command::Doctor(_) => "doctor",
            Command::Demo(_) => "demo",
            Command::DemoClient(_) => "demo-client",
            Command::Completions(_) => "completions",
            Command::Man(_) => "man",
        }
    }
}

/// Parses the command line. Prints the text of `--help`, or the error of an invalid command line.
pub fn parse() -> Result<Cli, Exit> {
    Cli::try_parse().and_then(check).map_err(|error| {
        // If this write fails, there is no other place for the text.
        let _ = error.print();
        match error.exit_code() {
            0 => Exit::Success,
            _ if is_run(std::env::args_os().skip(1)) => Exit::RunFailed,
            _ => Exit::Usage,
        }
    })
}

/// Refuses `--kernel` with `--namespace`. clap misses it if one precedes the subcommand and one
/// follows it.
pub fn check(cli: Cli) -> Result<Cli, clap::Error> {
    if cli.global.kernel && cli.global.namespace.is_some() {
        let message = "the argument '--kernel' cannot be used with '--namespace <DIR>'";
        return Err(Cli::command().error(clap::error::ErrorKind::ArgumentConflict, message));
    }
    Ok(cli)
}

/// Returns the definition of the command line, for completions and manual pages.
pub fn definition() -> clap::Command {
    Cli::command()
}

/// Returns `true` if the subcommand is `run`, as far as an invalid command line shows.
fn is_run(mut args: impl Iterator<Item = OsString>) -> bool {
    while let Some(arg) = args.next() {
        if arg == "--namespace" || arg == "--color" {
            args.next();
        } else if !arg.as_encoded_bytes().starts_with(b"-") {
            return arg == "run";
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        definition().debug_assert();
    }

    #[test]
    fn every_visible_subcommand_ends_with_examples() {
        fn check(command: &clap::Command) {
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let (_, last) = examples.rsplit_once("EXAMPLES:\n  ").unwrap_or_default();
            assert!(last.contains("quintet ") && !last.contains("\n\n"), "{}", command.get_name());
            command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help").for_each(check);
        }
        check(&definition());
    }

    #[test]
    fn an_invalid_run_is_recognised() {
        let args = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>().into_iter();
        assert!(is_run(args("--json --namespace x run --nonsense")));
        assert!(!is_run(args("--namespace run ls --nonsense")));
    }
}
