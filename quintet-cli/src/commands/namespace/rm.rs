//! `quintet namespace rm`.

use crate::commands::view::{NamespaceView, ProcessView};
use crate::context::{self, Context};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::text::Page;
use crate::output::{Report, emit};
use crate::users::Users;
use quintet::{Errno, Namespace};
use serde::Serialize;
use std::io;
use std::path::PathBuf;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet namespace rm ~/ipc
  quintet namespace rm --force ~/ipc       even while processes use it, or when it is damaged";

/// Remove a namespace with all its objects; refused while processes use it
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The namespace's directory
    dir: PathBuf,

    /// Remove it although processes use it: they keep what they have attached, and find nothing more
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Removed {
    namespace: NamespaceView,
}

impl Report for Removed {
    fn text(&self, page: &mut Page) -> io::Result<()> {
        page.line(format_args!("removed {}", self.namespace.sentence()))
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    context.refuse_kernel()?;
    context.refuse_namespace("the directory is an argument")?;
    let ns = match context::open(&args.dir) {
        Ok(ns) => ns,
        // Who forces it wants it gone also when it cannot be opened any more.
        Err(failure) if args.force && matches!(failure.number(), Some(Errno::BADMSG | Errno::PROTONOSUPPORT)) => {
            Namespace::destroy_damaged(&args.dir)?;
            let namespace = NamespaceView::damaged(&args.dir);
            emit(context, &Removed { namespace })?;
            return Ok(Exit::Success);
        }
        Err(failure) => return Err(failure),
    };
    let namespace = NamespaceView::new(&ns);
    let in_use = users_of(&ns);
    ns.destroy(args.force).map_err(|error| match error.errno() {
        Errno::BUSY => Failure::new(format!("cannot remove {}: processes use it: {in_use} (EBUSY)", namespace.sentence()))
            .errno(Errno::BUSY)
            .remedy("end them, or give --force"),
        _ => error.into(),
    })?;
    emit(context, &Removed { namespace })?;
    Ok(Exit::Success)
}

fn users_of(ns: &Namespace) -> String {
    let users = Users::load();
    let processes = ns.participants().unwrap_or_default();
    processes.iter().map(|p| ProcessView::new(p, &users).sentence()).collect::<Vec<_>>().join(", ")
}
