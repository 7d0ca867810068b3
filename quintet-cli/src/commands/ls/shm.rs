//! The section for shared memory segments.

use super::section::Section;
use crate::output::table::{Column, Row, Table};
use crate::output::text::Page;
use crate::system::users::Users;
use crate::view::process::{AttacherView, pid_cell};
use crate::view::segment::SegmentView;
use crate::words::local_time;
use quintet::Namespace;
use serde::Serialize;
use std::io;

/// The segments of a namespace.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Segments(Vec<SegmentView>);

impl Segments {
    pub fn read(ns: &Namespace, users: &Users) -> quintet::Result<Segments> {
        Ok(Segments(ns.segments()?.iter().map(|s| SegmentView::new(s, users)).collect()))
    }
}

impl Section for Segments {
    fn heading(&self) -> &'static str {
        "Shared memory segments"
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn print(&self, page: &mut Page, long: bool) -> io::Result<()> {
        let mut table = Table::new(columns(long));
        for segment in &self.0 {
            let notes = segment.attached.iter().map(AttacherView::phrase).map(|process| format!("attached: {process}"));
            table.push(Row { cells: cells(segment, long), notes: notes.collect() });
        }
        table.print(page)
    }
}

fn columns(long: bool) -> Vec<Column> {
    let mut columns = vec![
        Column::left("KEY"),
        Column::right("ID"),
        Column::left("OWNER"),
        Column::left("MODE"),
        Column::right("BYTES"),
        Column::right("NATTCH"),
        Column::left("STATUS"),
    ];
    if long {
        columns.extend(["CPID", "LPID"].map(Column::right));
        columns.extend(["ATIME", "DTIME", "CTIME"].map(Column::left));
    }
    columns
}

fn cells(segment: &SegmentView, long: bool) -> Vec<String> {
    let status = match (segment.status.is_empty(), segment.orphan) {
        (true, true) => "orphan".to_owned(),
        (true, false) => "-".to_owned(),
        _ => segment.status.join(","),
    };
    let mut cells = vec![
        segment.key.text.clone(),
        segment.id.to_string(),
        segment.owner.user.clone(),
        segment.mode_text.clone(),
        segment.size.to_string(),
        segment.nattch.to_string(),
        status,
    ];
    if long {
        cells.extend([segment.cpid, segment.lpid].map(pid_cell));
        cells.extend([segment.atime, segment.dtime, segment.ctime].map(local_time));
    }
    cells
}
