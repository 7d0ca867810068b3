use super::*;

/// A crate with the folders `top/`, `left/` and `right/` (siblings), and `base/`.
struct Tree(tempfile::TempDir);

const TABLE: &str = "\
# Architecture

## Layers

### Layers of house/src

A row is a layer.

| folder | holds | may import | must never know |
|---|---|---|---|
| `lib.rs` | the root | everything below | nothing |
| `top/` | the roof | `left/`, `base/` and below | the sky |
| `left/`, `right/` | two wings | everything below | each other |
| `base/` | the ground | nothing | all |
";

impl Tree {
    fn new(files: &[(&str, &str)]) -> Tree {
        let tree = Tree(tempfile::tempdir().unwrap());
        tree.write("ARCHITECTURE.md", TABLE);
        tree.write("house/Cargo.toml", "[package]\nname = \"the-house\"\n");
        tree.write("house/src/lib.rs", "mod top;\nmod left;\nmod right;\nmod base;\n");
        for folder in ["top", "left", "right", "base"] {
            tree.write(&format!("house/src/{folder}/mod.rs"), "pub fn f() {}\n");
        }
        for (file, text) in files {
            tree.write(file, text);
        }
        tree
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.0.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn report(&self) -> Report {
        Report::of(self.0.path()).unwrap()
    }

    fn errors(&self) -> Vec<String> {
        self.report().errors
    }
}

#[test]
fn imports_down_pass_and_are_counted() {
    let tree = Tree::new(&[
        ("house/src/top/mod.rs", "use crate::left;\nuse crate::base::f;\npub fn g() { left::f(); f() }\n"),
        ("house/src/left/mod.rs", "mod inner;\npub use inner::deep;\npub fn f() { crate::base::f() }\n"),
        ("house/src/left/inner.rs", "pub fn deep() { println!(\"{:?}\", crate::base::f()) }\n"),
    ]);
    let report = tree.report();
    assert_eq!(report.errors, [""; 0]);
    let row = |name: &str| {
        let line = report.text.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        line.split_whitespace().skip(1).map(|cell| cell.parse().unwrap()).collect::<Vec<usize>>()
    };
    assert_eq!(row("top/"), [1, 0, 2, 0, 0, 0]);
    // The re-export is no import of the folder's own file.
    assert_eq!(row("left/"), [2, 0, 2, 0, 0, 0]);
    assert_eq!(row("total"), [6, 0, 4, 0, 0, 0]);
    assert!(report.text.contains("Cycles of files: 0\n"), "{}", report.text);
}

#[test]
fn an_import_that_runs_up_fails() {
    let tree = Tree::new(&[("house/src/base/mod.rs", "pub fn f() {\n    crate::top::f()\n}\n")]);
    assert_eq!(
        tree.errors(),
        [
            "house/src/base/mod.rs:2: cannot import `crate::top::f`: top/ stands above base/; move what both need to a layer below them"
        ]
    );
}

#[test]
fn an_import_through_super_or_a_macro_or_inside_a_function_fails() {
    for body in [
        "use super::top::f as g;",
        "pub fn h() { use super::top; top::f() }",
        "pub fn h() { assert!(super::top::f()) }",
        "macro_rules! m { () => { $crate::top::f() } }",
        "pub(crate) use crate::top::f as g;",
        "mod inner { pub fn h() { super::super::top::f() } }",
        "use crate::{base as own, top::*};\npub fn h() { f() }",
    ] {
        let tree = Tree::new(&[("house/src/base/mod.rs", body)]);
        let errors = tree.errors();
        assert_eq!(errors.len(), 1, "{body}: {errors:?}");
        assert!(errors[0].contains(": top/ stands above base/"), "{body}: {errors:?}");
    }
}

#[test]
fn tests_comments_and_strings_import_nothing() {
    let tree = Tree::new(&[(
        "house/src/base/mod.rs",
        "/// See [`crate::top::f`].\npub(crate) fn f() -> &'static str { \"crate::top::f\" }\n#[cfg(test)]\nmod tests { use crate::top::f; }\n\
         #[cfg(all(test, unix))]\nuse crate::top;\n#[test]\nfn t() { crate::top::f() }\n",
    )]);
    assert_eq!(tree.errors(), [""; 0]);
}

#[test]
fn an_import_between_siblings_fails() {
    let tree = Tree::new(&[("house/src/left/mod.rs", "use crate::right::f as other;\n")]);
    assert_eq!(
        tree.errors(),
        [
            "house/src/left/mod.rs:1: cannot import `crate::right::f`: right/ and left/ are siblings; move what both need to a layer below them"
        ]
    );
}

#[test]
fn an_import_that_the_row_does_not_list_fails() {
    let tree = Tree::new(&[("house/src/top/mod.rs", "use crate::right;\npub fn g() { right::f() }\n")]);
    assert_eq!(
        tree.errors(),
        ["house/src/top/mod.rs:2: cannot import `right::f`: the row of top/ does not list right/ under 'may import'"]
    );
}

#[test]
fn a_re_export_is_followed_to_the_defining_file_and_counts_where_it_stands() {
    // The item is below, but the path goes through the crate's root.
    let root = "mod top;\nmod left;\nmod right;\nmod base;\npub use base::f;\n";
    let tree = Tree::new(&[("house/src/lib.rs", root), ("house/src/left/mod.rs", "use crate::f as g;\n")]);
    assert_eq!(
        tree.errors(),
        ["house/src/left/mod.rs:1: cannot import `crate::f` through the re-export in house/src/lib.rs: \
          lib.rs stands above left/; move what both need to a layer below them"]
    );
    // The item is above, but a folder below hands it on, under another name and by a glob.
    let tree = Tree::new(&[
        ("house/src/base/mod.rs", "pub mod face;\n"),
        ("house/src/base/face.rs", "pub use crate::top::*;\n"),
        ("house/src/left/mod.rs", "use crate::base::face::f as g;\n"),
    ]);
    let errors = tree.errors();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with("house/src/base/face.rs:1: cannot import `crate::top`: top/ stands above"), "{errors:?}");
    assert!(errors[1].starts_with("house/src/left/mod.rs:1: cannot import `crate::base::face::f`: top/ stands"), "{errors:?}");
}

#[test]
fn a_glob_hands_on_public_names_only() {
    let tree = Tree::new(&[
        ("house/src/base/mod.rs", "mod a;\nmod b;\npub use a::*;\npub use b::*;\n"),
        ("house/src/base/a.rs", "use super::*;\nuse std::cell::Cell;\npub fn fa() -> Cell<u8> { Cell::new(0) }\n"),
        // `fa` is in the other file; `Cell` and `new` are not, although that file imports and calls
        // them.
        ("house/src/base/b.rs", "use super::*;\nuse std::cell::Cell;\npub fn fb() -> Cell<u8> { fa() }\n"),
        ("house/src/left/mod.rs", "use crate::base::*;\npub fn f() -> Option<Cell<u8>> { fb(); None }\n"),
    ]);
    let report = tree.report();
    assert_eq!(report.errors, [""; 0]);
    let row = |name: &str| report.text.lines().find(|line| line.trim_start().starts_with(name)).unwrap().trim().to_owned();
    let cells = |name: &str| row(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    // From b.rs to a.rs, and from both to the file with the glob.
    assert_eq!(cells("base/"), ["base/", "3", "3", "0", "0", "0", "0"]);
    // To b.rs, through the re-export in mod.rs.
    assert_eq!(cells("left/"), ["left/", "1", "0", "2", "0", "0", "0"]);
}

#[test]
fn a_cycle_of_four_files_fails_and_a_listed_cycle_of_two_passes() {
    let cycle: Vec<(String, String)> = (0..4)
        .map(|n| (format!("house/src/base/f{n}.rs"), format!("pub fn f{n}() {{ super::f{0}::f{0}() }}\n", (n + 1) % 4)))
        .collect();
    let mut files: Vec<(&str, &str)> = cycle.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
    files.push(("house/src/base/mod.rs", "mod f0;\nmod f1;\nmod f2;\nmod f3;\npub use f0::f0;\n"));
    let tree = Tree::new(&files);
    let errors = tree.errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    let begin = "4 files import each other in a cycle: a cycle can have 3 files at most: house/src/base/f0.rs, ";
    assert!(errors[0].starts_with(begin), "{errors:?}");
    assert!(errors[0].contains("\n  house/src/base/f3.rs:1: `super::f0::f0` -> house/src/base/f0.rs"), "{errors:?}");

    tree.write("house/src/base/f1.rs", "pub fn f1() { super::f0::f0() }\n");
    let errors = tree.errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("2 files import each other in a cycle: 'Cycles that remain'"), "{errors:?}");
    let row = |reason: &str| {
        format!(
            "{TABLE}\n### Cycles that remain\n\n| files | reason |\n|---|---|\n| `house/src/base/f0.rs`, `f1.rs` | {reason} |\n"
        )
    };
    tree.write("ARCHITECTURE.md", &row("Each returns the other."));
    let report = tree.report();
    assert_eq!(report.errors, [""; 0]);
    assert!(report.text.contains("  2 files, accepted: house/src/base/f0.rs, house/src/base/f1.rs\n"), "{}", report.text);

    tree.write("ARCHITECTURE.md", &row(""));
    assert!(Report::of(tree.0.path()).unwrap_err().contains("the reason is missing"));
    tree.write("ARCHITECTURE.md", &row("Each returns the other."));
    tree.write("house/src/base/f1.rs", "pub fn f1() {}\n");
    assert!(
        tree.errors()[0].contains("cannot find the cycle of house/src/base/f0.rs, house/src/base/f1.rs"),
        "{:?}",
        tree.errors()
    );
}

#[test]
fn a_cycle_between_folders_fails_in_a_crate_without_a_table() {
    let tree = Tree::new(&[
        ("play/Cargo.toml", "[package]\nname = \"play\"\n"),
        ("play/src/main.rs", "mod a;\nmod b;\nfn main() {}\n"),
        ("play/src/a/mod.rs", "mod x;\nmod y;\n"),
        ("play/src/a/x.rs", "pub fn x() { crate::b::z() }\n"),
        ("play/src/a/y.rs", "pub fn y() {}\n"),
        ("play/src/b/mod.rs", "pub fn z() {}\npub fn w() { crate::a::y::y() }\n"),
    ]);
    let errors = tree.errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("folders import each other in a cycle: play/src/a/, play/src/b/\n"), "{errors:?}");
    assert!(tree.report().text.contains("play/src: 5 files, 2 imports between them"), "{}", tree.report().text);
}

#[test]
fn a_program_imports_its_library() {
    let tree = Tree::new(&[
        ("play/Cargo.toml", "[package]\nname = \"play-room\"\n"),
        ("play/src/lib.rs", "pub mod a;\n"),
        ("play/src/a.rs", "pub fn x() {}\n"),
        ("play/src/bin/p/main.rs", "mod q;\nfn main() { play_room::a::x() }\n"),
        ("play/src/bin/p/q.rs", "use play_room::a;\nfn q() { a::x() }\n"),
    ]);
    let report = tree.report();
    assert_eq!(report.errors, [""; 0]);
    assert!(report.text.contains("play/src: 4 files, 2 imports between them"), "{}", report.text);
}

#[test]
fn every_file_needs_a_row_and_every_row_a_file() {
    let tree = Tree::new(&[
        ("house/src/lib.rs", "mod top;\nmod left;\nmod right;\nmod attic;\n"),
        ("house/src/attic.rs", "pub fn f() {}\n"),
    ]);
    assert_eq!(
        tree.errors(),
        [
            "house/src/attic.rs:1: cannot place the file: no row of 'Layers of house/src' in ARCHITECTURE.md covers it; add one",
            "ARCHITECTURE.md:14: cannot find `base/` in house/src; correct the row or remove it",
        ]
    );
}

#[test]
fn the_table_is_read_strictly() {
    let parse = |from: &str, to: &str| Tables::parse(&TABLE.replace(from, to), |_| true).map(|_| ());
    assert_eq!(parse("|---|", "|---|"), Ok(()));
    assert!(parse("| `base/` |", "| base |").unwrap_err().starts_with("ARCHITECTURE.md:14: cannot read the row"));
    assert!(parse("everything below", "most").unwrap_err().contains("cannot read 'most' in the column 'may import'"));
    assert!(parse("`left/`, `base/` and below", "`cellar/`").unwrap_err().contains("cannot allow `cellar/`: it has no row"));
    assert!(parse("ground | nothing", "ground | `top/`").unwrap_err().contains("cannot allow `top/`: it is not below `base/`"));
    assert!(parse("`right/`", "`top/`").unwrap_err().contains("cannot place `top/`: it has a row already"));
    assert_eq!(Tables::parse("# Nothing\n", |_| true).unwrap().crates.len(), 0);
}

#[test]
fn the_longest_entry_decides() {
    let table =
        TABLE.replace("`left/`, `right/`", "`base/deep/`, `base/one.rs`").replace("`left/`, `base/` and below", "nothing");
    let tables = Tables::parse(&table, |_| true).unwrap();
    let layers = &tables.crates[0];
    let entry = |file: &str| layers.place(file).map(|place| layers.entry(place));
    assert_eq!(entry("base/mod.rs"), Some("base/"));
    assert_eq!(entry("base.rs"), Some("base/"));
    assert_eq!(entry("base/deep/a.rs"), Some("base/deep/"));
    assert_eq!(entry("base/deep.rs"), Some("base/deep/"));
    assert_eq!(entry("base/one.rs"), Some("base/one.rs"));
    assert_eq!(entry("baseline.rs"), None);
    assert_eq!(layers.direction((2, 0), (2, 1)), Direction::Sideways);
}

#[test]
fn cycles_are_components() {
    let arrows = [(1, 2), (2, 1), (2, 3), (3, 4), (4, 5), (5, 3), (6, 1)];
    let found = cycles(&arrows.into_iter().collect());
    assert_eq!(found, [BTreeSet::from([1, 2]), BTreeSet::from([3, 4, 5])]);
}
