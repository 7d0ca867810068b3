//! `quintet stat`: everything about one object.

use super::view::{NamespaceView, SegmentView};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::object::{self, Object};
use crate::output::json::Error;
use crate::output::text::{BOLD, Page};
use crate::output::{Report, complain, emit};
use crate::size::spoken;
use crate::time::local;
use crate::users::Users;
use serde::Serialize;
use std::io;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet stat 32769                       by identifier
  quintet stat key:0x4d2                   by key
  quintet stat --kernel shm:0 --json       a kernel's segment, for programs";

/// Show everything about objects
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[arg(required = true, value_name = "OBJECT", help = object::HELP)]
    objects: Vec<Object>,
}

#[derive(Serialize)]
struct Details {
    namespace: NamespaceView,
    shm: Vec<SegmentView>,
    errors: Vec<Error>,
}

impl Report for Details {
    fn text(&self, page: &mut Page) -> io::Result<()> {
        for (i, segment) in self.shm.iter().enumerate() {
            if i > 0 {
                page.gap()?;
            }
            describe(segment, &self.namespace, page)?;
        }
        Ok(())
    }
}

fn describe(segment: &SegmentView, namespace: &NamespaceView, page: &mut Page) -> io::Result<()> {
    page.line(format_args!("{BOLD}Segment {}{BOLD:#} in {}", segment.id, namespace.sentence()))?;
    let mut field = |name: &str, value: String| page.line(format_args!("  {name:<10} {value}"));
    let private = if segment.key.number == 0 { " (IPC_PRIVATE: no key finds it)" } else { "" };
    field("key", format!("{}{private}", segment.key.text))?;
    let spoken = if segment.size < 1024 { String::new() } else { format!(" ({})", spoken(segment.size)) };
    field("size", format!("{} bytes{spoken}, {} bytes of memory in use", segment.size, segment.resident))?;
    field("mode", format!("{} ({:04o})", segment.mode_text, segment.mode))?;
    field("owner", format!("{} (uid {}, gid {})", segment.owner.user, segment.owner.uid, segment.owner.gid))?;
    field(
        "creator",
        format!("{} (uid {}, gid {}), pid {}", segment.creator.user, segment.creator.uid, segment.creator.gid, segment.cpid),
    )?;
    field("status", status(segment))?;
    field("last pid", if segment.lpid == 0 { "-".to_owned() } else { segment.lpid.to_string() })?;
    for (name, time) in [("attached", segment.atime), ("detached", segment.dtime), ("changed", segment.ctime)] {
        field(name, local(time))?;
    }
    field("nattch", segment.nattch.to_string())?;
    for process in &segment.attached {
        field("", process.sentence())?;
    }
    Ok(())
}

fn status(segment: &SegmentView) -> String {
    let explain = |word: &&str| match *word {
        "dest" => "dest (removed; goes with the last detach)".to_owned(),
        "locked" => "locked (kept out of swap)".to_owned(),
        other => other.to_owned(),
    };
    let mut words: Vec<String> = segment.status.iter().map(explain).collect();
    if segment.orphan {
        words.push("orphan (nobody is attached and its creator is gone)".to_owned());
    }
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let ns = context.namespace()?;
    let users = Users::load();
    let mut details = Details { namespace: NamespaceView::new(&ns), shm: Vec::new(), errors: Vec::new() };
    for object in &args.objects {
        match object.status(&ns) {
            Ok(status) => details.shm.push(SegmentView::new(&status, &users)),
            Err(failure) => {
                complain(context, &failure.to_string());
                details.errors.push(Error::from(&failure));
            }
        }
    }
    emit(context, &details)?;
    Ok(if details.errors.is_empty() { Exit::Success } else { Exit::Failure })
}
