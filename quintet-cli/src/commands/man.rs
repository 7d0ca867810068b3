//! `quintet man`: prints manual pages, from the definitions of the command line.

mod page;
mod roff;
mod topics;

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use clap::Command;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
EXAMPLES:
  quintet man | man -l -                   read quintet(1)
  quintet man ./pages                      write quintet.1, quintet-ls.1, ... and quintet.7
  install -Dm644 -t /usr/local/share/man/man1 ./pages/*.1
  install -Dm644 -t /usr/local/share/man/man7 ./pages/*.7";

/// Print the manual page, or write the pages of all commands to a directory
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Directory for quintet.1, quintet-ls.1 and the other pages
    dir: Option<PathBuf>,
}

pub fn run(args: &Args, definition: Command) -> Outcome {
    let mut root = definition.disable_help_subcommand(true);
    root.build();
    match &args.dir {
        None => io::stdout().lock().write_all(page::of(&root, "quintet").as_bytes())?,
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(|e| Failure::io("create the directory", dir, &e))?;
            write_pages(&root, "quintet", dir)?;
            write(&dir.join("quintet.7"), &page::overview())?;
        }
    }
    Ok(Exit::Success)
}

/// Writes the page of `command` and those of its subcommands.
fn write_pages(command: &Command, name: &str, dir: &Path) -> Result<(), Failure> {
    write(&dir.join(format!("{name}.1")), &page::of(command, name))?;
    for subcommand in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        write_pages(subcommand, &format!("{name}-{}", subcommand.get_name()), dir)?;
    }
    Ok(())
}

fn write(path: &Path, page: &str) -> Result<(), Failure> {
    std::fs::write(path, page).map_err(|e| Failure::io("write", path, &e))
}
