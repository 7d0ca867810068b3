//! Everything about a message queue.

use crate::commands::view::queue::{MessageView, QueueView, QueueWaiterView, WantsView};
use crate::commands::view::{NamespaceView, count};
use crate::output::table::{Column, Row, Table};
use crate::output::text::{BOLD, Page};
use crate::time::local;
use std::io;

pub fn describe(queue: &QueueView, namespace: &NamespaceView, page: &mut Page) -> io::Result<()> {
    page.line(format_args!("{BOLD}Message queue {}{BOLD:#} in {}", queue.id, namespace.sentence()))?;
    let mut field = |name: &str, value: String| page.line(format_args!("  {name:<10} {value}"));
    let private = if queue.key.number == 0 { " (IPC_PRIVATE: no key finds it)" } else { "" };
    field("key", format!("{}{private}", queue.key.text))?;
    field("mode", format!("{} ({:04o})", queue.mode_text, queue.mode))?;
    for (name, user) in [("owner", &queue.owner), ("creator", &queue.creator)] {
        field(name, format!("{} (uid {}, gid {})", user.user, user.uid, user.gid))?;
    }
    let orphan = "orphan (it is empty, nobody waits, and its creator is gone)";
    field("status", if queue.orphan { orphan } else { "-" }.to_owned())?;
    field("messages", format!("{}, with {} of {}", queue.messages, queue.bytes, count(queue.capacity, "byte")))?;
    if let Some(oldest) = &queue.oldest {
        field("oldest", told(oldest))?;
    }
    for (name, time, pid) in [("last send", queue.stime, queue.lspid), ("last recv", queue.rtime, queue.lrpid)] {
        field(name, if pid == 0 { "-".to_owned() } else { format!("{} by pid {pid}", local(time)) })?;
    }
    field("changed", local(queue.ctime))?;
    match &queue.waiters {
        Some(waiters) => {
            field("waiting", waiters.len().to_string())?;
            for waiter in waiters {
                field("", waits(waiter))?;
            }
        }
        None => field("waiting", "the kernel does not tell".to_owned())?,
    }
    types(queue, namespace, page)
}

/// "type 3, 5 bytes, sent 2026-11-20 10:00:00 (12 s ago) by pid 7".
fn told(message: &MessageView) -> String {
    let sent = message.sent.map_or(String::new(), |sent| format!(", sent {} ({} ago)", local(sent), message.age()));
    let sender = message.sender.map_or(String::new(), |pid| format!(" by pid {pid}"));
    format!("{}{sent}{sender}", message.sentence())
}

fn waits(waiter: &QueueWaiterView) -> String {
    let buffer = match waiter.wants {
        WantsView::Receive { size, noerror, .. } => {
            let cut = if noerror { ", the rest is cut off" } else { "" };
            format!(" (it takes {}{cut})", count(size as u64, "byte"))
        }
        WantsView::Send { .. } => String::new(),
    };
    format!("for {}{buffer} since {}: {}", waiter.wants.sentence(), local(waiter.since), waiter.who.sentence())
}

fn types(queue: &QueueView, namespace: &NamespaceView, page: &mut Page) -> io::Result<()> {
    let Some(types) = &queue.types else {
        let why = match namespace.path {
            Some(_) => "the mode does not let you read them".to_owned(),
            None => format!("'quintet --kernel msg peek {}' shows them", queue.id),
        };
        return page.line(format_args!("  {:<10} {why}", "types"));
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
