//! The details of a message queue.

use crate::output::table::{Column, Row, Table};
use crate::output::text::{BOLD, Page};
use crate::view::namespace::NamespaceView;
use crate::view::queue::{CallView, QueueView, QueueWaiterView};
use crate::words::{count, local_time};
use std::io;

pub fn describe(queue: &QueueView, namespace: &NamespaceView, page: &mut Page) -> io::Result<()> {
    page.line(format_args!("{BOLD}Message queue {}{BOLD:#} in {}", queue.id, namespace.phrase()))?;
    let mut field = |name: &str, value: String| page.line(format_args!("  {name:<10} {value}"));
    field("key", queue.key.explained())?;
    field("mode", format!("{} ({:04o})", queue.mode_text, queue.mode))?;
    for (name, user) in [("owner", &queue.owner), ("creator", &queue.creator)] {
        field(name, user.phrase())?;
    }
    let orphan = "orphan (it is empty, no process is blocked, and its creator has exited)";
    field("status", if queue.orphan { orphan } else { "-" }.to_owned())?;
    field("messages", format!("{}, {} of {}", queue.messages, queue.bytes, count(queue.capacity, "byte")))?;
    if let Some(oldest) = &queue.oldest {
        field("oldest", format!("{}{}", oldest.phrase(), oldest.origin()))?;
    }
    for (name, time, pid) in [("last send", queue.stime, queue.lspid), ("last recv", queue.rtime, queue.lrpid)] {
        field(name, if pid == 0 { "-".to_owned() } else { format!("{} by pid {pid}", local_time(time)) })?;
    }
    field("changed", local_time(queue.ctime))?;
    match &queue.waiters {
        Some(waiters) => {
            field("waiting", waiters.len().to_string())?;
            for waiter in waiters {
                field("", waiting(waiter))?;
            }
        }
        None => field("waiting", "unknown (the kernel does not list waiters)".to_owned())?,
    }
    types(queue, namespace, page)
}

/// Returns "for a message of type 3 (up to 64 bytes) since 2026-11-20 10:00:00: pid 12 (ann)
/// ./worker".
fn waiting(waiter: &QueueWaiterView) -> String {
    let buffer = match waiter.call {
        CallView::Receive { size, noerror, .. } => {
            let truncated = if noerror { ", truncated" } else { "" };
            format!(" (up to {}{truncated})", count(size as u64, "byte"))
        }
        CallView::Send { .. } => String::new(),
    };
    format!("for {}{buffer} since {}: {}", waiter.call.awaited(), local_time(waiter.since), waiter.process.phrase())
}

fn types(queue: &QueueView, namespace: &NamespaceView, page: &mut Page) -> io::Result<()> {
    let Some(types) = &queue.types else {
        let reason = match namespace.path {
            Some(_) => "the mode denies read permission".to_owned(),
            None => format!("'quintet --kernel msg peek {}' shows the messages", queue.id),
        };
        return page.line(format_args!("  {:<10} {reason}", "types"));
    };
    if types.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(["  TYPE", "MESSAGES", "BYTES"].map(Column::right).into());
    for count in types {
        table.push(Row::new(vec![count.mtype.to_string(), count.messages.to_string(), count.bytes.to_string()]));
    }
    table.print(page)
}
