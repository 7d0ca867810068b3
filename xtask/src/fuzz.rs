//! Fuzzing and sanitizers. Both need flags of the compiler that are not stable, which `RUSTC_BOOTSTRAP` has it take.

use crate::{Steps, cargo, root};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const TARGETS: [&str; 5] = ["calls", "files", "cli", "proc", "program"];
const UNSTABLE: (&str, &str) = ("RUSTC_BOOTSTRAP", "1");
/// What a sanitizer is there for.
pub const MACHINE: &str = "x86_64-unknown-linux-gnu";
/// More bytes than this make a target slow, and say no more.
const LONGEST: &str = "-max_len=1200";
/// A run that takes so many seconds hangs, also where others want the processor.
const HANGS: [&str; 2] = ["-timeout=60", "-report_slow_units=60"];
const NO_LEAKS: &str = "-detect_leaks=0";
/// A pack of more bytes than this is made anew of fewer inputs.
const PACKED: usize = 25_000;

/// Where a target's fuzzer is at home.
struct Place {
    target: &'static str,
    program: PathBuf,
    corpus: PathBuf,
    findings: PathBuf,
    /// What its processes make, and leave behind.
    room: PathBuf,
    log: PathBuf,
}

/// Fuzzes a target, or each in turn; says how much was run and what was found.
pub fn fuzz(words: &[&str]) -> Steps {
    let (mut targets, mut minutes) = (TARGETS.to_vec(), 10.0);
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match (*word, rest.as_slice().first()) {
            ("--minutes", Some(n)) => {
                let number = n.parse::<f64>().ok().filter(|n| (0.0..=100_000.0).contains(n));
                minutes = number.ok_or_else(|| format!("xtask: '{n}' is no number of minutes"))?;
                rest.next();
            }
            ("--minutes", None) => return Err("xtask: --minutes needs a number".to_owned()),
            (word, _) => {
                let target = TARGETS.into_iter().find(|target| *target == word);
                let target = target.ok_or_else(|| format!("xtask: '{word}' is no target: give one of {}", TARGETS.join(", ")))?;
                targets = vec![target];
            }
        }
    }
    let there = Command::new("cargo").args(["fuzz", "--version"]).output().is_ok_and(|output| output.status.success());
    if !there {
        return Err("xtask: cargo-fuzz is not there: 'cargo install cargo-fuzz' (and a C++ compiler). The corpora are replayed \
                    without it: 'cargo test -p quintet-fuzz'"
            .to_owned());
    }
    let build = root().join("target/fuzz/build");
    for target in &targets {
        let build = build.to_string_lossy();
        // Link-time optimisation takes minutes, and fuzzing gains nothing by it.
        let variables = [UNSTABLE, ("CARGO_PROFILE_RELEASE_LTO", "off")];
        cargo(&["fuzz", "build", "--fuzz-dir", "fuzz", "--features", "live", "--target-dir", &build, target], &variables)?;
    }
    let built = build.join(MACHINE).join("release");
    let mut found = 0;
    for target in targets {
        found += Place::new(target, &built)?.fuzz(minutes)?;
    }
    if found == 0 { Ok(()) } else { Err(format!("xtask: fuzzing has found {found}")) }
}

impl Place {
    fn new(target: &'static str, built: &Path) -> Result<Place, String> {
        let home = root().join("target/fuzz").join(target);
        let [corpus, findings, room] = ["corpus", "findings", "room"].map(|name| home.join(name));
        [&corpus, &findings, &room].into_iter().try_for_each(fs::create_dir_all).map_err(|e| said(&home, e))?;
        Ok(Place { target, program: built.join(target), corpus, findings, room, log: home.join("log") })
    }

    /// The fuzzer's run; whether it ended well. What it says goes to the log.
    fn run(&self, words: &[&str]) -> Result<bool, String> {
        let log = File::options().create(true).append(true).open(&self.log).map_err(|e| said(&self.log, e))?;
        let prefix = format!("-artifact_prefix={}/", self.findings.display());
        let mut command = Command::new(&self.program);
        command
            .args(words)
            .args(HANGS)
            .args([LONGEST, NO_LEAKS, &prefix])
            .env("TMPDIR", &self.room)
            .stdout(std::process::Stdio::null());
        let status = command.stderr(log).status().map_err(|e| said(&self.program, e));
        let _ = fs::remove_dir_all(&self.room);
        fs::create_dir_all(&self.room).map_err(|e| said(&self.room, e))?;
        Ok(status?.success())
    }

    /// Fuzzes for a time; packs the corpus if nothing was found. How much was found.
    fn fuzz(&self, minutes: f64) -> Result<usize, String> {
        let kept = root().join("fuzz/corpus");
        let pack = kept.join(self.target).with_extension("pack");
        unpack(&fs::read(&pack).unwrap_or_default(), &self.corpus).map_err(|e| said(&self.corpus, e))?;
        eprintln!("xtask: {}: {minutes} minutes; {} tells how it goes", self.target, self.log.display());
        File::create(&self.log).map_err(|e| said(&self.log, e))?;
        let known = names(&self.findings)?;
        let (begin, used) = (Instant::now(), seconds_used());
        let time = format!("-max_total_time={}", (minutes * 60.0).ceil().max(1.0));
        let mut words = vec![self.corpus.to_string_lossy().into_owned()];
        // What was found once is where to begin, too.
        words.extend(kept.join(self.target).is_dir().then(|| kept.join(self.target).to_string_lossy().into_owned()));
        words.extend([time, "-print_final_stats=1".to_owned()]);
        let well = self.run(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
        let (took, used) = (begin.elapsed().as_secs(), seconds_used() - used);
        let found: Vec<PathBuf> = names(&self.findings)?.into_iter().filter(|path| !known.contains(path)).collect();
        let log = fs::read(&self.log).map_err(|e| said(&self.log, e))?;
        let log = String::from_utf8_lossy(&log);
        let executions = log.lines().rev().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        let executions = executions.unwrap_or("an unknown number of").trim();
        eprintln!(
            "xtask: {}: {executions} executions in {took} s ({used:.0} s of processor time), {} findings",
            self.target,
            found.len()
        );
        for path in &found {
            eprintln!(
                "xtask: again: QUINTET_FUZZ_INPUT={} cargo test -p quintet-fuzz --test replay {}",
                path.display(),
                self.target
            );
        }
        if !well && found.is_empty() {
            return Err(format!("xtask: the fuzzer of '{}' failed: see {}", self.target, self.log.display()));
        }
        // What fails is left out of a minimised corpus.
        if found.is_empty() {
            self.pack(&pack)?;
        }
        Ok(found.len())
    }

    /// The corpus, minimised, into the repository.
    fn pack(&self, pack: &Path) -> Steps {
        let least = self.corpus.with_file_name("least");
        let (to, at) = (least.to_string_lossy(), self.corpus.to_string_lossy());
        let mut inputs = Vec::new();
        // By how often each branch is taken; if that are too many, by whether it is.
        for counted in ["-use_counters=1", "-use_counters=0"] {
            let _ = fs::remove_dir_all(&least);
            fs::create_dir_all(&least).map_err(|e| said(&least, e))?;
            if !self.run(&["-set_cover_merge=1", counted, &to, &at])? {
                return Err(format!("xtask: the corpus of '{}' cannot be minimised: see {}", self.target, self.log.display()));
            }
            inputs = names(&least)?.iter().map(|path| fs::read(path).map_err(|e| said(path, e))).collect::<Result<_, _>>()?;
            if inputs.iter().map(|input| 4 + input.len()).sum::<usize>() <= PACKED {
                break;
            }
        }
        inputs.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        let bytes = inputs.iter().flat_map(|input| (input.len() as u32).to_le_bytes().into_iter().chain(input.iter().copied()));
        let bytes: Vec<u8> = bytes.collect();
        fs::write(pack, &bytes).map_err(|e| said(pack, e))?;
        eprintln!("xtask: {}: {} inputs, {} bytes", pack.display(), inputs.len(), bytes.len());
        Ok(())
    }
}

fn said(path: &Path, e: std::io::Error) -> String {
    format!("xtask: {}: {e}", path.display())
}

/// The files of a directory.
fn names(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(directory).map_err(|e| said(directory, e))?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(|e| said(directory, e))).collect()
}

/// The processor time of the children that have ended, with theirs. (A tick is 10 ms for every program on Linux.)
fn seconds_used() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The fields behind the name, in which anything may stand, begin with the third.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(15 - 2).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The format is that of `fuzz/src/pack.rs`.
fn unpack(mut pack: &[u8], to: &Path) -> std::io::Result<()> {
    let mut number = 0;
    while let Some((len, rest)) = pack.split_first_chunk::<4>() {
        let Some((input, rest)) = rest.split_at_checked(u32::from_le_bytes(*len) as usize) else { break };
        fs::write(to.join(format!("kept-{number}")), input)?;
        (pack, number) = (rest, number + 1);
    }
    Ok(())
}

/// Threads of one process under two sanitizers, in target directories of their own. What of it races by the standard library's not being
/// instrumented, `tsan.suppressions` tells; a queue's lock is taken by the means that other processors have, which the sanitizer sees.
pub fn sanitize() -> Steps {
    let suppressions = root().join("quintet/tests/tsan.suppressions");
    let options = format!("suppressions={} halt_on_error=1", suppressions.display());
    let thread = ("thread", "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg tsan", &["--test", "threads"][..]);
    // What Miri would look at runs here, too; for stable Rust there is none.
    let address = ("address", "-Zsanitizer=address", &["--lib", "--test", "threads", "--test", "race"][..]);
    for (name, flags, tests) in [thread, address] {
        let target = root().join("target/sanitize").join(name);
        let target = target.to_string_lossy();
        let run = [&["test", "-p", "quintet", "--target", MACHINE][..], tests].concat();
        cargo(&run, &[UNSTABLE, ("RUSTFLAGS", flags), ("CARGO_TARGET_DIR", &target), ("TSAN_OPTIONS", &options)])?;
    }
    Ok(())
}
