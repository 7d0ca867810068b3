//! The commands in README.md and in docs/ work as printed, and work again.
//!
//! Each block of the language `sh` is run by `sh -e`, in a directory and a namespace of the
//! document's own. All blocks of a document run in their order, and then all of them a second time.
//! A block that cannot run in a test says why, in a comment right above it:
//!
//! ```text
//! <!-- not run: it is this test suite -->
//! ```
//!
//! The word `no_run` after the language does the same, without a reason. Other languages are not
//! run: `console` and `text` are transcripts, and the blocks of `rust` in the README are doctests.

mod place;

use place::{Place, finish, lacks};
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

/// A fenced block of a document.
struct Block {
    /// The document and the line of the fence, `README.md:12`.
    place: String,
    /// The words after the fence; the first one is the language.
    words: Vec<String>,
    text: String,
    /// The reason why it is not run.
    not_run: Option<String>,
}

/// The result of a block that did not fail.
#[derive(PartialEq)]
enum Outcome {
    Done,
    /// A program is not installed.
    Skipped,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The documents, relative to the root of the repository.
fn documents() -> Vec<String> {
    let files = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut documents: Vec<_> = files.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")).collect();
    documents.sort();
    documents.insert(0, "README.md".to_owned());
    documents
}

/// Returns the fenced blocks of a document.
fn blocks(name: &str, document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut not_run = None;
    let mut lines = document.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let fence: String = line.trim_start().chars().take_while(|c| *c == '`').collect();
        if fence.len() >= 3 {
            let indent = line.len() - line.trim_start().len();
            let words: Vec<_> = line.trim().trim_matches('`').split([' ', ',']).map(String::from).collect();
            let place = format!("{name}:{number}");
            assert_ne!(words[0], "", "{place}: the block has no language; 'text' is for one without");
            let mut text = String::new();
            loop {
                let (line, _) = lines.next().unwrap_or_else(|| panic!("{place}: the block has no end"));
                if line.trim() == fence {
                    break;
                }
                text += line.get(indent..).unwrap_or_default();
                text.push('\n');
            }
            if words.iter().any(|word| word == "no_run") {
                not_run = not_run.or(Some("it is marked no_run".to_owned()));
            }
            blocks.push(Block { place, words, text, not_run: not_run.take() });
        } else if let Some(reason) = line.trim().strip_prefix("<!-- not run:") {
            let reason = reason.trim_end_matches("-->").trim();
            assert_ne!(reason, "", "{name}:{number}: the reason is missing");
            not_run = Some(reason.to_owned());
        } else if !line.trim().is_empty() {
            not_run = None;
        }
    }
    blocks
}

/// Runs a block, which must succeed.
fn run(place: &Place, block: &Block) -> Outcome {
    let (script, said) = (place.path("block"), place.path("said"));
    fs::write(&script, &block.text).unwrap();
    // A file and not a pipe: a daemon that the block starts inherits it.
    let output = fs::File::create(&said).unwrap();
    let mut command = place.command("sh");
    let path = format!("{}:{}", place.directory().display(), std::env::var("PATH").unwrap_or_default());
    command.arg("-e").arg(script).env("PATH", path);
    command.env("QUINTET_NAMESPACE", place.path("ns")).env("TMPDIR", place.path("tmp"));
    let status = finish(command.stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap());
    let said = String::from_utf8_lossy(&fs::read(said).unwrap()).into_owned();
    if status.code() == Some(127) {
        let last = said.lines().last().unwrap_or_default();
        lacks(&format!("a program of {} ({last})", block.place));
        return Outcome::Skipped;
    }
    assert!(status.success(), "{}: {status}\n{}\nprinted:\n{said}", block.place, block.text);
    Outcome::Done
}

/// Returns the number of segments, sets and queues.
fn objects(place: &Place) -> [usize; 3] {
    ["shm", "sem", "msg"].map(|kind| place.objects(kind).len())
}

/// Runs the blocks of a document twice.
fn run_twice(name: &str, blocks: &[&Block]) {
    let place = Place::of(&["postgres", "nobody"]);
    fs::create_dir(place.path("tmp")).unwrap();
    chown(place.path("tmp"), Some(place.uid()), Some(place.gid())).unwrap();
    place::run(place.command(place.path("quintet")).args(["namespace", "create"]).arg(place.path("ns")));
    let pass = || blocks.iter().map(|block| run(&place, block)).fold(true, |all, one| all & (one == Outcome::Done));
    let done = pass();
    let first = objects(&place);
    if pass() && done {
        assert_eq!(objects(&place), first, "{name}: the second run leaves more objects than the first");
        assert_eq!(fs::read_dir(place.path("tmp")).unwrap().count(), 0, "{name}: temporary files are left");
    }
}

#[test]
fn every_command_works_twice() {
    for name in documents() {
        let document = fs::read_to_string(root().join(&name)).unwrap();
        let blocks = blocks(&name, &document);
        let (not_run, run): (Vec<_>, Vec<_>) =
            blocks.iter().filter(|block| block.words[0] == "sh").partition(|block| block.not_run.is_some());
        for block in &not_run {
            println!("not run: {}: {}", block.place, block.not_run.as_deref().unwrap_or_default());
        }
        println!("run twice: {name}: {} of {} blocks of commands", run.len(), run.len() + not_run.len());
        if !run.is_empty() {
            run_twice(&name, &run);
        }
    }
}

/// The README is what a newcomer tries first: it has commands that run, and each language is a
/// known one.
#[test]
fn the_readme_has_all_three_kinds_of_blocks() {
    let blocks = blocks("README.md", &fs::read_to_string(root().join("README.md")).unwrap());
    let count = |language: &str| blocks.iter().filter(|block| block.words[0] == language).count();
    assert!(blocks.iter().filter(|block| block.words[0] == "sh" && block.not_run.is_none()).count() >= 2);
    assert_eq!(count("rust"), 3);
    let known = ["sh", "console", "rust", "toml"];
    for block in &blocks {
        assert!(known.contains(&&*block.words[0]), "{}: {}", block.place, block.words[0]);
    }
}

#[test]
fn blocks_are_found() {
    let document = "\
text
```sh
a
  b
```
<!-- not run: it takes long -->

```sh
c
```
- item
  ```sh no_run
  d
  ```
<!-- not run: not above a block -->
text
````text
```
````
```rust,no_run
";
    let end = "```\n";
    let blocks = blocks("X.md", &(document.to_owned() + end));
    let found: Vec<_> = blocks.iter().map(|b| (&*b.place, &*b.words[0], &*b.text, b.not_run.as_deref())).collect();
    let expected = [
        ("X.md:2", "sh", "a\n  b\n", None),
        ("X.md:8", "sh", "c\n", Some("it takes long")),
        ("X.md:12", "sh", "d\n", Some("it is marked no_run")),
        ("X.md:17", "text", "```\n", None),
        ("X.md:20", "rust", "", Some("it is marked no_run")),
    ];
    assert_eq!(found, expected);
}
