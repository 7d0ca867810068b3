//! `quintet rm`: removes segments.

use super::view::{NamespaceView, ProcessView, SegmentView};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::object::{self, Object};
use crate::output::json::Error;
use crate::output::text::Page;
use crate::output::{Report, complain, emit};
use crate::users::Users;
use quintet::{Errno, ModeFlags, Namespace, SegmentStatus};
use serde::Serialize;
use std::io;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet rm 32769 key:0x4d2               two segments
  quintet rm --orphans                     those that dead programs left behind
  quintet rm --all --dry-run               what would go?";

/// Remove segments; one that is in use goes when its last user detaches
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[arg(required_unless_present_any = ["orphans", "all"], conflicts_with_all = ["orphans", "all"], value_name = "OBJECT", help = object::HELP)]
    objects: Vec<Object>,

    /// Remove the segments to which nobody is attached and whose creator is gone
    #[arg(long, conflicts_with = "all")]
    orphans: bool,

    /// Remove every segment
    #[arg(long)]
    all: bool,

    /// Tell what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

/// What became of one segment.
#[derive(Serialize)]
struct Removal {
    id: i32,
    key: super::view::KeyView,
    size: u64,
    /// `removed`, `marked` (dest), `would-remove`, `would-mark`.
    result: &'static str,
    kept_by: Vec<ProcessView>,
}

#[derive(Serialize)]
struct Removals {
    namespace: NamespaceView,
    dry_run: bool,
    removed: Vec<Removal>,
    errors: Vec<Error>,
}

impl Report for Removals {
    fn text(&self, page: &mut Page) -> io::Result<()> {
        for removal in &self.removed {
            let Removal { id, key, size, .. } = removal;
            let name = format!("segment {id} (key {}, {size} bytes)", key.text);
            match removal.result {
                "removed" => page.line(format_args!("removed {name}"))?,
                "would-remove" => page.line(format_args!("would remove {name}"))?,
                "marked" => page.line(format_args!("marked {name} dest: it goes when the last of these detaches"))?,
                _ => page.line(format_args!("would mark {name} dest: it would go when the last of these detaches"))?,
            }
            for process in &removal.kept_by {
                page.line(format_args!("    {}", page.fit(&process.sentence(), 4)))?;
            }
        }
        if self.removed.is_empty() && self.errors.is_empty() {
            page.line(format_args!("Nothing to remove in {}.", self.namespace.sentence()))?;
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
        let removed = target.and_then(|status| remove(&ns, &status, args.dry_run, &users));
        match removed {
            Ok(removal) => report.removed.push(removal),
            Err(failure) => {
                complain(context, &failure.to_string());
                report.errors.push(Error::from(&failure));
            }
        }
    }
    emit(context, &report)?;
    Ok(if report.errors.is_empty() { Exit::Success } else { Exit::Failure })
}

fn targets(ns: &Namespace, args: &Args) -> Result<Vec<Result<SegmentStatus, Failure>>, Failure> {
    if !args.objects.is_empty() {
        return Ok(args.objects.iter().map(|object| object.status(ns)).collect());
    }
    if !args.dry_run {
        ns.sweep().map_err(|e| Failure::new(format!("cannot clear what dead processes left: {e}")).errno(e))?;
    }
    let gone = |s: &SegmentStatus| s.stat.flags.contains(ModeFlags::DEST);
    let wanted = |s: &SegmentStatus| !gone(s) && (args.all || s.orphan);
    Ok(ns.segments()?.into_iter().filter(wanted).map(Ok).collect())
}

fn remove(ns: &Namespace, status: &SegmentStatus, dry_run: bool, users: &Users) -> Result<Removal, Failure> {
    let id = status.stat.id;
    let mut view = SegmentView::new(status, users);
    let kept = if dry_run {
        status.stat.nattch > 0
    } else {
        ns.shm_remove(id.raw()).map_err(|errno| refusal(&view, errno))?;
        // Asked again: whoever has come or gone meanwhile decides.
        match ns.segments()?.iter().find(|s| s.stat.id == id) {
            Some(now) => {
                view.attached = SegmentView::new(now, users).attached;
                true
            }
            None => false,
        }
    };
    let result = match (dry_run, kept) {
        (false, false) => "removed",
        (false, true) => "marked",
        (true, false) => "would-remove",
        (true, true) => "would-mark",
    };
    let kept_by = if kept { view.attached } else { Vec::new() };
    Ok(Removal { id: view.id, key: view.key, size: view.size, result, kept_by })
}

fn refusal(segment: &SegmentView, errno: Errno) -> Failure {
    let (id, owner) = (segment.id, &segment.owner.user);
    let failure = Failure::new(match errno {
        Errno::PERM => {
            format!("cannot remove segment {id}: it belongs to {owner}, and only owner and creator may do this (EPERM)")
        }
        Errno::INVAL => format!("cannot remove segment {id}: it is gone already (EINVAL)"),
        _ => format!("cannot remove segment {id}: {errno}"),
    });
    failure.errno(errno)
}
