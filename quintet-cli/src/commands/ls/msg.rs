//! The section for message queues.

use super::section::Section;
use crate::args::object;
use crate::failure::Failure;
use crate::output::table::{Column, Row, Table};
use crate::output::text::Page;
use crate::system::users::Users;
use crate::view::process::pid_cell;
use crate::view::queue::{QueueView, QueueWaiterView};
use crate::words::local_time;
use quintet::Namespace;
use serde::Serialize;
use std::io;

/// The message queues of a namespace.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Queues(Vec<QueueView>);

impl Queues {
    pub fn read(ns: &Namespace, users: &Users) -> Result<Queues, Failure> {
        Ok(Queues(object::queues(ns)?.iter().map(|q| QueueView::new(ns, q, users)).collect()))
    }
}

impl Section for Queues {
    fn heading(&self) -> &'static str {
        "Message queues"
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn print(&self, page: &mut Page, long: bool) -> io::Result<()> {
        let mut table = Table::new(columns(long));
        for queue in &self.0 {
            let waiting = queue.waiters.iter().flatten().map(waiting);
            table.push(Row { cells: cells(queue, long), notes: waiting.collect() });
        }
        table.print(page)
    }
}

/// Returns "waiting: for a message of type 3 since 2026-11-20 10:00:00: pid 12 (ann) ./worker".
fn waiting(waiter: &QueueWaiterView) -> String {
    let (awaited, since) = (waiter.call.awaited(), local_time(waiter.since));
    format!("waiting: for {awaited} since {since}: {}", waiter.process.phrase())
}

fn columns(long: bool) -> Vec<Column> {
    let mut columns = vec![
        Column::left("KEY"),
        Column::right("ID"),
        Column::left("OWNER"),
        Column::left("MODE"),
        Column::right("MESSAGES"),
        Column::right("BYTES"),
        Column::right("CAPACITY"),
        Column::right("OLDEST"),
        Column::left("TYPE:COUNT"),
        Column::right("WAITING"),
        Column::left("STATUS"),
    ];
    if long {
        columns.extend(["LSPID", "LRPID"].map(Column::right));
        columns.extend(["STIME", "RTIME", "CTIME"].map(Column::left));
    }
    columns
}

fn cells(queue: &QueueView, long: bool) -> Vec<String> {
    let mut cells = vec![
        queue.key.text.clone(),
        queue.id.to_string(),
        queue.owner.user.clone(),
        queue.mode_text.clone(),
        queue.messages.to_string(),
        queue.bytes.to_string(),
        queue.capacity.to_string(),
        queue.oldest.as_ref().map_or("-".to_owned(), |message| message.age()),
        queue.types(),
        queue.waiting(),
        if queue.orphan { "orphan" } else { "-" }.to_owned(),
    ];
    if long {
        cells.extend([queue.lspid, queue.lrpid].map(pid_cell));
        cells.extend([queue.stime, queue.rtime, queue.ctime].map(local_time));
    }
    cells
}
