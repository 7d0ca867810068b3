//! Everything about a semaphore set.

use crate::commands::view::NamespaceView;
use crate::commands::view::set::{SetView, WaiterView};
use crate::output::table::{Column, Row, Table};
use crate::output::text::{BOLD, Page};
use crate::time::local;
use std::io;

pub fn describe(set: &SetView, namespace: &NamespaceView, page: &mut Page) -> io::Result<()> {
    page.line(format_args!("{BOLD}Semaphore set {}{BOLD:#} in {}", set.id, namespace.sentence()))?;
    let mut field = |name: &str, value: String| page.line(format_args!("  {name:<10} {value}"));
    let private = if set.key.number == 0 { " (IPC_PRIVATE: no key finds it)" } else { "" };
    field("key", format!("{}{private}", set.key.text))?;
    field("nsems", set.nsems.to_string())?;
    field("mode", format!("{} ({:04o})", set.mode_text, set.mode))?;
    for (name, user) in [("owner", &set.owner), ("creator", &set.creator)] {
        field(name, format!("{} (uid {}, gid {})", user.user, user.uid, user.gid))?;
    }
    let orphan = "orphan (nobody waits or holds anything, and its creator is gone)";
    field("status", if set.orphan { orphan } else { "-" }.to_owned())?;
    field("last semop", local(set.otime))?;
    field("changed", local(set.ctime))?;
    match &set.waiters {
        Some(waiters) => {
            field("waiting", waiters.len().to_string())?;
            for waiter in waiters {
                field("", waits(waiter))?;
            }
        }
        None => field("waiting", format!("{} (the kernel does not tell who)", set.waiting()))?,
    }
    match &set.undo {
        Some(undo) => {
            field("undo", if undo.is_empty() { "-".to_owned() } else { undo.len().to_string() })?;
            for undo in undo {
                field("", undo.sentence())?;
            }
        }
        None => field("undo", "the kernel does not tell".to_owned())?,
    }
    semaphores(set, page)
}

fn waits(waiter: &WaiterView) -> String {
    let blocked = match waiter.blocked() {
        Some(op) if waiter.ops.len() > 1 => format!(" ({} blocks)", op.text),
        _ => String::new(),
    };
    format!("for {}{blocked} since {}: {}", waiter.wanted(), local(waiter.since), waiter.who.sentence())
}

fn semaphores(set: &SetView, page: &mut Page) -> io::Result<()> {
    if set.semaphores.len() < set.nsems as usize {
        return page.line(format_args!("  {:<10} the mode does not let you read them", "values"));
    }
    let mut table = Table::new(["  SEMAPHORE", "VALUE", "LAST PID", "NCNT", "ZCNT"].map(Column::right).into());
    for semaphore in &set.semaphores {
        let pid = if semaphore.pid == 0 { "-".to_owned() } else { semaphore.pid.to_string() };
        let (num, value) = (semaphore.num.to_string(), semaphore.value.to_string());
        table.push(Row::new(vec![num, value, pid, semaphore.ncnt.to_string(), semaphore.zcnt.to_string()]));
    }
    table.print(page)
}
