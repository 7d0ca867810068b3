//! The details of a semaphore set.

use crate::output::table::{Column, Row, Table};
use crate::output::text::{BOLD, Page};
use crate::view::namespace::NamespaceView;
use crate::view::process::pid_cell;
use crate::view::set::{SetView, SetWaiterView};
use crate::words::local_time;
use std::io;

pub fn describe(set: &SetView, namespace: &NamespaceView, page: &mut Page) -> io::Result<()> {
    page.line(format_args!("{BOLD}Semaphore set {}{BOLD:#} in {}", set.id, namespace.phrase()))?;
    let mut field = |name: &str, value: String| page.line(format_args!("  {name:<10} {value}"));
    field("key", set.key.explained())?;
    field("nsems", set.nsems.to_string())?;
    field("mode", format!("{} ({:04o})", set.mode_text, set.mode))?;
    for (name, user) in [("owner", &set.owner), ("creator", &set.creator)] {
        field(name, user.phrase())?;
    }
    let orphan = "orphan (no process is blocked or has adjustments, and its creator has exited)";
    field("status", if set.orphan { orphan } else { "-" }.to_owned())?;
    field("last semop", local_time(set.otime))?;
    field("changed", local_time(set.ctime))?;
    match &set.waiters {
        Some(waiters) => {
            field("waiting", waiters.len().to_string())?;
            for waiter in waiters {
                field("", waiting(waiter))?;
            }
        }
        None => field("waiting", format!("{} (the kernel does not list the processes)", set.waiting()))?,
    }
    match &set.undo {
        Some(undo) => {
            field("undo", if undo.is_empty() { "-".to_owned() } else { undo.len().to_string() })?;
            for undo in undo {
                field("", undo.phrase())?;
            }
        }
        None => field("undo", "unknown (the kernel does not list adjustments)".to_owned())?,
    }
    semaphores(set, page)
}

/// Returns "for 0:-1u 1:+2 (0:-1u blocks) since 2026-11-20 10:00:00: pid 12 (ann) ./worker".
fn waiting(waiter: &SetWaiterView) -> String {
    let blocking = match waiter.blocking() {
        Some(op) if waiter.ops.len() > 1 => format!(" ({} blocks)", op.text),
        _ => String::new(),
    };
    format!("for {}{blocking} since {}: {}", waiter.operations(), local_time(waiter.since), waiter.process.phrase())
}

fn semaphores(set: &SetView, page: &mut Page) -> io::Result<()> {
    if set.semaphores.len() < set.nsems as usize {
        return page.line(format_args!("  {:<10} the mode denies read permission", "values"));
    }
    let mut table = Table::new(["  SEMAPHORE", "VALUE", "LAST PID", "NCNT", "ZCNT"].map(Column::right).into());
    for semaphore in &set.semaphores {
        let pid = pid_cell(semaphore.pid);
        let (num, value) = (semaphore.num.to_string(), semaphore.value.to_string());
        table.push(Row::new(vec![num, value, pid, semaphore.ncnt.to_string(), semaphore.zcnt.to_string()]));
    }
    table.print(page)
}
