//! Tables: each column is as wide as its widest cell, and a row may have notes below it.

use super::text::{BOLD, Page};
use std::io;

/// The heading and the alignment of a column.
pub struct Column {
    pub name: &'static str,
    pub right: bool,
}

impl Column {
    pub const fn left(name: &'static str) -> Column {
        Column { name, right: false }
    }

    pub const fn right(name: &'static str) -> Column {
        Column { name, right: true }
    }
}

/// A row, and the lines below it.
pub struct Row {
    pub cells: Vec<String>,
    pub notes: Vec<String>,
}

impl Row {
    pub fn new(cells: Vec<String>) -> Row {
        Row { cells, notes: Vec::new() }
    }
}

/// A table.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Row>,
}

impl Table {
    pub fn new(columns: Vec<Column>) -> Table {
        Table { columns, rows: Vec::new() }
    }

    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Prints the headings, the rows and their notes.
    pub fn print(&self, page: &mut Page) -> io::Result<()> {
        let names: Vec<String> = self.columns.iter().map(|c| c.name.to_owned()).collect();
        page.line(format_args!("{BOLD}{}{BOLD:#}", self.format(&names)))?;
        for row in &self.rows {
            page.line(format_args!("{}", self.format(&row.cells)))?;
            for note in &row.notes {
                page.line(format_args!("    {}", page.fit(note, 4)))?;
            }
        }
        Ok(())
    }

    fn format(&self, cells: &[String]) -> String {
        let mut line = String::new();
        for (i, (column, cell)) in self.columns.iter().zip(cells).enumerate() {
            let width = self.width(i);
            let gap = if i == 0 { "" } else { "  " };
            let padded = if column.right { format!("{gap}{cell:>width$}") } else { format!("{gap}{cell:<width$}") };
            line.push_str(&padded);
        }
        line.trim_end().to_owned()
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|r| r.cells.get(column)).map(|c| c.chars().count());
        cells.chain([self.columns[column].name.len()]).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(vec![Column::left("KEY"), Column::right("ID"), Column::left("STATUS")]);
        table.push(Row::new(vec!["0x00000001".into(), "7".into(), String::new()]));
        table.push(Row::new(vec!["-".into(), "32775".into(), "dest".into()]));
        let lines: Vec<String> = table.rows.iter().map(|r| table.format(&r.cells)).collect();
        assert_eq!(lines, ["0x00000001      7", "-           32775  dest"]);
    }
}
