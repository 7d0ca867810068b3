//! Runs each target on its corpus, on inputs spliced from it, and on arbitrary inputs. None may
//! fail or take long. Each target runs in a process of its own.
//!
//! `QUINTET_FUZZ_INPUT=FILE` runs only that input. `QUINTET_INPUTS=N` sets the number of spliced
//! and of arbitrary inputs (default 100 each).

use quintet_fuzz::{Harness, Target, corpus, findings, pack};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Limit for one input. It detects a hang and measures nothing.
const TIME_LIMIT: Duration = Duration::from_secs(30);
const TARGET_VARIABLE: &str = "QUINTET_FUZZ_TARGET";

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

/// Joins parts of two known inputs and changes a few bytes. This reaches deeper than an arbitrary
/// input.
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

/// Returns all inputs by name.
fn inputs(target: Target) -> Vec<(String, Vec<u8>)> {
    if let Some(path) = std::env::var_os("QUINTET_FUZZ_INPUT") {
        return vec![(path.to_string_lossy().into_owned(), read(path.as_ref()))];
    }
    let mut all: Vec<_> = findings(target).into_iter().map(|path| (path.display().to_string(), read(&path))).collect();
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

/// Runs the test `name` in a process of its own, and there the target.
fn replay(name: &str, target: Target) {
    if std::env::var_os(TARGET_VARIABLE).is_none() {
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(TARGET_VARIABLE, name)
            .output()
            .expect("run this program");
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}: {text}", output.status);
        return;
    }
    let harness = Harness::new(target);
    for (name, input) in inputs(target) {
        // If an input ends the process, this is the last output.
        eprintln!("{name}: {}", input.escape_ascii());
        let begin = Instant::now();
        harness.run(&input);
        assert!(begin.elapsed() < TIME_LIMIT, "it took {:?}", begin.elapsed());
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
