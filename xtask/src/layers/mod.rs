//! `cargo xtask layers`: checks that imports run down the layers that ARCHITECTURE.md lists.
//!
//! The check fails on:
//!
//! - an import from a layer to a layer above it, or between siblings of one row;
//! - an import that the column "may import" does not allow;
//! - a cycle between folders;
//! - a cycle of more than [`LARGEST_CYCLE`] files, or a smaller one that the document does not
//!   list.
//!
//! A path counts as an import of the file that defines what the path names. If the path goes
//! through a re-export, it also counts as an import of the re-exporting file, except in cycles. A
//! folder's `mod.rs` that only declares and re-exports its modules imports nothing.

mod cycles;
mod imports;
mod modules;
mod table;
#[cfg(test)]
mod tests;

use cycles::cycles;
use imports::{Imports, Site};
use modules::{FileId, Package};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use table::{DOCUMENT, Direction, Layers, Place, Tables};

/// Cycles of more files than this are refused.
const LARGEST_CYCLE: usize = 3;
/// The number of imports that a message about a cycle shows.
const SHOWN: usize = 12;

/// Checks the tree below `root` and prints the tables with their counts.
pub fn layers(root: &Path) -> Result<(), String> {
    let report = Report::of(root).map_err(|why| format!("xtask: {why}"))?;
    print!("{}", report.text);
    for error in &report.errors {
        eprintln!("{error}");
    }
    match report.errors.len() {
        0 => Ok(()),
        1 => Err(format!("xtask: 1 error in the layers; see 'Layers' in {DOCUMENT}")),
        count => Err(format!("xtask: {count} errors in the layers; see 'Layers' in {DOCUMENT}")),
    }
}

/// What a check found.
#[derive(Debug, Default)]
struct Report {
    text: String,
    /// Sentences, most of them with a file and a line.
    errors: Vec<String>,
}

impl Report {
    fn of(root: &Path) -> Result<Report, String> {
        let document = root.join(DOCUMENT);
        let text = std::fs::read_to_string(&document).map_err(|e| format!("cannot read {}: {e}", document.display()))?;
        let tables = Tables::parse(&text, |path| root.join(path).is_file())?;
        let mut report = Report::default();
        let mut folders: Vec<String> = Vec::new();
        for entry in std::fs::read_dir(root).map_err(|e| format!("cannot read {}: {e}", root.display()))?.flatten() {
            if entry.path().join("Cargo.toml").is_file() {
                folders.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        folders.sort();
        let mut known_cycles = BTreeSet::new();
        let mut without_table = String::new();
        for folder in &folders {
            let Some(package) = Package::read(root, folder)? else { continue };
            let check = Check { imports: Imports::of(&package), package };
            match tables.crates.iter().find(|layers| layers.source == check.package.source) {
                Some(layers) => check.layers(layers, &mut report),
                None => check.summary(&mut without_table),
            }
            check.folder_cycles(&mut report);
            check.file_cycles(&tables, &mut known_cycles, &mut report);
        }
        if !without_table.is_empty() {
            let _ = write!(report.text, "Crates without layers, checked for cycles:\n\n{without_table}\n");
        }
        for layers in &tables.crates {
            if !folders.iter().any(|folder| format!("{folder}/src") == layers.source) {
                report.errors.push(format!("{DOCUMENT}: cannot find the sources of 'Layers of {}'", layers.source));
            }
        }
        if tables.crates.is_empty() {
            report.errors.push(format!("{DOCUMENT}: cannot find a heading '### Layers of CRATE/src'"));
        }
        for cycle in tables.cycles.iter().filter(|cycle| !known_cycles.contains(&cycle.files)) {
            let files = list(&cycle.files);
            report.errors.push(format!("{DOCUMENT}:{}: cannot find the cycle of {files}; remove its row", cycle.line));
        }
        let _ = writeln!(report.text, "Cycles of files: {}", known_cycles.len());
        for cycle in &known_cycles {
            let accepted = tables.cycles.iter().any(|known| known.files == *cycle);
            let _ = writeln!(
                report.text,
                "  {} files{}: {}",
                cycle.len(),
                if accepted { ", accepted" } else { "" },
                shortened(cycle)
            );
        }
        Ok(report)
    }
}

/// The counts of one entry of a table.
#[derive(Default, Clone, Copy)]
struct Counts {
    files: usize,
    inside: usize,
    down: usize,
    up: usize,
    sideways: usize,
    unlisted: usize,
}

/// A package and its imports.
struct Check {
    package: Package,
    imports: Imports,
}

impl Check {
    fn path(&self, file: FileId) -> String {
        format!("{}/{}", self.package.source, self.package.files[file])
    }

    /// Checks each import against the table.
    fn layers(&self, layers: &Layers, report: &mut Report) {
        let mut counts: BTreeMap<Place, Counts> = BTreeMap::new();
        let mut places = Vec::new();
        for (file, name) in self.package.files.iter().enumerate() {
            let place = layers.place(name);
            match place {
                Some(place) => counts.entry(place).or_default().files += 1,
                None => report.errors.push(format!(
                    "{}:1: cannot place the file: no row of 'Layers of {}' in {DOCUMENT} covers it; add one",
                    self.path(file),
                    layers.source
                )),
            }
            places.push(place);
        }
        for (row, entries) in layers.rows.iter().enumerate() {
            for (entry, name) in entries.entries.iter().enumerate() {
                if counts.contains_key(&(row, entry)) {
                    continue;
                }
                report.errors.push(format!(
                    "{DOCUMENT}:{}: cannot find `{name}` in {}; correct the row or remove it",
                    entries.line, layers.source
                ));
            }
        }
        let direct = self.imports.arrows.iter().map(|arrow| (arrow, false));
        // A re-export by the file that also defines something else is counted once.
        let mut refused = Vec::new();
        let through = self.imports.through.iter().filter(|(arrow, _)| !self.imports.arrows.contains_key(arrow));
        for (((from, to), site), is_through) in direct.chain(through.map(|arrow| (arrow, true))) {
            let (Some(from_place), Some(to_place)) = (places[*from], places[*to]) else { continue };
            let count = counts.entry(from_place).or_default();
            let direction = layers.direction(from_place, to_place);
            match direction {
                Direction::Inside => count.inside += 1,
                Direction::Down => count.down += 1,
                Direction::Up => count.up += 1,
                Direction::Sideways => count.sideways += 1,
                Direction::Unlisted => count.unlisted += 1,
            }
            let (from_entry, to_entry) = (layers.entry(from_place), layers.entry(to_place));
            let by = if is_through { format!(" through the re-export in {}", self.path(*to)) } else { String::new() };
            let why = match direction {
                Direction::Inside | Direction::Down => continue,
                Direction::Up => format!("{to_entry} stands above {from_entry}; move what both need to a layer below them"),
                Direction::Sideways => {
                    format!("{to_entry} and {from_entry} are siblings; move what both need to a layer below them")
                }
                Direction::Unlisted => {
                    format!("the row of {from_entry} does not list {to_entry} under 'may import'")
                }
            };
            let path = self.path(*from);
            let sentence = format!("{path}:{}: cannot import `{}`{by}: {why}", site.line, site.path);
            refused.push((path, site.line, sentence));
        }
        refused.sort();
        report.errors.extend(refused.into_iter().map(|(_, _, sentence)| sentence));
        self.print(layers, &counts, report);
    }

    fn print(&self, layers: &Layers, counts: &BTreeMap<Place, Counts>, report: &mut Report) {
        let text = &mut report.text;
        let _ = writeln!(text, "Layers of {}, top to bottom:\n", layers.source);
        let columns = ["files", "inside", "down", "up", "sideways", "not listed"];
        let width = layers.rows.iter().flat_map(|row| &row.entries).map(String::len).max().unwrap_or(0).max(10);
        let mut row = |name: &str, cells: [String; 6]| {
            let _ = write!(text, "  {name:<width$}");
            for (cell, column) in cells.iter().zip(columns) {
                let _ = write!(text, "  {cell:>0$}", column.len());
            }
            text.push('\n');
        };
        row("layer", columns.map(str::to_owned));
        let cells = |c: Counts| [c.files, c.inside, c.down, c.up, c.sideways, c.unlisted].map(|n| n.to_string());
        let mut total = Counts::default();
        for (nth, entries) in layers.rows.iter().enumerate() {
            for (entry, name) in entries.entries.iter().enumerate() {
                let count = counts.get(&(nth, entry)).copied().unwrap_or_default();
                total.files += count.files;
                total.inside += count.inside;
                total.down += count.down;
                total.up += count.up;
                total.sideways += count.sideways;
                total.unlisted += count.unlisted;
                row(name, cells(count));
            }
        }
        row("total", cells(total));
        text.push('\n');
    }

    fn summary(&self, text: &mut String) {
        let (files, arrows) = (self.package.files.len(), self.imports.arrows.len());
        let _ = writeln!(text, "  {}: {files} files, {arrows} imports between them", self.package.source);
    }

    /// Refuses cycles between a folder and its neighbours: other folders, or single files beside
    /// it.
    fn folder_cycles(&self, report: &mut Report) {
        let files = &self.package.files;
        let mut folders: BTreeSet<&str> = files.iter().filter_map(|file| Some(&file[..=file.rfind('/')?])).collect();
        folders.extend(files.iter().flat_map(|file| file.match_indices('/').map(|(end, _)| &file[..=end])));
        folders.insert("");
        for folder in &folders {
            let mut arrows: BTreeMap<(&str, &str), (FileId, FileId, &Site)> = BTreeMap::new();
            for ((from, to), site) in &self.imports.arrows {
                let child = |file: FileId| child(folder, &files[file]);
                if let (Some(from_child), Some(to_child)) = (child(*from), child(*to))
                    && from_child != to_child
                {
                    arrows.entry((from_child, to_child)).or_insert((*from, *to, site));
                }
            }
            for cycle in cycles(&arrows.keys().copied().collect()) {
                // The folder's own files: as a cycle of files they are looked at anyway.
                let is_folder = |name: &&&str| folders.contains(format!("{folder}{name}/").as_str());
                if cycle.iter().filter(is_folder).count() == 0 {
                    continue;
                }
                let name = |child: &&&str| {
                    let slash = if is_folder(child) { "/" } else { "" };
                    format!("{}/{folder}{child}{slash}", self.package.source)
                };
                let names: BTreeSet<String> = cycle.iter().map(|child| name(&child)).collect();
                let inner = arrows.iter().filter(|((from, to), _)| cycle.contains(from) && cycle.contains(to));
                let sites: Vec<_> = inner.map(|(_, (from, to, site))| (*from, *to, *site)).collect();
                report.errors.push(format!("folders import each other in a cycle: {}{}", list(&names), self.shown(&sites)));
            }
        }
    }

    /// Refuses cycles of files, except for small ones that the document lists.
    fn file_cycles(&self, tables: &Tables, known: &mut BTreeSet<BTreeSet<String>>, report: &mut Report) {
        for cycle in cycles(&self.imports.arrows.keys().copied().collect()) {
            let names: BTreeSet<String> = cycle.iter().map(|file| self.path(*file)).collect();
            let accepted = tables.cycles.iter().any(|accepted| accepted.files == names);
            let why = if names.len() > LARGEST_CYCLE {
                format!("a cycle can have {LARGEST_CYCLE} files at most")
            } else {
                format!("'Cycles that remain' in {DOCUMENT} does not list it; break it, or add a row with the reason")
            };
            if !accepted || names.len() > LARGEST_CYCLE {
                let arrows = self.imports.arrows.iter().filter(|((from, to), _)| cycle.contains(from) && cycle.contains(to));
                let sites: Vec<_> = arrows.map(|((from, to), site)| (*from, *to, site)).collect();
                let (count, names) = (names.len(), shortened(&names));
                report.errors.push(format!("{count} files import each other in a cycle: {why}: {names}{}", self.shown(&sites)));
            }
            known.insert(names);
        }
    }

    /// The imports that make a cycle, a line each.
    fn shown(&self, sites: &[(FileId, FileId, &Site)]) -> String {
        let mut text = String::new();
        for (from, to, site) in sites.iter().take(SHOWN) {
            let _ = write!(text, "\n  {}:{}: `{}` -> {}", self.path(*from), site.line, site.path, self.path(*to));
        }
        if sites.len() > SHOWN {
            let more = sites.len() - SHOWN;
            let _ = write!(text, "\n  and {more} more {}", if more == 1 { "import" } else { "imports" });
        }
        text
    }
}

/// The child of a folder that a file belongs to; `x.rs` and `x/` are one. None for the folder's own
/// head.
fn child<'a>(folder: &str, file: &'a str) -> Option<&'a str> {
    let rest = file.strip_prefix(folder)?;
    let name = rest.split('/').next()?;
    if name == rest && ["lib.rs", "main.rs", "mod.rs"].contains(&name) { None } else { Some(name.trim_end_matches(".rs")) }
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// The same, with only the first names of a long list.
fn shortened(names: &BTreeSet<String>) -> String {
    let first: BTreeSet<String> = names.iter().take(SHOWN).cloned().collect();
    let more = names.len() - first.len();
    if more > 0 { format!("{} and {more} more", list(&first)) } else { list(&first) }
}
