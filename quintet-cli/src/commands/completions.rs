//! `quintet completions`: for the shell.

use crate::cli;
use crate::exit::Exit;
use crate::failure::Outcome;
use clap_complete::Shell;
use std::io::{self, Write};

const EXAMPLES: &str = "\
EXAMPLES:
  quintet completions bash > ~/.local/share/bash-completion/completions/quintet
  quintet completions zsh  > ~/.zfunc/_quintet
  quintet completions fish > ~/.config/fish/completions/quintet.fish";

/// Print the completions of a shell
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    shell: Shell,
}

pub fn run(args: &Args) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli::definition(), "quintet", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(Exit::Success)
}
