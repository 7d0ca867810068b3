//! Everything in the corpora is as it was, what is made of it and arbitrary bytes are no surprise: no difference, no crash, and none takes long. A process runs one target.
//!
//! `QUINTET_FUZZ_INPUT=FILE` runs that input alone, `QUINTET_INPUTS=N` so many spliced and so many arbitrary ones, for 100.

use quintet_fuzz::{Target, Theatre, corpus, found, pack};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Not a measurement: it tells what hangs from what is slow.
const LONGEST: Duration = Duration::from_secs(30);
const ALONE: &str = "QUINTET_FUZZ_TARGET";

/// SplitMix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn arbitrary(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let len = random(&mut state) % 600;
    (0..len).map(|_| random(&mut state) as u8).collect()
}

/// Two that are known, put together somewhere, and a few bytes changed: it goes deeper than what is arbitrary from the beginning.
fn spliced(seed: u64, known: &[Vec<u8>]) -> Vec<u8> {
    let mut state = !seed;
    let mut below = |n: usize| (random(&mut state) % n.max(1) as u64) as usize;
    let (head, tail) = (&known[below(known.len())], &known[below(known.len())]);
    let mut input = [&head[..below(head.len() + 1)], &tail[below(tail.len() + 1)..]].concat();
    for _ in 0..below(4) {
        let (at, value) = (below(input.len()), below(256) as u8);
        input.get_mut(at).into_iter().for_each(|byte| *byte = value);
    }
    input
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What there is to run, by name.
fn inputs(target: Target) -> Vec<(String, Vec<u8>)> {
    if let Some(path) = std::env::var_os("QUINTET_FUZZ_INPUT") {
        return vec![(path.to_string_lossy().into_owned(), read(path.as_ref()))];
    }
    let mut all: Vec<_> = found(target).into_iter().map(|path| (path.display().to_string(), read(&path))).collect();
    let pack = read(&corpus(target));
    let kept = pack::inputs(&pack);
    assert!(!kept.is_empty(), "{} has no corpus", target.name());
    all.extend(kept.into_iter().enumerate().map(|(nth, input)| (format!("kept {nth}"), input.to_vec())));
    let seeds = std::env::var("QUINTET_INPUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    let known: Vec<_> = all.iter().map(|(_, input)| input.clone()).collect();
    all.extend((0..seeds).map(|seed| (format!("spliced {seed}"), spliced(seed, &known))));
    all.extend((0..seeds).map(|seed| (format!("arbitrary {seed}"), arbitrary(seed))));
    all
}

/// Runs the test `name` of the target in a process of its own; there it runs the target.
fn replay(name: &str, target: Target) {
    if std::env::var_os(ALONE).is_none() {
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(ALONE, name)
            .output()
            .expect("it can be run again");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}: {said}", output.status);
        return;
    }
    let theatre = Theatre::new(target);
    for (name, input) in inputs(target) {
        // Of one that ends the process this is the last that is said.
        eprintln!("{name}: {}", input.escape_ascii());
        let begin = Instant::now();
        theatre.run(&input);
        assert!(begin.elapsed() < LONGEST, "it took {:?}", begin.elapsed());
    }
}

#[test]
fn calls() {
    replay("calls", Target::Calls);
}

#[test]
fn files() {
    replay("files", Target::Files);
}

#[test]
fn cli() {
    replay("cli", Target::Cli);
}

#[test]
fn proc() {
    replay("proc", Target::Proc);
}

#[test]
fn program() {
    replay("program", Target::Program);
}
