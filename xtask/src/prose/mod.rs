//! `cargo xtask prose`: measures the prose of the tracked files against [`LIMITS`].
//!
//! Prose is what comments and `*.md` files hold, without code in backticks, code blocks and blank
//! lines. Two figures are checked:
//!
//! - personal and relative pronouns ([`PRONOUNS`]) per 1,000 lines. They hide which process or
//!   thread a sentence is about;
//! - the share of sentences with at most [`Limits::words`] words. Headings and table cells are no
//!   sentences; list items are.

mod markdown;
mod sources;
#[cfg(test)]
mod tests;

use markdown::Text;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// All limits of this check.
struct Limits {
    /// The most pronouns per 1,000 lines.
    pronouns: f64,
    /// The words of a short sentence.
    words: usize,
    /// The least share of short sentences, in percent.
    short: f64,
}

const LIMITS: Limits = Limits { pronouns: 2.0, words: 25, short: 90.0 };
const PRONOUNS: [&str; 9] = ["who", "whoever", "whom", "whose", "nobody", "somebody", "he", "his", "him"];

/// Measures the tracked files below `root`, or those below the paths among the arguments.
pub fn prose(root: &Path, args: &[&str]) -> Result<(), String> {
    let verbose = args.contains(&"--verbose");
    let paths: Vec<&str> = args.iter().copied().filter(|arg| *arg != "--verbose").collect();
    if let Some(option) = paths.iter().find(|path| path.starts_with('-')) {
        return Err(format!("xtask: cannot understand the option '{option}'; use 'cargo xtask prose [--verbose] [PATH...]'"));
    }
    let mut folders: BTreeMap<String, Counts> = BTreeMap::new();
    let (mut total, mut findings) = (Counts::default(), Findings::default());
    for file in tracked(root, &paths)? {
        // A file that the index lists may be gone, or hold bytes that are no text.
        let Ok(text) = std::fs::read_to_string(root.join(&file)) else { continue };
        let Some(prose) = sources::prose(&file, &text) else { continue };
        let counts = measure(&file, &prose, &mut findings);
        let folder = file.rfind('/').map_or("./", |end| &file[..=end]);
        folders.entry(folder.to_owned()).or_default().add(counts);
        total.add(counts);
    }
    if total.lines == 0 {
        return Err("xtask: cannot measure the prose: no tracked file with comments or text".to_owned());
    }
    if verbose {
        println!("{:>7} {:>8} {:>9} {:>9} {:>7}  folder", "lines", "pronouns", "per 1,000", "sentences", "short");
        for (folder, counts) in &folders {
            counts.print(folder);
        }
        total.print("total");
    }
    let is_over = total.per_thousand() > LIMITS.pronouns;
    let is_long = total.percent_short() < LIMITS.short;
    if is_over || !paths.is_empty() {
        findings.pronouns.iter().for_each(|line| println!("{line}"));
    }
    if !paths.is_empty() {
        findings.long.iter().for_each(|line| println!("{line}"));
    }
    println!("{}", total.summary());
    let mut failures = Vec::new();
    if is_over {
        failures.push(format!("write the noun in place of the pronoun (at most {} per 1,000 lines)", LIMITS.pronouns));
    }
    if is_long {
        failures.push(format!(
            "split long sentences (at least {} % must have at most {} words); 'cargo xtask prose PATH' lists them",
            LIMITS.short, LIMITS.words
        ));
    }
    if failures.is_empty() { Ok(()) } else { Err(format!("xtask: the prose exceeds its limits: {}", failures.join("; "))) }
}

/// The tracked files, relative to `root`.
fn tracked(root: &Path, paths: &[&str]) -> Result<Vec<String>, String> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--"]).args(paths).current_dir(root);
    let output = git.output().map_err(|e| format!("xtask: cannot run 'git ls-files': {e}"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(format!("xtask: cannot list the tracked files: {}", why.trim()));
    }
    let files = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(files.split('\0').filter(|file| !file.is_empty()).map(str::to_owned).collect())
}

/// The counts of a file, a folder or the tree.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Counts {
    /// Lines of comments and text that are not blank.
    lines: usize,
    pronouns: usize,
    sentences: usize,
    /// Sentences with more than [`Limits::words`] words.
    long: usize,
}

/// The lines to print, each with its file and number.
#[derive(Debug, Default)]
struct Findings {
    pronouns: Vec<String>,
    long: Vec<String>,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.lines += other.lines;
        self.pronouns += other.pronouns;
        self.sentences += other.sentences;
        self.long += other.long;
    }

    fn per_thousand(&self) -> f64 {
        1000.0 * self.pronouns as f64 / self.lines.max(1) as f64
    }

    fn percent_short(&self) -> f64 {
        if self.sentences == 0 {
            return 100.0;
        }
        100.0 * (self.sentences - self.long) as f64 / self.sentences as f64
    }

    fn print(&self, what: &str) {
        println!(
            "{:>7} {:>8} {:>9.1} {:>9} {:>5.1} %  {what}",
            self.lines,
            self.pronouns,
            self.per_thousand(),
            self.sentences,
            self.percent_short()
        );
    }

    fn summary(&self) -> String {
        format!(
            "prose: {} lines with {} pronouns ({:.1} per 1,000), {} sentences ({:.1} % with at most {} words)",
            self.lines,
            self.pronouns,
            self.per_thousand(),
            self.sentences,
            self.percent_short(),
            LIMITS.words
        )
    }
}

/// Measures the prose of one file.
fn measure(file: &str, prose: &[sources::Block], findings: &mut Findings) -> Counts {
    let mut counts = Counts::default();
    for block in prose {
        let Text { lines, sentences } = Text::of(block);
        for line in lines {
            counts.lines += 1;
            let found =
                words(&line.text).filter(|word| PRONOUNS.iter().any(|pronoun| word.eq_ignore_ascii_case(pronoun))).count();
            counts.pronouns += found;
            if found > 0 {
                findings.pronouns.push(format!("{file}:{}: pronoun: {}", line.number, line.text.trim()));
            }
        }
        for sentence in sentences {
            counts.sentences += 1;
            let words = sentence.words();
            if words > LIMITS.words {
                counts.long += 1;
                findings.long.push(format!("{file}:{}: {words} words: {}", sentence.number, sentence.text));
            }
        }
    }
    counts
}

/// The words of a text, without hyphens, apostrophes and other punctuation.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}
