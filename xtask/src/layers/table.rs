//! The tables of layers, read from ARCHITECTURE.md.
//!
//! Each crate with layers has a table below a heading such as `### Layers of quintet/src`. A row is
//! a layer; the top row is the highest. The columns are:
//!
//! | column | content |
//! |---|---|
//! | folder | one entry in backticks, or several siblings: `shm/`, `sem/`, `msg/` |
//! | holds | prose, not read |
//! | may import | `everything below`, `nothing`, or entries: ``  `object/` and below  `` |
//! | must never know | prose, not read |
//!
//! An entry is a path relative to the crate's `src`. A trailing slash names a folder, which
//! includes the file of the same name (`sem/` is `sem.rs` and everything in `sem/`). The longest
//! entry that matches a file decides, so a row for `backend/kernel/` takes that folder out of
//! `backend/`.
//!
//! Below `### Cycles that remain`, a table of two columns (files, reason) lists the cycles of two
//! or three files that are accepted.

use std::collections::BTreeSet;

/// The document that holds the tables.
pub const DOCUMENT: &str = "ARCHITECTURE.md";
const LAYERS: &str = "### Layers of ";
const CYCLES: &str = "### Cycles that remain";

/// All tables of the document.
#[derive(Debug, Default)]
pub struct Tables {
    pub crates: Vec<Layers>,
    pub cycles: Vec<Cycle>,
}

/// The layers of one crate.
#[derive(Debug)]
pub struct Layers {
    /// The source folder, relative to the repository: `quintet/src`.
    pub source: String,
    pub rows: Vec<Row>,
}

/// A layer: one entry, or several siblings that cannot import each other.
#[derive(Debug)]
pub struct Row {
    pub entries: Vec<String>,
    allowed: Allowed,
    /// The line of the document.
    pub line: usize,
}

/// The layers that a row may import, beside itself.
#[derive(Debug, PartialEq)]
enum Allowed {
    EverythingBelow,
    /// Entries, and the highest row that is allowed together with all rows below it.
    Listed(BTreeSet<String>, Option<usize>),
}

/// An accepted cycle of files, with its reason.
#[derive(Debug)]
pub struct Cycle {
    /// Paths relative to the repository.
    pub files: BTreeSet<String>,
    pub line: usize,
}

/// The place of a file: its row, and the entry of that row.
pub type Place = (usize, usize);

/// How an import relates to the table.
#[derive(Debug, PartialEq, Clone, Copy)]
pub enum Direction {
    Inside,
    Down,
    Up,
    /// To another entry of the same row.
    Sideways,
    /// Down, but to a layer that "may import" does not name.
    Unlisted,
}

impl Tables {
    /// Parses the document's text. `exists` tells whether a path of the repository exists.
    pub fn parse(text: &str, exists: impl Fn(&str) -> bool) -> Result<Tables, String> {
        let mut tables = Tables::default();
        let mut lines = text.lines().zip(1..).peekable();
        while let Some((line, number)) = lines.next() {
            let source = line.strip_prefix(LAYERS).map(|source| source.trim().trim_matches('`').trim_end_matches('/'));
            if source.is_none() && line.trim_end() != CYCLES {
                continue;
            }
            let mut rows = Vec::new();
            while let Some((line, number)) = lines.next_if(|(line, _)| !line.starts_with('#')) {
                if line.starts_with('|') {
                    rows.push((cells(line), number));
                }
            }
            // The first two rows are the head of the table and its rule.
            let rows = rows.get(2..).ok_or_else(|| format!("{DOCUMENT}:{number}: cannot find a table below '{line}'"))?;
            match source {
                Some(source) => tables.crates.push(Layers::parse(source, rows)?),
                None => {
                    for (cells, number) in rows {
                        tables.cycles.push(Cycle::parse(cells, *number, &exists)?);
                    }
                }
            }
        }
        Ok(tables)
    }
}

impl Layers {
    fn parse(source: &str, table: &[(Vec<String>, usize)]) -> Result<Layers, String> {
        let mut rows: Vec<Row> = Vec::new();
        for (cells, line) in table {
            let entries = quoted(&cells[0]);
            if entries.is_empty() || cells.len() < 3 {
                return Err(format!("{DOCUMENT}:{line}: cannot read the row: it needs entries in backticks and 4 columns"));
            }
            if let Some(twice) = entries.iter().find(|entry| rows.iter().any(|row| row.entries.contains(entry))) {
                return Err(format!("{DOCUMENT}:{line}: cannot place `{twice}`: it has a row already"));
            }
            rows.push(Row { entries, allowed: Allowed::EverythingBelow, line: *line });
        }
        for (nth, (cells, line)) in table.iter().enumerate() {
            rows[nth].allowed = allowed(&cells[2], nth, &rows).map_err(|why| format!("{DOCUMENT}:{line}: {why}"))?;
        }
        Ok(Layers { source: source.to_owned(), rows })
    }

    /// Returns the place of a file, given relative to the source folder.
    pub fn place(&self, file: &str) -> Option<Place> {
        let all = self.rows.iter().enumerate().flat_map(|(row, entries)| {
            entries.entries.iter().enumerate().map(move |(entry, text)| ((row, entry), text.as_str()))
        });
        all.filter(|(_, entry)| matches(entry, file)).max_by_key(|(_, entry)| entry.len()).map(|(place, _)| place)
    }

    pub fn entry(&self, (row, entry): Place) -> &str {
        &self.rows[row].entries[entry]
    }

    /// Returns how an import from one place to another relates to the table.
    pub fn direction(&self, from: Place, to: Place) -> Direction {
        if from == to {
            return Direction::Inside;
        }
        if from.0 == to.0 {
            return Direction::Sideways;
        }
        if to.0 < from.0 {
            return Direction::Up;
        }
        match &self.rows[from.0].allowed {
            Allowed::EverythingBelow => Direction::Down,
            Allowed::Listed(entries, below) => {
                let to_entry = self.entry(to);
                let listed = entries.iter().any(|entry| to_entry == entry || entry.ends_with('/') && to_entry.starts_with(entry));
                if listed || below.is_some_and(|row| to.0 >= row) { Direction::Down } else { Direction::Unlisted }
            }
        }
    }
}

/// Returns `true` if an entry of a table covers a file.
pub fn matches(entry: &str, file: &str) -> bool {
    match entry.strip_suffix('/') {
        Some(folder) => file.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/') || rest == ".rs"),
        None => entry == file,
    }
}

impl Cycle {
    /// The first file is relative to the repository; a later one may be relative to the first one's
    /// folder.
    fn parse(cells: &[String], line: usize, exists: &impl Fn(&str) -> bool) -> Result<Cycle, String> {
        let named = quoted(&cells[0]);
        let first = named.first().ok_or_else(|| format!("{DOCUMENT}:{line}: cannot read the row: no files in backticks"))?;
        let folder = first.rfind('/').map_or("", |end| &first[..=end]);
        let full = |name: &String| if exists(name) { name.clone() } else { format!("{folder}{name}") };
        if cells.get(1).is_none_or(String::is_empty) {
            return Err(format!("{DOCUMENT}:{line}: cannot accept the cycle of `{first}`: the reason is missing"));
        }
        let files = named.iter().map(full).collect();
        Ok(Cycle { files, line })
    }
}

/// Parses a cell of the column "may import" of the row `nth`.
fn allowed(cell: &str, nth: usize, rows: &[Row]) -> Result<Allowed, String> {
    let (mut entries, mut below) = (BTreeSet::new(), None);
    for item in cell.split(',').map(str::trim) {
        let name = quoted(item).pop();
        let rest = item.rsplit('`').next().unwrap_or_default().trim();
        let row = |name: &str| rows.iter().position(|row| row.entries.iter().any(|entry| entry == name));
        match (name, rest) {
            (None, "everything below") => return Ok(Allowed::EverythingBelow),
            (None, "nothing") => {}
            (Some(name), "" | "and below") => {
                let row = row(&name).ok_or_else(|| format!("cannot allow `{name}`: it has no row"))?;
                if row <= nth {
                    return Err(format!("cannot allow `{name}`: it is not below `{}`", rows[nth].entries[0]));
                }
                if rest.is_empty() {
                    entries.insert(name);
                } else {
                    below = Some(below.map_or(row, |known: usize| known.min(row)));
                }
            }
            _ => {
                return Err(format!(
                    "cannot read '{item}' in the column 'may import'; write 'everything below', 'nothing', \
                     an entry in backticks, or an entry and 'and below'"
                ));
            }
        }
    }
    Ok(Allowed::Listed(entries, below))
}

/// The cells of a table's row.
fn cells(line: &str) -> Vec<String> {
    line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// What stands in backticks.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
