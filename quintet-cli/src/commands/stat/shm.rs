//! The details of a segment.

use crate::output::text::{BOLD, Page};
use crate::view::namespace::NamespaceView;
use crate::view::process::pid_cell;
use crate::view::segment::SegmentView;
use crate::words::{count, local_time, size};
use std::io;

pub fn describe(segment: &SegmentView, namespace: &NamespaceView, page: &mut Page) -> io::Result<()> {
    page.line(format_args!("{BOLD}Segment {}{BOLD:#} in {}", segment.id, namespace.phrase()))?;
    let mut field = |name: &str, value: String| page.line(format_args!("  {name:<10} {value}"));
    field("key", segment.key.explained())?;
    let rounded = if segment.size < 1024 { String::new() } else { format!(" ({})", size(segment.size)) };
    let (bytes, resident) = (count(segment.size, "byte"), count(segment.resident, "byte"));
    field("size", format!("{bytes}{rounded}, {resident} of memory in use"))?;
    field("mode", format!("{} ({:04o})", segment.mode_text, segment.mode))?;
    field("owner", segment.owner.phrase())?;
    field("creator", format!("{}, pid {}", segment.creator.phrase(), segment.cpid))?;
    field("status", status(segment))?;
    field("last pid", pid_cell(segment.lpid))?;
    for (name, time) in [("attached", segment.atime), ("detached", segment.dtime), ("changed", segment.ctime)] {
        field(name, local_time(time))?;
    }
    field("nattch", segment.nattch.to_string())?;
    for process in &segment.attached {
        field("", process.phrase())?;
    }
    Ok(())
}

fn status(segment: &SegmentView) -> String {
    let explain = |word: &&str| match *word {
        "dest" => "dest (marked for destruction by the last detach)".to_owned(),
        "locked" => "locked (in memory, never swapped)".to_owned(),
        other => other.to_owned(),
    };
    let mut words: Vec<String> = segment.status.iter().map(explain).collect();
    if segment.orphan {
        words.push("orphan (no process is attached, and its creator has exited)".to_owned());
    }
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}
