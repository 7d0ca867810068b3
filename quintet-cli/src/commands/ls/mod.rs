//! `quintet ls`: what is in a namespace, and who uses it.

mod msg;
mod sem;
mod shm;

use super::view::NamespaceView;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::text::{DIM, Page};
use crate::output::{Report, emit};
use crate::users::Users;
use serde::Serialize;
use std::io;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet ls                               the default namespace
  quintet ls --long                        every column
  quintet ls --kernel                      the kernel's own objects
  quintet ls --json | jq '.sem[].nsems'    for programs";

/// List the objects of a namespace, and who is attached to them or waits for them
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Show every column: also process ids and times
    #[arg(short, long)]
    long: bool,
}

/// The objects of one class.
trait Section {
    /// What the section is called.
    fn heading(&self) -> &'static str;
    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool;
    /// Prints its table.
    fn print(&self, page: &mut Page, long: bool) -> io::Result<()>;
}

#[derive(Serialize)]
struct Listing {
    namespace: NamespaceView,
    shm: shm::Segments,
    sem: sem::Sets,
    msg: msg::Queues,
    #[serde(skip)]
    long: bool,
}

impl Listing {
    /// The classes, in the order in which they are shown.
    fn sections(&self) -> [&dyn Section; 3] {
        [&self.shm, &self.sem, &self.msg]
    }
}

impl Report for Listing {
    fn text(&self, page: &mut Page) -> io::Result<()> {
        let filled: Vec<_> = self.sections().into_iter().filter(|s| !s.is_empty()).collect();
        if filled.is_empty() {
            return page.line(format_args!("Nothing in {}.", self.namespace.sentence()));
        }
        for (i, section) in filled.iter().enumerate() {
            if i > 0 {
                page.gap()?;
            }
            page.line(format_args!("{DIM}{} in {}{DIM:#}", section.heading(), self.namespace.sentence()))?;
            section.print(page, self.long)?;
        }
        Ok(())
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let ns = context.namespace()?;
    let users = Users::load();
    let (shm, sem) = (shm::Segments::read(&ns, &users)?, sem::Sets::read(&ns, &users)?);
    let msg = msg::Queues::read(&ns, &users)?;
    let listing = Listing { namespace: NamespaceView::new(&ns), shm, sem, msg, long: args.long };
    emit(context, &listing)?;
    Ok(Exit::Success)
}
