//! `quintet rm`: removes objects.

mod msg;
mod removal;
mod sem;
mod shm;

use crate::args::object::{self, Object, ObjectStatus};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::json::ErrorView;
use crate::output::text::Page;
use crate::output::{Report, complain, emit};
use crate::system::users::Users;
use crate::view::namespace::NamespaceView;
use quintet::{ModeFlags, Namespace};
use removal::Removal;
use serde::Serialize;
use std::io;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet rm 32769 key:0x4d2               two segments
  quintet rm sem:0                         a semaphore set; blocked processes get EIDRM
  quintet rm msg:0                         a message queue with its messages
  quintet rm --orphans                     what exited programs left behind
  quintet rm --all --dry-run               what would be removed?";

/// Remove objects; a segment in use is marked for destruction, and its last detach destroys it
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[arg(required_unless_present_any = ["orphans", "all"], conflicts_with_all = ["orphans", "all"], value_name = "OBJECT", help = object::HELP)]
    objects: Vec<Object>,

    /// Remove orphans: unused segments, sets and empty queues of creators that have exited
    #[arg(long, conflicts_with = "all")]
    orphans: bool,

    /// Remove all segments, sets and queues
    #[arg(long)]
    all: bool,

    /// Tell what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Removals {
    namespace: NamespaceView,
    dry_run: bool,
    removed: Vec<Removal>,
    errors: Vec<ErrorView>,
}

impl Report for Removals {
    fn text(&self, page: &mut Page) -> io::Result<()> {
        for removal in &self.removed {
            page.line(format_args!("{}", removal.sentence()))?;
            for process in removal.processes() {
                page.line(format_args!("    {}", page.fit(&process, 4)))?;
            }
        }
        if self.removed.is_empty() && self.errors.is_empty() {
            page.line(format_args!("Nothing to remove in {}.", self.namespace.phrase()))?;
        }
        Ok(())
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let ns = context.namespace()?;
    let users = Users::load();
    let mut report =
        Removals { namespace: NamespaceView::new(&ns), dry_run: args.dry_run, removed: Vec::new(), errors: Vec::new() };
    for target in targets(&ns, args)? {
        let removed = target.and_then(|status| match status {
            ObjectStatus::Shm(status) => shm::remove(&ns, &status, args.dry_run, &users),
            ObjectStatus::Sem(status) => sem::remove(&ns, &status, args.dry_run, &users),
            ObjectStatus::Msg(status) => msg::remove(&ns, &status, args.dry_run, &users),
        });
        match removed {
            Ok(removal) => report.removed.push(removal),
            Err(failure) => {
                complain(context, &failure.to_string());
                report.errors.push(ErrorView::from(&failure));
            }
        }
    }
    emit(context, &report)?;
    Ok(if report.errors.is_empty() { Exit::Success } else { Exit::Failure })
}

fn targets(ns: &Namespace, args: &Args) -> Result<Vec<Result<ObjectStatus, Failure>>, Failure> {
    if !args.objects.is_empty() {
        return Ok(args.objects.iter().map(|object| object.status(ns)).collect());
    }
    if !args.dry_run {
        ns.sweep().map_err(|errno| Failure::call("reclaim what exited processes left", errno))?;
    }
    let segments = ns.segments()?.into_iter();
    let segments = segments.filter(|s| !s.stat.flags.contains(ModeFlags::DEST) && (args.all || s.orphan));
    let sets = object::sets(ns)?.into_iter().filter(|s| args.all || s.orphan);
    let queues = object::queues(ns)?.into_iter().filter(|q| args.all || q.orphan);
    let (sets, queues) = (sets.map(ObjectStatus::Sem), queues.map(ObjectStatus::Msg));
    Ok(segments.map(ObjectStatus::Shm).chain(sets).chain(queues).map(Ok).collect())
}
