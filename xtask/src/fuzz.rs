//! Fuzzing and sanitizers. Both need flags of the compiler that are not stable, which `RUSTC_BOOTSTRAP` has it take.

use crate::{Steps, cargo, root};
use std::fs;
use std::path::Path;
use std::process::Command;

const TARGETS: [&str; 5] = ["calls", "files", "cli", "proc", "program"];
const UNSTABLE: (&str, &str) = ("RUSTC_BOOTSTRAP", "1");
const MACHINE: &str = "x86_64-unknown-linux-gnu";
/// More bytes than this make a target slow, and say no more.
const LONGEST: &str = "-max_len=1200";

/// Fuzzes a target, or each in turn.
pub fn fuzz(words: &[&str]) -> Steps {
    let (mut targets, mut minutes) = (TARGETS.to_vec(), 10.0);
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match (*word, rest.as_slice().first()) {
            ("--minutes", Some(n)) => {
                minutes = n.parse::<f64>().map_err(|_| format!("xtask: '{n}' is no number of minutes"))?;
                rest.next();
            }
            (target, _) if TARGETS.contains(&target) => targets = vec![target],
            (other, _) => return Err(format!("xtask: '{other}' is no target: give one of {}", TARGETS.join(", "))),
        }
    }
    let there = Command::new("cargo").args(["fuzz", "--version"]).output().is_ok_and(|output| output.status.success());
    if !there {
        return Err("xtask: cargo-fuzz is not there: 'cargo install cargo-fuzz' (and a C++ compiler). The corpora are replayed \
                    without it: 'cargo test -p quintet-fuzz'"
            .to_owned());
    }
    targets.into_iter().try_for_each(|target| one(target, minutes))
}

fn one(target: &str, minutes: f64) -> Steps {
    let place = root().join("target/fuzz").join(target);
    let [corpus, least, room] = ["corpus", "least", "room"].map(|name| place.join(name));
    let failed = |e: std::io::Error| format!("xtask: {}: {e}", place.display());
    let _ = fs::remove_dir_all(&least);
    [&corpus, &least, &room].into_iter().try_for_each(fs::create_dir_all).map_err(failed)?;
    let pack = root().join("fuzz/corpus").join(target).with_extension("pack");
    unpack(&fs::read(&pack).unwrap_or_default(), &corpus).map_err(failed)?;
    let (at, to, temporary) = (corpus.to_string_lossy(), least.to_string_lossy(), room.to_string_lossy());
    // Link-time optimisation takes minutes, and fuzzing gains nothing by it.
    let quick = ("CARGO_PROFILE_RELEASE_LTO", "off");
    let run = ["fuzz", "run", "--fuzz-dir", "fuzz", "--features", "live", target];
    let time = format!("-max_total_time={}", (minutes * 60.0).ceil());
    let more = ["-timeout=10", "-detect_leaks=0", "-print_final_stats=1", LONGEST];
    let variables = [UNSTABLE, quick, ("TMPDIR", &*temporary)];
    let done = cargo(&[&run[..], &[&at, "--", &time], &more].concat(), &variables)
        .and_then(|()| cargo(&[&run[..], &[&to, &at, "--", "-merge=1", "-detect_leaks=0", LONGEST]].concat(), &variables));
    // What its processes have made stays behind.
    let _ = fs::remove_dir_all(&room);
    done?;
    let mut inputs = Vec::new();
    for entry in fs::read_dir(&least).map_err(failed)? {
        inputs.push(fs::read(entry.map_err(failed)?.path()).map_err(failed)?);
    }
    inputs.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    let bytes = inputs.iter().flat_map(|input| (input.len() as u32).to_le_bytes().into_iter().chain(input.iter().copied()));
    fs::create_dir_all(root().join("fuzz/corpus")).and_then(|()| fs::write(&pack, bytes.collect::<Vec<u8>>())).map_err(failed)?;
    eprintln!("xtask: {}: {} inputs", pack.display(), inputs.len());
    Ok(())
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
