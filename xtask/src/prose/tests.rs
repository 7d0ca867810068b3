use super::sources::{Line, prose};
use super::*;

fn of(file: &str, text: &str) -> (Counts, Findings) {
    let mut findings = Findings::default();
    let counts = measure(file, &prose(file, text).unwrap(), &mut findings);
    (counts, findings)
}

fn counts(lines: usize, pronouns: usize, sentences: usize, long: usize) -> Counts {
    Counts { lines, pronouns, sentences, long }
}

/// A sentence of as many words.
fn sentence(words: usize) -> String {
    let mut text = vec!["word"; words].join(" ");
    text.replace_range(..1, "W");
    text + "."
}

#[test]
fn rust_comments_are_lines_and_strings_are_not() {
    let text = r##"//! Head of the file.
//!
//! Second paragraph: who waits, and whose turn it is.

/// `who` is code. The head: "the".
fn f() -> &'static str {
    let quote = '"'; // A trailing comment with HIS name.
    let _ = ("https://example.org", r#"// not a comment: who"#, b'\'', "\" // who");
    /* One line.
       * Nobody there. */
    "x"
}
"##;
    let (counted, findings) = of("a.rs", text);
    assert_eq!(counted, counts(6, 4, 7, 0));
    let places: Vec<&str> = findings.pronouns.iter().map(|line| line.rsplit_once(" pronoun").unwrap().0).collect();
    assert_eq!(places, ["a.rs:3:", "a.rs:7:", "a.rs:10:"]);
    assert_eq!(findings.pronouns[1], "a.rs:7: pronoun: A trailing comment with HIS name.");
}

#[test]
fn each_pronoun_counts_as_a_word_only() {
    for pronoun in PRONOUNS {
        assert_eq!(of("a.md", &format!("A {pronoun}.")).0.pronouns, 1, "{pronoun}");
    }
    assert_eq!(of("a.md", "He's the one whose whole heap this is; whosoever, hers, `him`, his_name.").0.pronouns, 2);
}

#[test]
fn shell_and_toml_comments_begin_with_a_hash_outside_quotes() {
    let script = "#!/bin/sh\n# Nobody reads this.\necho \"# who\" $# ${x#y} # his\n";
    assert_eq!(of("run", script).0, counts(2, 2, 2, 0));
    assert_eq!(of("a.toml", "name = \"a # who\" # He.\n# One sentence\n# on two lines.\n").0, counts(3, 1, 2, 0));
    assert_eq!(prose("LICENSE", "Who may copy"), None);
    assert_eq!(prose("a.json", "# who"), None);
}

#[test]
fn c_comments_are_lines() {
    let text = "// Who.\n#define X '\"' /* him */\nchar *s = \"// who\";\n/*\n * Two\n * lines.\n */\n";
    assert_eq!(of("a.c", text).0, counts(4, 2, 3, 0));
}

#[test]
fn markdown_leaves_code_out_and_counts_tables_and_headings_as_lines_only() {
    let text = "\
# Who decides

One sentence. Two sentences, by `code who`. `Code` begins the third! Version 1.2 and e.g. A do
not split it (see [the who](who.md)).

```
who who who
```

    who in an indented block

| who | what |
|---|---|
| his | hers |

- An item
  goes on.
- Another. With two.
";
    assert_eq!(of("a.md", text).0, counts(9, 4, 7, 0));
    let block: Vec<Line> = prose("a.md", text).unwrap().remove(0);
    let sentences: Vec<String> = Text::of(&block).sentences.into_iter().map(|sentence| sentence.text).collect();
    assert_eq!(
        sentences,
        [
            "One sentence.",
            "Two sentences, by `.",
            "` begins the third!",
            "Version 1.2 and e.g. A do not split it (see [the who]).",
            "An item goes on.",
            "Another.",
            "With two.",
        ]
    );
}

#[test]
fn examples_in_documentation_are_code() {
    let text = "/// Returns it.\n///\n/// ```\n/// // Who cares.\n/// assert!(true);\n/// ```\nfn f() {}\n";
    assert_eq!(of("a.rs", text).0, counts(1, 0, 1, 0));
}

#[test]
fn a_sentence_is_long_from_26_words_on() {
    assert_eq!(of("a.md", &sentence(25)).0, counts(1, 0, 1, 0));
    let (counted, findings) = of("a.md", &format!("{}\n{}\n", sentence(26), sentence(3)));
    assert_eq!(counted, counts(2, 0, 2, 1));
    assert!(findings.long[0].starts_with("a.md:1: 26 words: Word word "), "{:?}", findings.long);
    // Code is one word, however long; a dash is none.
    assert_eq!(of("a.md", &format!("`{}` — {}", sentence(9), sentence(24))).0, counts(1, 0, 1, 0));
}

#[test]
fn the_tree_is_judged_by_its_totals() {
    let tree = tempfile::tempdir().unwrap();
    let git = |args: &[&str]| assert!(Command::new("git").args(args).current_dir(tree.path()).status().unwrap().success());
    let write = |file: &str, text: &str| std::fs::write(tree.path().join(file), text).unwrap();
    git(&["init", "--quiet"]);
    // 2 pronouns in 1,000 lines: exactly at the limit.
    write("a.md", &format!("{}- He, his.\n", "- Line.\n".repeat(999)));
    write("untracked.md", "Who? Who? Who?");
    git(&["add", "a.md"]);
    prose_of(tree.path()).unwrap();
    write("b.md", &format!("{}\nHe.\n", format!("- {}\n", sentence(26)).repeat(112)));
    git(&["add", "b.md"]);
    let why = prose_of(tree.path()).unwrap_err();
    assert!(why.contains("the noun in place of the pronoun") && why.contains("split long sentences"), "{why}");
    // 111 of 1,111 sentences are long.
    write("b.md", &format!("- {}\n", sentence(26)).repeat(111));
    prose_of(tree.path()).unwrap();
}

fn prose_of(root: &Path) -> Result<(), String> {
    super::prose(root, &[])
}
