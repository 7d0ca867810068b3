//! The documents name files, tests, operations and rows that exist.

use super::root;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Returns the text files of the repository below a folder, relative to the root.
fn files(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            if name != "target" && name != ".git" {
                files(&entry.path(), found);
            }
        } else if name.ends_with(".rs") || name.ends_with(".md") {
            found.push(entry.path().strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
        }
    }
}

/// Returns the paths of all sources and documents.
fn tree() -> Vec<String> {
    let mut found = Vec::new();
    files(&root(), &mut found);
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("cannot read {path}: {e}"))
}

/// Returns the texts in backticks.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// Returns the first cells of the rows of all tables, without backticks.
fn first_cells(document: &str) -> BTreeSet<String> {
    let rows = document.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    rows.map(|cell| cell.replace('`', "")).collect()
}

#[test]
fn each_named_source_exists() {
    let tree = tree();
    let is_source = |text: &&str| text.ends_with(".rs") && !text.contains([' ', '*', '<', '{']);
    for document in tree.iter().filter(|path| path.ends_with(".md")) {
        let text = read(document);
        for name in code(&text).filter(is_source) {
            let ending = format!("/{name}");
            assert!(tree.iter().any(|path| path == name || path.ends_with(&ending)), "{document} names {name}");
        }
    }
}

#[test]
fn each_link_between_documents_has_a_target() {
    // Packages contain the README, and not the documents that it links.
    const HOME: &str = "https://github.com/quintet-ipc/quintet/blob/main/";
    for document in tree().iter().filter(|path| path.ends_with(".md")) {
        let text = read(document);
        let inline = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        let listed = text.lines().filter(|line| line.starts_with('[')).filter_map(|line| line.split_once("]: "));
        for link in inline.chain(listed.map(|(_, link)| link)) {
            let target = match link.strip_prefix(HOME) {
                Some(path) => root().join(path),
                None if link.is_empty() || link.contains("://") => continue,
                None => root().join(document).parent().unwrap().join(link),
            };
            assert!(target.exists(), "{document} links {link}");
        }
    }
}

/// A clause that expects a difference quotes the row that explains it.
#[test]
fn each_quoted_difference_is_a_row() {
    let mut quoted = 0;
    for path in tree().iter().filter(|path| path.starts_with("conformance/") && path.ends_with(".rs")) {
        let text = read(path);
        for quote in text.split("\"docs/").skip(1).filter_map(|rest| rest.split('"').next()) {
            let Some((document, row)) = quote.split_once(": ") else { continue };
            let rows = first_cells(&read(&format!("docs/{document}")));
            assert!(rows.contains(row), "{path} quotes a row that docs/{document} does not have: {row}");
            quoted += 1;
        }
    }
    assert_ne!(quoted, 0);
}

/// The tables name operations as `cargo xtask crash` prints them: `sets::wait::woken`.
#[test]
fn each_named_operation_exists() {
    let rows = first_cells(&read("docs/reliability.md"));
    let operations: Vec<_> = rows.iter().filter_map(|cell| cell.rsplit_once("::")).collect();
    assert!(operations.len() > 50, "{}", operations.len());
    for (group, name) in operations {
        let path = format!("crash/src/operations/{}.rs", group.replace("::", "/"));
        assert!(read(&path).contains(&format!("fn {name}(")), "{path} has no operation {name}");
    }
}
