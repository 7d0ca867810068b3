//! `quintet man`: manual pages, from the definitions of the command line.

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use clap::Command;
use clap_mangen::Man;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
EXAMPLES:
  quintet man | man -l -
  quintet man /usr/local/share/man/man1    quintet.1, quintet-ls.1, ...";

/// Print the manual page, or write those of all subcommands to a directory
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where to write quintet.1, quintet-ls.1 and the others
    dir: Option<PathBuf>,
}

pub fn run(args: &Args, definition: Command) -> Outcome {
    let mut root = definition.disable_help_subcommand(true);
    root.build();
    match &args.dir {
        None => io::stdout().lock().write_all(&page(&root, "quintet")?)?,
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(|e| Failure::io("create the directory", dir, &e))?;
            write_pages(&root, "quintet", dir)?;
        }
    }
    Ok(Exit::Success)
}

fn write_pages(command: &Command, name: &str, dir: &Path) -> Result<(), Failure> {
    let path = dir.join(format!("{name}.1"));
    std::fs::write(&path, page(command, name)?).map_err(|e| Failure::io("write", &path, &e))?;
    for subcommand in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        write_pages(subcommand, &format!("{name}-{}", subcommand.get_name()), dir)?;
    }
    Ok(())
}

fn page(command: &Command, name: &str) -> io::Result<Vec<u8>> {
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let command = command.clone().display_name(name.to_owned()).after_help("");
    let source = format!("quintet {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).title(name.to_uppercase()).source(source).manual("Quintet");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.get_subcommands().any(|c| !c.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    render_examples(&examples, &mut page)?;
    Ok(page)
}

/// The text after the options: headings in capitals, and lines that stay as they are.
fn render_examples(text: &str, page: &mut Vec<u8>) -> io::Result<()> {
    let mut open = false;
    for line in text.lines() {
        if let Some(heading) = line.strip_suffix(':').filter(|h| !h.starts_with(' ')) {
            writeln!(page, "{}.SH \"{heading}\"\n.nf", if open { ".fi\n" } else { "" })?;
            open = true;
        } else {
            // A dot or quote at a line's start would be a request; none of ours starts so, for they are indented.
            writeln!(page, "{}", line.replace('\\', "\\e").replace('-', "\\-"))?;
        }
    }
    if open { writeln!(page, ".fi") } else { Ok(()) }
}
