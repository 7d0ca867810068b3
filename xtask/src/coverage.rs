//! `cargo xtask coverage`: the lines of the library and of the preload library that the tests run.
//!
//! The tests fork, kill and preload. The counters are therefore kept in mapped files (`%c`), so
//! that the counts of a killed process survive.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The measured folders.
const MEASURED: [&str; 2] = ["quintet/src/", "quintet-preload/src/"];
/// The folders of which each line that no test runs is printed.
const PRINTED: [&str; 4] = ["quintet/src/sem/", "quintet/src/msg/", "quintet/src/shm/", "quintet/src/sync/"];
/// The least share of each crate's lines that the tests must run, in percent.
const LEAST: f64 = 95.0;
/// The document that explains why no test runs some lines of [`PRINTED`].
const EXPLAINED: &str = "docs/coverage.md";
/// The packages with the tests that run.
const PACKAGES: [&str; 6] = ["-p", "quintet", "-p", "quintet-preload", "-p", "conformance"];

/// Flags for counters that live in a file, which is mapped when the program starts.
///
/// Code that runs earlier is not counted. `.init_array` runs in link order, in which the counters'
/// own entry is last; the linker flag reverses that order.
const COUNTED: &str = "-C instrument-coverage -C llvm-args=-runtime-counter-relocation \
                       -C link-arg=-Wl,--shuffle-sections=.init_array=-1";

/// The number of times that each line of a file ran.
type Lines = BTreeMap<u32, u64>;

/// Runs the instrumented tests with further arguments for them. The argument `measured` only prints
/// the counts of the last run.
pub fn coverage(root: &Path, args: &[&str]) -> Result<(), String> {
    let root = root.canonicalize().map_err(|e| format!("xtask: cannot find {}: {e}", root.display()))?;
    let tools = Tools::find()?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from).join("coverage");
    let raw = target.join("raw");
    let build = |args: &[&str]| {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.arg("test").args(PACKAGES).args(["--locked", "--no-fail-fast"]).args(args).current_dir(&root);
        cargo.env("RUSTFLAGS", COUNTED).env("RUSTDOCFLAGS", COUNTED);
        // A fraction of the kill points runs the same lines as all of them.
        if env::var_os("QUINTET_CRASH_EVERY").is_none() {
            cargo.env("QUINTET_CRASH_EVERY", "40");
        }
        cargo.env("CARGO_TARGET_DIR", &target).env("CARGO_INCREMENTAL", "0");
        cargo.env("LLVM_PROFILE_FILE", raw.join("%m%c.profraw"));
        cargo
    };
    let built = build(&["--no-run", "--message-format=json"]).stderr(Stdio::inherit()).output();
    let built = built.map_err(|e| format!("xtask: cannot run cargo: {e}"))?;
    if !built.status.success() {
        return Err("xtask: cannot build the tests: see the errors above".to_owned());
    }
    let mut objects = objects(&String::from_utf8_lossy(&built.stdout));
    // The tests build the preload library themselves.
    objects.insert(target.join("debug/libquintet_preload.so").display().to_string());
    if args != ["measured"] {
        let _ = std::fs::remove_dir_all(&raw);
        std::fs::create_dir_all(&raw).map_err(|e| format!("xtask: cannot create {}: {e}", raw.display()))?;
        let status = build(args).status().map_err(|e| format!("xtask: cannot run cargo: {e}"))?;
        if !status.success() {
            // Tests that inspect instructions or system calls also see those of the counters.
            eprintln!("xtask: some tests fail under measurement; the lines that they ran count");
        }
        gather_strays(&root, &raw).map_err(|e| format!("xtask: cannot move counters to {}: {e}", raw.display()))?;
    }
    report(&root, &tools.lines(&root, &raw, &target, &objects)?)
}

/// Moves the counters of processes that were started without `LLVM_PROFILE_FILE` to the other
/// counters. Such a process writes a file with a default name to its working directory.
fn gather_strays(root: &Path, raw: &Path) -> std::io::Result<()> {
    let folders = MEASURED.iter().map(|of| root.join(of).join("..")).chain([root.to_owned(), root.join("conformance")]);
    for folder in folders {
        for stray in std::fs::read_dir(folder)?.flatten() {
            let name = stray.file_name();
            if name.to_string_lossy().starts_with("default_") && name.to_string_lossy().ends_with(".profraw") {
                std::fs::copy(stray.path(), raw.join(name))?;
                std::fs::remove_file(stray.path())?;
            }
        }
    }
    Ok(())
}

/// Returns the programs and libraries that cargo built, from its JSON messages.
fn objects(messages: &str) -> BTreeSet<String> {
    let quoted = messages.split('"');
    quoted.filter(|text| text.starts_with('/') && (text.contains("/deps/") || text.ends_with(".so"))).map(str::to_owned).collect()
}

/// The programs of LLVM that read the counters.
struct Tools {
    profdata: PathBuf,
    cov: PathBuf,
}

impl Tools {
    fn find() -> Result<Tools, String> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let version = Command::new(&rustc).arg("-vV").output().map_err(|e| format!("xtask: cannot run rustc: {e}"))?;
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: ")).unwrap_or_default();
        let major = llvm.split('.').next().unwrap_or_default();
        let libraries = Command::new(&rustc)
            .args(["--print", "target-libdir"])
            .output()
            .map_err(|e| format!("xtask: cannot run rustc: {e}"))?;
        let own = Path::new(String::from_utf8_lossy(&libraries.stdout).trim_end()).join("../bin");
        let find = |name: &str| -> Result<PathBuf, String> {
            let versioned = format!("{name}-{major}");
            let candidates = [own.join(name), PathBuf::from(versioned), PathBuf::from(name)];
            candidates.into_iter().find(|tool| can_read(tool, major)).ok_or_else(|| {
                format!(
                    "xtask: cannot find {name} of LLVM {major} (rustc's version) or newer; \
                     'rustup component add llvm-tools' or 'apt-get install llvm-{major}' installs it"
                )
            })
        };
        Ok(Tools { profdata: find("llvm-profdata")?, cov: find("llvm-cov")? })
    }

    /// Returns the counts of each file, by path.
    fn lines(
        &self,
        root: &Path,
        raw: &Path,
        target: &Path,
        objects: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Lines>, String> {
        let merged = target.join("merged.profdata");
        let files = std::fs::read_dir(raw).map_err(|e| format!("xtask: cannot read the counters in {}: {e}", raw.display()))?;
        let files: Vec<PathBuf> = files.flatten().map(|entry| entry.path()).collect();
        let mut merge = Command::new(&self.profdata);
        // A process that is killed during its start leaves an incomplete file.
        merge.args(["merge", "--sparse", "--failure-mode=all", "-o"]).arg(&merged).args(files).stderr(Stdio::null());
        match merge.status() {
            Ok(status) if status.success() => {}
            _ => return Err(format!("xtask: {} cannot read the counters in {}", self.profdata.display(), raw.display())),
        }
        // Each program is exported separately: in a common export, a function that one program does
        // not use counts as unused by all of them.
        let mut files = BTreeMap::new();
        let programs = objects.iter().filter(|object| !object.ends_with(".rlib") && !object.ends_with(".rmeta"));
        for object in programs.filter(|object| Path::new(object).is_file()) {
            let mut export = Command::new(&self.cov);
            export.args(["export", "--format=lcov", "--skip-branches", "--instr-profile"]).arg(&merged).arg(object);
            let output = export.output().map_err(|e| format!("xtask: cannot run {}: {e}", self.cov.display()))?;
            // Build scripts are not instrumented, so the export fails for them.
            if output.status.success() {
                parse(root, &String::from_utf8_lossy(&output.stdout), &mut files);
            }
        }
        Ok(files)
    }
}

/// Returns `true` if a program exists and is not older than the compiler.
fn can_read(tool: &Path, major: &str) -> bool {
    let Ok(output) = Command::new(tool).arg("--version").output() else { return false };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split("version ").nth(1).and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    version.zip(major.parse().ok()).is_some_and(|(version, least)| version >= least)
}

/// Adds the counts of an lcov file: lines `SF:PATH` and `DA:LINE,COUNT`.
fn parse(root: &Path, text: &str, files: &mut BTreeMap<String, Lines>) {
    let mut current = None;
    for line in text.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            let path = Path::new(path).strip_prefix(root).unwrap_or(Path::new(path)).display().to_string();
            current = MEASURED.iter().any(|of| path.starts_with(of)).then_some(path);
        } else if let (Some(path), Some((line, count))) =
            (&current, line.strip_prefix("DA:").and_then(|rest| rest.split_once(',')))
            && let (Ok(line), Ok(count)) = (line.parse(), count.parse::<u64>())
        {
            let known = files.entry(path.clone()).or_default().entry(line).or_default();
            *known = (*known).max(count);
        }
    }
}

/// Returns the folder of a file.
fn module(path: &str) -> &str {
    path.rfind('/').map_or(path, |end| &path[..=end])
}

/// Prints the tables and the lines that did not run. Fails if a crate is below [`LEAST`].
fn report(root: &Path, files: &BTreeMap<String, Lines>) -> Result<(), String> {
    if files.is_empty() {
        return Err("xtask: cannot report the coverage: the counters are empty".to_owned());
    }
    let explained = Explained::read(root)?;
    println!("{:>6} {:>6} {:>7}  file", "lines", "run", "");
    for (path, lines) in files {
        Sum::of([lines]).print(path);
    }
    println!("{:>6} {:>6} {:>7}  module", "lines", "run", "");
    let modules: BTreeSet<&str> = files.keys().map(|path| module(path)).collect();
    for of in modules {
        Sum::of(files.iter().filter(|(path, _)| module(path) == of).map(|(_, lines)| lines)).print(of);
    }
    let mut short = Vec::new();
    println!("{:>6} {:>6} {:>7}  crate", "lines", "run", "");
    for of in MEASURED {
        let sum = Sum::of(files.iter().filter(|(path, _)| path.starts_with(of)).map(|(_, lines)| lines));
        sum.print(of);
        if sum.percent() < LEAST {
            short.push(format!("{:.1} % of {of}", sum.percent()));
        }
    }
    Sum::of(files.values()).print("total");
    let (mut known, mut unknown) = (0, 0);
    for (path, lines) in files.iter().filter(|(path, _)| PRINTED.iter().any(|of| path.starts_with(of))) {
        let text = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        let covered = explained.lines(path, &text);
        for (line, _) in lines.iter().filter(|(_, count)| **count == 0) {
            if covered.contains(line) {
                known += 1;
            } else {
                unknown += 1;
                println!("not run: {path}:{line}: {}", text.lines().nth(*line as usize - 1).unwrap_or_default().trim());
            }
        }
    }
    println!("lines of sem, msg, shm and sync that did not run: {known} explained in {EXPLAINED}, {unknown} unexplained");
    if short.is_empty() { Ok(()) } else { Err(format!("xtask: the tests run {}; at least {LEAST} % must run", short.join(", "))) }
}

/// A number of lines, and the number of those that ran.
#[derive(Default)]
struct Sum {
    lines: usize,
    run: usize,
}

impl Sum {
    fn of<'a>(files: impl IntoIterator<Item = &'a Lines>) -> Sum {
        let counts = files.into_iter().flat_map(BTreeMap::values);
        counts.fold(Sum::default(), |sum, count| Sum { lines: sum.lines + 1, run: sum.run + usize::from(*count > 0) })
    }

    fn percent(&self) -> f64 {
        100.0 * self.run as f64 / self.lines.max(1) as f64
    }

    fn print(&self, what: &str) {
        println!("{:>6} {:>6} {:>6.1}%  {what}", self.lines, self.run, self.percent());
    }
}

/// The table in [`EXPLAINED`] of the lines that no test runs.
struct Explained {
    /// A file, text that occurs in exactly one of its lines, and the number of lines from there on.
    rows: Vec<(String, String, u32)>,
}

impl Explained {
    fn read(root: &Path) -> Result<Explained, String> {
        let text = std::fs::read_to_string(root.join(EXPLAINED)).map_err(|e| format!("xtask: cannot read {EXPLAINED}: {e}"))?;
        let row = |line: &str| {
            let (file, rest) = line.strip_prefix("| ")?.split_once(" | `")?;
            let (code, rest) = rest.split_once("` | ")?;
            let lines = rest.split(" |").next()?.parse().ok()?;
            // A bar inside a table's cell is escaped.
            Some((format!("quintet/src/{file}"), code.replace("\\|", "|"), lines))
        };
        let rows: Vec<_> = text.lines().filter_map(row).collect();
        for (path, code, _) in &rows {
            let source = std::fs::read_to_string(root.join(path))
                .map_err(|e| format!("xtask: cannot read {path}, which {EXPLAINED} names: {e}"))?;
            match source.lines().filter(|line| line.contains(code.as_str())).count() {
                1 => {}
                0 => return Err(format!("xtask: cannot find a line of {EXPLAINED} in {path}: {code}; correct the table")),
                n => return Err(format!("xtask: {n} lines of {path} match a line of {EXPLAINED}: {code}; name one of them")),
            }
        }
        Ok(Explained { rows })
    }

    /// Returns the numbers of a file's explained lines.
    fn lines(&self, path: &str, text: &str) -> BTreeSet<u32> {
        let rows = self.rows.iter().filter(|(of, ..)| of == path);
        let found = |(_, code, lines): &(String, String, u32)| {
            let lines = *lines;
            let begins = text.lines().zip(1u32..).filter(|(line, _)| line.contains(code.as_str())).map(|(_, nth)| nth);
            begins.flat_map(|from| from..from + lines).collect::<Vec<_>>()
        };
        rows.flat_map(found).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explained_lines_exist() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let explained = Explained::read(&root).unwrap();
        assert!(!explained.rows.is_empty());
        for (path, code, lines) in &explained.rows {
            let text = std::fs::read_to_string(root.join(path)).unwrap();
            assert!(explained.lines(path, &text).len() >= *lines as usize, "{path}: {code}");
        }
    }

    #[test]
    fn lcov_counts_are_parsed() {
        let text =
            "SF:/x/quintet/src/sem/set.rs\nDA:3,0\nDA:4,2\nDA:3,1\nend_of_record\nSF:/rust/core.rs\nDA:1,0\nend_of_record\n";
        let mut files = BTreeMap::new();
        parse(Path::new("/x"), text, &mut files);
        parse(Path::new("/x"), "SF:/x/quintet/src/sem/set.rs\nDA:4,0\n", &mut files);
        assert_eq!(files.keys().collect::<Vec<_>>(), ["quintet/src/sem/set.rs"]);
        let sum = Sum::of(files.values());
        assert_eq!((sum.lines, sum.run, sum.percent()), (2, 2, 100.0));
        assert_eq!(module("quintet/src/sem/set.rs"), "quintet/src/sem/");
    }
}
