//! `quintet completions`: prints the completions of a shell.

use crate::exit::Exit;
use crate::failure::Outcome;
use clap_complete::Shell;
use std::io::{self, Write};

const EXAMPLES: &str = "\
EXAMPLES:
  quintet completions bash > ~/.local/share/bash-completion/completions/quintet
  quintet completions zsh  > ~/.zfunc/_quintet
  quintet completions fish > ~/.config/fish/completions/quintet.fish";

/// Print a completion script for a shell
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The shell
    shell: Shell,
}

/// `definition` is the definition of the command line.
pub fn run(args: &Args, mut definition: clap::Command) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut definition, "quintet", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(Exit::Success)
}
