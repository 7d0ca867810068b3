//! The section for semaphore sets.

use super::section::Section;
use crate::args::object;
use crate::failure::Failure;
use crate::output::table::{Column, Row, Table};
use crate::output::text::Page;
use crate::system::users::Users;
use crate::view::set::{SetView, SetWaiterView, UndoView};
use crate::words::local_time;
use quintet::Namespace;
use serde::Serialize;
use std::io;

/// The semaphore sets of a namespace.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Sets(Vec<SetView>);

impl Sets {
    pub fn read(ns: &Namespace, users: &Users) -> Result<Sets, Failure> {
        Ok(Sets(object::sets(ns)?.iter().map(|s| SetView::new(ns, s, users)).collect()))
    }
}

impl Section for Sets {
    fn heading(&self) -> &'static str {
        "Semaphore sets"
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn print(&self, page: &mut Page, long: bool) -> io::Result<()> {
        let mut table = Table::new(columns(long));
        for set in &self.0 {
            let waiting = set.waiters.iter().flatten().map(waiting);
            let undo = set.undo.iter().flatten().map(UndoView::phrase).map(|undo| format!("undo: {undo}"));
            table.push(Row { cells: cells(set, long), notes: waiting.chain(undo).collect() });
        }
        table.print(page)
    }
}

/// Returns "waiting: for 0:-1u since 2026-11-20 10:00:00: pid 12 (ann) ./worker".
fn waiting(waiter: &SetWaiterView) -> String {
    format!("waiting: for {} since {}: {}", waiter.operations(), local_time(waiter.since), waiter.process.phrase())
}

fn columns(long: bool) -> Vec<Column> {
    let mut columns = vec![
        Column::left("KEY"),
        Column::right("ID"),
        Column::left("OWNER"),
        Column::left("MODE"),
        Column::right("NSEMS"),
        Column::left("VALUES"),
        Column::right("WAITING"),
        Column::left("STATUS"),
    ];
    if long {
        columns.extend(["OTIME", "CTIME"].map(Column::left));
    }
    columns
}

fn cells(set: &SetView, long: bool) -> Vec<String> {
    let mut cells = vec![
        set.key.text.clone(),
        set.id.to_string(),
        set.owner.user.clone(),
        set.mode_text.clone(),
        set.nsems.to_string(),
        set.values(),
        set.waiting().to_string(),
        if set.orphan { "orphan" } else { "-" }.to_owned(),
    ];
    if long {
        cells.extend([set.otime, set.ctime].map(local_time));
    }
    cells
}
