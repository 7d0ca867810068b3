//! `cargo xtask coverage`: which lines of the library and of the drop-in the tests run.
//!
//! The tests fork, kill and preload, so the counters are kept in mapped files as they count (`%c`): who is killed has counted, too.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is measured.
const MEASURED: [&str; 2] = ["quintet/src/", "quintet-preload/src/"];
/// Of these each line that is not run is told.
const TOLD: [&str; 4] = ["quintet/src/sem/", "quintet/src/msg/", "quintet/src/shm/", "quintet/src/sync/"];
/// What runs; more by further arguments ("-p conformance").
const PACKAGES: [&str; 4] = ["-p", "quintet", "-p", "quintet-preload"];

/// How often each line of a file was run.
type Lines = BTreeMap<u32, u64>;

/// Runs the tests, instrumented, with further arguments for them; `measured`: only prints what the last run has counted.
pub fn coverage(root: &Path, args: &[&str]) -> Result<(), String> {
    let root = root.canonicalize().map_err(|e| format!("xtask: {}: {e}", root.display()))?;
    let tools = Tools::find()?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from).join("coverage");
    let raw = target.join("raw");
    let build = |args: &[&str]| {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.arg("test").args(PACKAGES).args(["--locked", "--no-fail-fast"]).args(args).current_dir(&root);
        cargo.env("RUSTFLAGS", "-C instrument-coverage -C llvm-args=-runtime-counter-relocation");
        // Few of the points at which a process can be killed run the lines that all of them do.
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
        return Err("xtask: the tests cannot be built".to_owned());
    }
    let objects = objects(&String::from_utf8_lossy(&built.stdout));
    if args != ["measured"] {
        let _ = std::fs::remove_dir_all(&raw);
        std::fs::create_dir_all(&raw).map_err(|e| format!("xtask: {}: {e}", raw.display()))?;
        let status = build(args).status().map_err(|e| format!("xtask: cannot run cargo: {e}"))?;
        if !status.success() {
            // Some look at the very instructions, or at system calls, and find the counters'.
            eprintln!("xtask: some tests fail when they are measured; what they have run counts");
        }
    }
    report(&root, &tools.lines(&root, &raw, &target, &objects)?)
}

/// The programs and libraries that cargo has built.
fn objects(messages: &str) -> BTreeSet<String> {
    let quoted = messages.split('"');
    quoted.filter(|text| text.starts_with('/') && (text.contains("/deps/") || text.ends_with(".so"))).map(str::to_owned).collect()
}

/// LLVM's programs that read the counters.
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
        let libraries = Command::new(&rustc).args(["--print", "target-libdir"]).output().map_err(|e| format!("xtask: {e}"))?;
        let own = Path::new(String::from_utf8_lossy(&libraries.stdout).trim_end()).join("../bin");
        let find = |name: &str| -> Result<PathBuf, String> {
            let versioned = format!("{name}-{major}");
            let candidates = [own.join(name), PathBuf::from(versioned), PathBuf::from(name)];
            candidates.into_iter().find(|tool| reads(tool, major)).ok_or_else(|| {
                format!(
                    "xtask: coverage needs {name} of LLVM {major} or newer, as rustc has; there is none. \
                     'rustup component add llvm-tools' or 'apt-get install llvm-{major}' brings it"
                )
            })
        };
        Ok(Tools { profdata: find("llvm-profdata")?, cov: find("llvm-cov")? })
    }

    /// What was counted of each file, by its path.
    fn lines(
        &self,
        root: &Path,
        raw: &Path,
        target: &Path,
        objects: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Lines>, String> {
        let merged = target.join("merged.profdata");
        let files = std::fs::read_dir(raw).map_err(|e| format!("xtask: nothing was measured: {}: {e}", raw.display()))?;
        let files: Vec<PathBuf> = files.flatten().map(|entry| entry.path()).collect();
        let mut merge = Command::new(&self.profdata);
        // A process that is killed before it has set its file up leaves half of one.
        merge.args(["merge", "--sparse", "--failure-mode=all", "-o"]).arg(&merged).args(files).stderr(Stdio::null());
        match merge.status() {
            Ok(status) if status.success() => {}
            _ => return Err(format!("xtask: {} cannot read the counters in {}", self.profdata.display(), raw.display())),
        }
        let mut export = Command::new(&self.cov);
        export.args(["export", "--format=lcov", "--instr-profile"]).arg(&merged);
        for object in objects
            .iter()
            .filter(|object| Path::new(object).is_file() && !object.ends_with(".rlib") && !object.ends_with(".rmeta"))
        {
            export.arg("--object").arg(object);
        }
        let output =
            export.args(MEASURED.map(|of| root.join(of))).output().map_err(|e| format!("xtask: {}: {e}", self.cov.display()))?;
        if !output.status.success() {
            return Err(format!("xtask: llvm-cov: {}", String::from_utf8_lossy(&output.stderr)));
        }
        Ok(parse(root, &String::from_utf8_lossy(&output.stdout)))
    }
}

/// Whether a program is there, and not older than the compiler.
fn reads(tool: &Path, major: &str) -> bool {
    let Ok(output) = Command::new(tool).arg("--version").output() else { return false };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split("version ").nth(1).and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    version.zip(major.parse().ok()).is_some_and(|(version, least)| version >= least)
}

/// What an lcov file says: `SF:` path, `DA:` line, count.
fn parse(root: &Path, text: &str) -> BTreeMap<String, Lines> {
    let mut files: BTreeMap<String, Lines> = BTreeMap::new();
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
    files
}

fn report(root: &Path, files: &BTreeMap<String, Lines>) -> Result<(), String> {
    if files.is_empty() {
        return Err("xtask: nothing was counted".to_owned());
    }
    let mut sums: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    println!("{:>6} {:>6} {:>7}  file", "lines", "run", "");
    for (path, lines) in files {
        let run = lines.values().filter(|count| **count > 0).count();
        println!("{:>6} {run:>6} {:>6.1}%  {path}", lines.len(), percent(run, lines.len()));
        for of in MEASURED.iter().chain(&TOLD).filter(|of| path.starts_with(**of)) {
            let sum = sums.entry(of).or_default();
            *sum = (sum.0 + lines.len(), sum.1 + run);
        }
    }
    for (of, (lines, run)) in &sums {
        println!("{lines:>6} {run:>6} {:>6.1}%  {of}", percent(*run, *lines));
    }
    for (path, lines) in files.iter().filter(|(path, _)| TOLD.iter().any(|of| path.starts_with(of))) {
        let text = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        for (line, _) in lines.iter().filter(|(_, count)| **count == 0) {
            println!("not run: {path}:{line}: {}", text.lines().nth(*line as usize - 1).unwrap_or_default().trim());
        }
    }
    Ok(())
}

fn percent(run: usize, lines: usize) -> f64 {
    100.0 * run as f64 / lines.max(1) as f64
}
