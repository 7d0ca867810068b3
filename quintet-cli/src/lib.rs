//! `quintet`: runs unmodified System V IPC programs in user space, inspects their objects, and
//! cleans up after them.
//!
//! Each layer imports only the layers below it:
//!
//! | layer | holds |
//! |---|---|
//! | `lib.rs` | the entry: parse, dispatch, report a failure |
//! | `fuzzing.rs` | the parsers, for a fuzzer |
//! | `cli.rs` | the list of subcommands |
//! | `commands/` | the subcommands: options, work and report of each |
//! | `demo/`, `view/`, `deadlock.rs` | demonstration; objects as text and JSON; deadlocks |
//! | `args/`, `system/`, `preload/` | values; processes, users, programs; drop-in library |
//! | `output/` | text, tables, JSON, hexadecimal, base64 |
//! | `context.rs` | what the global options decide: namespace and look of the output |
//! | `failure.rs`, `hint.rs` | error sentences, and the commands in them |
//! | `options.rs`, `exit.rs`, `words.rs` | global options, exit codes, words |

mod args;
mod cli;
mod commands;
mod context;
mod deadlock;
mod demo;
mod exit;
mod failure;
mod fuzzing;
mod hint;
mod options;
mod output;
mod preload;
mod system;
mod view;
mod words;

use cli::Command;
use context::Context;
use exit::Exit;
use failure::Outcome;

#[doc(hidden)]
pub use fuzzing::read;

/// Runs the tool on the arguments of this process.
pub fn main() -> std::process::ExitCode {
    run().into()
}

fn run() -> Exit {
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(exit) => return exit,
    };
    let context = Context::new(cli.global, cli.command.name());
    let outcome = match cli.command {
        Command::Run(args) => commands::run::run(&context, &args),
        Command::Ls(args) => commands::ls::run(&context, &args),
        Command::Stat(args) => commands::stat::run(&context, &args),
        Command::Create(args) => commands::create::run(&context, &args),
        Command::Rm(args) => commands::rm::run(&context, &args),
        Command::Cat(args) => commands::cat::run(&context, &args),
        Command::Write(args) => commands::write::run(&context, &args),
        Command::Sem(args) => commands::sem::run(&context, &args),
        Command::Msg(args) => commands::msg::run(&context, &args),
        Command::Why(args) => commands::why::run(&context, &args),
        Command::Namespace(args) => commands::namespace::run(&context, &args),
        Command::Doctor(args) => commands::doctor::run(&context, &args),
        Command::Demo(args) => commands::demo::run(&context, &args),
        Command::DemoClient(args) => demo::programs::run(&args),
        Command::Completions(args) => commands::completions::run(&args, cli::definition()),
        Command::Man(args) => commands::man::run(&args, cli::definition()),
    };
    conclude(&context, outcome)
}

/// Reports a failure, if there is one, and returns the exit code.
fn conclude(context: &Context, outcome: Outcome) -> Exit {
    match outcome {
        Ok(exit) => exit,
        Err(failure) if failure.is_reader_gone() => Exit::Success,
        Err(failure) => {
            if context.json() {
                // If this write fails, the sentence on standard error still follows.
                let _ = output::json::error(context, &failure);
            }
            output::complain(context, &failure.to_string());
            failure.exit_code()
        }
    }
}
