//! The section of the message queues.

use super::Section;
use crate::commands::view::queue::{QueueView, QueueWaiterView};
use crate::failure::Failure;
use crate::object;
use crate::output::table::{Column, Row, Table};
use crate::output::text::Page;
use crate::time::local;
use crate::users::Users;
use quintet::Namespace;
use serde::Serialize;
use std::io;

/// All queues of a namespace.
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
            let waits = queue.waiters.iter().flatten().map(waits);
            table.push(Row { cells: cells(queue, long), notes: waits.collect() });
        }
        table.print(page)
    }
}

/// "waits: for a message of type 3 since 2026-11-20 10:00:00: pid 12 (ann) ./worker".
fn waits(waiter: &QueueWaiterView) -> String {
    format!("waits: for {} since {}: {}", waiter.wants.sentence(), local(waiter.since), waiter.who.sentence())
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
        cells.extend([queue.lspid, queue.lrpid].map(|pid| if pid == 0 { "-".to_owned() } else { pid.to_string() }));
        cells.extend([queue.stime, queue.rtime, queue.ctime].map(local));
    }
    cells
}
