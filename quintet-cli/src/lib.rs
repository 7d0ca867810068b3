//! `quintet`: runs unmodified System V IPC programs in user space, and lists, explains and
//! cleans what they use.

mod child;
mod cli;
mod commands;
mod context;
mod deadlock;
mod demo;
mod duration;
mod exit;
mod failure;
mod object;
mod operations;
mod output;
mod preload;
mod process;
mod program;
mod reading;
mod scratch;
mod size;
mod time;
mod users;
mod values;

use cli::Command;
use context::Context;
use exit::Exit;

#[doc(hidden)]
pub use reading::read;

/// The tool.
pub fn main() -> std::process::ExitCode {
    run().into()
}

fn run() -> Exit {
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(exit) => return exit,
    };
    let name = cli.command.name();
    let context = Context::new(cli.global, name);
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
        Command::DemoClient(args) => demo::clients::run(&args),
        Command::Completions(args) => commands::completions::run(&args),
        Command::Man(args) => commands::man::run(&args),
    };
    failure::conclude(&context, outcome)
}
