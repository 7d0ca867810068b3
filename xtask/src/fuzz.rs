//! `cargo xtask fuzz` and `cargo xtask sanitize`.
//!
//! Both need unstable flags of the compiler. `RUSTC_BOOTSTRAP` makes a stable compiler accept them.

use crate::run::{Outcome, cargo, root};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const TARGETS: [&str; 5] = ["calls", "files", "cli", "proc", "program"];
const UNSTABLE: (&str, &str) = ("RUSTC_BOOTSTRAP", "1");
/// The target that the sanitizers support.
pub const MACHINE: &str = "x86_64-unknown-linux-gnu";
/// The longest input: longer ones make a target slow and find nothing more.
const LONGEST: &str = "-max_len=1200";
/// The seconds after which a run counts as a hang; generous, because the machine may be busy.
const HANGS: [&str; 2] = ["-timeout=60", "-report_slow_units=60"];
const NO_LEAKS: &str = "-detect_leaks=0";
/// The size in bytes above which a pack is minimised to fewer inputs.
const PACKED: usize = 25_000;

/// The program and the files of a target's fuzzer.
struct Fuzzer {
    target: &'static str,
    program: PathBuf,
    corpus: PathBuf,
    findings: PathBuf,
    /// The directory for temporary files, which is emptied after each run.
    scratch: PathBuf,
    log: PathBuf,
}

/// Fuzzes one target, or each in turn, and prints the number of executions and findings.
pub fn fuzz(words: &[&str]) -> Outcome {
    let (mut targets, mut minutes) = (TARGETS.to_vec(), 10.0);
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match (*word, rest.as_slice().first()) {
            ("--minutes", Some(n)) => {
                let number = n.parse::<f64>().ok().filter(|n| (0.0..=100_000.0).contains(n));
                minutes = number.ok_or_else(|| format!("xtask: cannot read '{n}' as a number of minutes"))?;
                rest.next();
            }
            ("--minutes", None) => return Err("xtask: cannot read --minutes: it needs a number".to_owned()),
            (word, _) => {
                let target = TARGETS.into_iter().find(|target| *target == word);
                let target =
                    target.ok_or_else(|| format!("xtask: cannot find the target '{word}'; use one of {}", TARGETS.join(", ")))?;
                targets = vec![target];
            }
        }
    }
    let is_installed = Command::new("cargo").args(["fuzz", "--version"]).output().is_ok_and(|output| output.status.success());
    if !is_installed {
        return Err("xtask: cannot fuzz: cargo-fuzz is not installed; 'cargo install cargo-fuzz' installs it and needs a C++ \
                    compiler. 'cargo test -p quintet-fuzz' replays the corpora without it"
            .to_owned());
    }
    let build = root().join("target/fuzz/build");
    for target in &targets {
        let build = build.to_string_lossy();
        // Link-time optimisation takes minutes and does not help fuzzing.
        let variables = [UNSTABLE, ("CARGO_PROFILE_RELEASE_LTO", "off")];
        cargo(&["fuzz", "build", "--fuzz-dir", "fuzz", "--features", "live", "--target-dir", &build, target], &variables)?;
    }
    let built = build.join(MACHINE).join("release");
    let mut found = 0;
    for target in targets {
        found += Fuzzer::new(target, &built)?.fuzz(minutes)?;
    }
    if found == 0 {
        Ok(())
    } else {
        Err(format!("xtask: fuzzing found {found} failing {}", if found == 1 { "input" } else { "inputs" }))
    }
}

impl Fuzzer {
    fn new(target: &'static str, built: &Path) -> Result<Fuzzer, String> {
        let home = root().join("target/fuzz").join(target);
        let [corpus, findings, scratch] = ["corpus", "findings", "scratch"].map(|name| home.join(name));
        [&corpus, &findings, &scratch].into_iter().try_for_each(fs::create_dir_all).map_err(|e| failed(&home, e))?;
        Ok(Fuzzer { target, program: built.join(target), corpus, findings, scratch, log: home.join("log") })
    }

    /// Runs the fuzzer with its output in the log. Returns `true` if it succeeded.
    fn run(&self, words: &[&str]) -> Result<bool, String> {
        let log = File::options().create(true).append(true).open(&self.log).map_err(|e| failed(&self.log, e))?;
        let prefix = format!("-artifact_prefix={}/", self.findings.display());
        let mut command = Command::new(&self.program);
        command
            .args(words)
            .args(HANGS)
            .args([LONGEST, NO_LEAKS, &prefix])
            .env("TMPDIR", &self.scratch)
            .stdout(std::process::Stdio::null());
        let status = command.stderr(log).status().map_err(|e| failed(&self.program, e));
        let _ = fs::remove_dir_all(&self.scratch);
        fs::create_dir_all(&self.scratch).map_err(|e| failed(&self.scratch, e))?;
        Ok(status?.success())
    }

    /// Fuzzes for a time and packs the corpus if there are no findings. Returns the number of
    /// findings.
    fn fuzz(&self, minutes: f64) -> Result<usize, String> {
        let kept = root().join("fuzz/corpus");
        let pack = kept.join(self.target).with_extension("pack");
        unpack(&fs::read(&pack).unwrap_or_default(), &self.corpus).map_err(|e| failed(&self.corpus, e))?;
        eprintln!("xtask: {}: {minutes} minutes; the log is {}", self.target, self.log.display());
        File::create(&self.log).map_err(|e| failed(&self.log, e))?;
        let known = names(&self.findings)?;
        let (begin, used) = (Instant::now(), seconds_used());
        let time = format!("-max_total_time={}", (minutes * 60.0).ceil().max(1.0));
        let mut words = vec![self.corpus.to_string_lossy().into_owned()];
        // Earlier findings are seeds, too.
        words.extend(kept.join(self.target).is_dir().then(|| kept.join(self.target).to_string_lossy().into_owned()));
        words.extend([time, "-print_final_stats=1".to_owned()]);
        let succeeded = self.run(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
        let (took, used) = (begin.elapsed().as_secs(), seconds_used() - used);
        let found: Vec<PathBuf> = names(&self.findings)?.into_iter().filter(|path| !known.contains(path)).collect();
        let log = fs::read(&self.log).map_err(|e| failed(&self.log, e))?;
        let log = String::from_utf8_lossy(&log);
        let executions = log.lines().rev().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        let executions = executions.unwrap_or("unknown number of").trim();
        eprintln!(
            "xtask: {}: {executions} executions in {took} s ({used:.0} s of processor time), {} findings",
            self.target,
            found.len()
        );
        for path in &found {
            eprintln!(
                "xtask: replay: QUINTET_FUZZ_INPUT={} cargo test -p quintet-fuzz --test replay {}",
                path.display(),
                self.target
            );
        }
        if !succeeded && found.is_empty() {
            return Err(format!("xtask: cannot fuzz '{}': the fuzzer failed; see {}", self.target, self.log.display()));
        }
        // Minimising a corpus drops inputs that fail.
        if found.is_empty() {
            self.pack(&pack)?;
        }
        Ok(found.len())
    }

    /// Minimises the corpus into a pack in the repository.
    fn pack(&self, pack: &Path) -> Outcome {
        let minimal = self.corpus.with_file_name("minimal");
        let (to, from) = (minimal.to_string_lossy(), self.corpus.to_string_lossy());
        let mut inputs = Vec::new();
        // First by how often each branch is taken; if that keeps too many inputs, by whether it is
        // taken.
        for counted in ["-use_counters=1", "-use_counters=0"] {
            let _ = fs::remove_dir_all(&minimal);
            fs::create_dir_all(&minimal).map_err(|e| failed(&minimal, e))?;
            if !self.run(&["-set_cover_merge=1", counted, &to, &from])? {
                return Err(format!("xtask: cannot minimise the corpus of '{}': see {}", self.target, self.log.display()));
            }
            inputs = names(&minimal)?.iter().map(|path| fs::read(path).map_err(|e| failed(path, e))).collect::<Result<_, _>>()?;
            if inputs.iter().map(|input| 4 + input.len()).sum::<usize>() <= PACKED {
                break;
            }
        }
        inputs.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        let bytes = inputs.iter().flat_map(|input| (input.len() as u32).to_le_bytes().into_iter().chain(input.iter().copied()));
        let bytes: Vec<u8> = bytes.collect();
        fs::write(pack, &bytes).map_err(|e| failed(pack, e))?;
        eprintln!("xtask: {}: {} inputs, {} bytes", pack.display(), inputs.len(), bytes.len());
        Ok(())
    }
}

fn failed(path: &Path, e: std::io::Error) -> String {
    format!("xtask: cannot use {}: {e}", path.display())
}

/// Returns the files of a directory.
fn names(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(directory).map_err(|e| failed(directory, e))?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(|e| failed(directory, e))).collect()
}

/// Returns the processor time, in seconds, of the children that were waited for and of their
/// children. A tick is 10 ms.
fn seconds_used() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The fields behind the name begin with the third. The name may contain any character.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(15 - 2).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Writes the inputs of a pack to a directory. `fuzz/src/pack.rs` defines the format.
fn unpack(mut pack: &[u8], to: &Path) -> std::io::Result<()> {
    let mut number = 0;
    while let Some((len, rest)) = pack.split_first_chunk::<4>() {
        let Some((input, rest)) = rest.split_at_checked(u32::from_le_bytes(*len) as usize) else { break };
        fs::write(to.join(format!("kept-{number}")), input)?;
        (pack, number) = (rest, number + 1);
    }
    Ok(())
}

/// Runs threads of one process under two sanitizers, each in its own target directory.
///
/// `tsan.suppressions` lists the races that the thread sanitizer reports because the standard
/// library is not instrumented. A queue's lock is taken as on processors without `rseq`, because
/// the sanitizer sees those instructions.
pub fn sanitize() -> Outcome {
    let suppressions = root().join("quintet/tests/tsan.suppressions");
    let options = format!("suppressions={} halt_on_error=1", suppressions.display());
    let thread = ("thread", "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg tsan", &["--test", "threads"][..]);
    // The unit tests run here, too: Miri, which would check them, needs a nightly toolchain.
    let address = ("address", "-Zsanitizer=address", &["--lib", "--test", "threads", "--test", "race"][..]);
    for (name, flags, tests) in [thread, address] {
        let target = root().join("target/sanitize").join(name);
        let target = target.to_string_lossy();
        let run = [&["test", "-p", "quintet", "--target", MACHINE][..], tests].concat();
        cargo(&run, &[UNSTABLE, ("RUSTFLAGS", flags), ("CARGO_TARGET_DIR", &target), ("TSAN_OPTIONS", &options)])?;
    }
    Ok(())
}
