//! `quintet ls`: lists the objects of a namespace and the processes that use them.

mod msg;
mod section;
mod sem;
mod shm;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::text::{DIM, Page};
use crate::output::{Report, emit};
use crate::system::users::Users;
use crate::view::namespace::NamespaceView;
use section::Section;
use serde::Serialize;
use std::io;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet ls                               the default namespace
  quintet ls --long                        every column
  quintet ls --kernel                      the kernel's own objects
  quintet ls --json | jq '.sem[].nsems'    for scripts";

/// List the objects of a namespace, and the processes that are attached or blocked
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Show every column, with process ids and times
    #[arg(short, long)]
    long: bool,
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
    /// Returns the sections in the order in which they are shown.
    fn sections(&self) -> [&dyn Section; 3] {
        [&self.shm, &self.sem, &self.msg]
    }
}

impl Report for Listing {
    fn text(&self, page: &mut Page) -> io::Result<()> {
        let filled: Vec<_> = self.sections().into_iter().filter(|s| !s.is_empty()).collect();
        if filled.is_empty() {
            return page.line(format_args!("No objects in {}.", self.namespace.phrase()));
        }
        for (i, section) in filled.iter().enumerate() {
            if i > 0 {
                page.gap()?;
            }
            page.line(format_args!("{DIM}{} in {}{DIM:#}", section.heading(), self.namespace.phrase()))?;
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
