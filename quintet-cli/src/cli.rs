//! The command line: subcommands and the options that all of them share.

use crate::commands::{cat, completions, create, demo, doctor, ls, man, msg, namespace, rm, run, sem, stat, why, write};
use crate::demo::clients;
use crate::exit::Exit;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet demo                             see the main job done, step by step
  quintet run -- ./server                  run a program on your own namespace
  quintet ls                               what is there, and who is attached
  quintet why 4711                         what does this process wait for, and who has it?
  quintet rm --orphans                     clear what dead programs left
  quintet doctor -- ./server               can it be run? if not, why not?";

/// System V IPC in user space: runs unmodified programs on a namespace that is a directory,
/// and lists, explains and cleans what is in it.
#[derive(Parser)]
#[command(name = "quintet", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// The options that every subcommand has.
#[derive(Args, Clone, Debug, Default)]
pub struct Global {
    /// The namespace's directory [env: QUINTET_NAMESPACE] [default: /dev/shm/quintet-UID]
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "kernel", help_heading = "Global options")]
    pub namespace: Option<PathBuf>,

    /// The kernel's own System V IPC objects instead of a directory's
    #[arg(long, global = true, help_heading = "Global options")]
    pub kernel: bool,

    /// Print one JSON object, of the shape that docs/json.md describes
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,

    /// When to print in colours; auto: on a terminal, if NO_COLOR is not set
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t, help_heading = "Global options")]
    pub color: Color,
}

/// When to print in colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Color {
    /// On a terminal, if NO_COLOR is not set
    #[default]
    Auto,
    /// Also into a pipe or file
    Always,
    /// Not at all
    Never,
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
    DemoClient(clients::Args),
    Completions(completions::Args),
    Man(man::Args),
}

impl Command {
    /// The name under which JSON output and messages speak of it.
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

/// Reads the command line; for `--help` and mistakes prints what is to be said.
pub fn parse() -> Result<Cli, Exit> {
    Cli::try_parse().and_then(consistent).map_err(|error| {
        // Nothing is left to say if even this cannot be printed.
        let _ = error.print();
        match error.exit_code() {
            0 => Exit::Success,
            _ if runs_a_program(std::env::args_os().skip(1)) => Exit::RunFailed,
            _ => Exit::Usage,
        }
    })
}

/// What clap does not see when one option stands before the subcommand and the other after it.
pub fn consistent(cli: Cli) -> Result<Cli, clap::Error> {
    if cli.global.kernel && cli.global.namespace.is_some() {
        let message = "the argument '--kernel' cannot be used with '--namespace <DIR>'";
        return Err(Cli::command().error(clap::error::ErrorKind::ArgumentConflict, message));
    }
    Ok(cli)
}

/// The definitions from which completions and manual pages are made.
pub fn definition() -> clap::Command {
    Cli::command()
}

/// Whether the subcommand is `run`, as far as a command line with a mistake in it tells.
fn runs_a_program(mut args: impl Iterator<Item = OsString>) -> bool {
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
    fn the_definitions_are_consistent() {
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
    fn mistakes_of_run_are_told_from_others() {
        let args = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>().into_iter();
        assert!(runs_a_program(args("--json --namespace x run --nonsense")));
        assert!(!runs_a_program(args("--namespace run ls --nonsense")));
    }
}
