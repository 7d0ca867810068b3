//! Everything about a segment.

use crate::commands::view::{NamespaceView, SegmentView};
use crate::output::text::{BOLD, Page};
use crate::size::spoken;
use crate::time::local;
use std::io;

pub fn describe(segment: &SegmentView, namespace: &NamespaceView, page: &mut Page) -> io::Result<()> {
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
