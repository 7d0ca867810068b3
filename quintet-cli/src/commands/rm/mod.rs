//! `quintet rm`: removes objects.

mod msg;
mod sem;
mod shm;

use super::view::{KeyView, NamespaceView, ProcessView, Who, count};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::object::{self, Object, Status};
use crate::output::json::Error;
use crate::output::text::Page;
use crate::output::{Report, complain, emit};
use crate::users::Users;
use quintet::{Errno, ModeFlags, Namespace};
use serde::Serialize;
use std::io;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet rm 32769 key:0x4d2               two segments
  quintet rm sem:0                         a semaphore set; whoever waits for it gets EIDRM
  quintet rm msg:0                         a message queue, with its messages
  quintet rm --orphans                     what dead programs left behind
  quintet rm --all --dry-run               what would go?";

/// Remove objects; a segment that is in use goes when its last user detaches
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[arg(required_unless_present_any = ["orphans", "all"], conflicts_with_all = ["orphans", "all"], value_name = "OBJECT", help = object::HELP)]
    objects: Vec<Object>,

    /// Remove the segments, sets and empty queues that nobody uses and whose creator is gone
    #[arg(long, conflicts_with = "all")]
    orphans: bool,

    /// Remove every segment, every set and every queue
    #[arg(long)]
    all: bool,

    /// Tell what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

/// What became of one object.
#[derive(Serialize)]
struct Removal {
    /// `shm`, `sem` or `msg`.
    class: &'static str,
    id: i32,
    key: KeyView,
    /// Of a segment.
    size: Option<u64>,
    /// Of a set.
    nsems: Option<u32>,
    /// Of a queue: how many were in it.
    messages: Option<u64>,
    /// `removed`, `marked` (dest), `would-remove`, `would-mark`.
    result: &'static str,
    /// Who is attached to a segment, and so keeps it.
    kept_by: Vec<ProcessView>,
    /// Who waited for a set or at a queue, and does so no more.
    woken: Vec<Who>,
}

impl Removal {
    /// "segment 7 (key 0x000004d2, 4096 bytes)", and so of the others "3 semaphores", "2 messages".
    fn name(&self) -> String {
        let Removal { id, key, .. } = self;
        match (self.size, self.nsems, self.messages) {
            (_, Some(nsems), _) => format!("semaphore set {id} (key {}, {})", key.text, count(nsems, "semaphore")),
            (_, _, Some(messages)) => format!("message queue {id} (key {}, {})", key.text, count(messages, "message")),
            (size, ..) => format!("segment {id} (key {}, {} bytes)", key.text, size.unwrap_or(0)),
        }
    }
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
            let name = removal.name();
            let place = if removal.class == "msg" { "at" } else { "for" };
            let woken = match (removal.woken.is_empty(), self.dry_run) {
                (true, _) => String::new(),
                (false, false) => format!("; these waited {place} it, and get EIDRM"),
                (false, true) => format!("; these wait {place} it, and would get EIDRM"),
            };
            match removal.result {
                "removed" => page.line(format_args!("removed {name}{woken}"))?,
                "would-remove" => page.line(format_args!("would remove {name}{woken}"))?,
                "marked" => page.line(format_args!("marked {name} dest: it goes when the last of these detaches"))?,
                _ => page.line(format_args!("would mark {name} dest: it would go when the last of these detaches"))?,
            }
            let kept = removal.kept_by.iter().map(ProcessView::sentence);
            for process in kept.chain(removal.woken.iter().map(Who::sentence)) {
                page.line(format_args!("    {}", page.fit(&process, 4)))?;
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
        let removed = target.and_then(|status| match status {
            Status::Shm(status) => shm::remove(&ns, &status, args.dry_run, &users),
            Status::Sem(status) => sem::remove(&ns, &status, args.dry_run, &users),
            Status::Msg(status) => msg::remove(&ns, &status, args.dry_run, &users),
        });
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

fn targets(ns: &Namespace, args: &Args) -> Result<Vec<Result<Status, Failure>>, Failure> {
    if !args.objects.is_empty() {
        return Ok(args.objects.iter().map(|object| object.status(ns)).collect());
    }
    if !args.dry_run {
        ns.sweep().map_err(|e| Failure::new(format!("cannot clear what dead processes left: {e}")).errno(e))?;
    }
    let segments = ns.segments()?.into_iter();
    let segments = segments.filter(|s| !s.stat.flags.contains(ModeFlags::DEST) && (args.all || s.orphan));
    let sets = object::sets(ns)?.into_iter().filter(|s| args.all || s.orphan);
    let queues = object::queues(ns)?.into_iter().filter(|q| args.all || q.orphan);
    Ok(segments.map(Status::Shm).chain(sets.map(Status::Sem)).chain(queues.map(Status::Msg)).map(Ok).collect())
}

/// Why `what`, which belongs to `owner`, could not be removed.
fn refusal(what: &str, owner: &str, errno: Errno) -> Failure {
    Failure::new(match errno {
        Errno::PERM => format!("cannot remove {what}: it belongs to {owner}, and only owner and creator may do this (EPERM)"),
        Errno::INVAL | Errno::IDRM => format!("cannot remove {what}: it is gone already ({errno:?})"),
        _ => format!("cannot remove {what}: {errno}"),
    })
    .errno(errno)
}
