//! `cargo xtask`: the checks that CI runs, and the campaigns that run longer.

mod coverage;
#[cfg(test)]
mod documents;
mod fuzz;
mod layers;
mod prose;
mod run;

use run::{Outcome, cargo, root};
use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};

const USAGE: &str = "\
usage: cargo xtask COMMAND

Checks:
  ci        everything that CI runs: the tests, lint, doc, model, and soak for a minute;
            --without-tests leaves out 'cargo test --workspace'
  lint      rustfmt, layers, prose, spelling (typos), clippy without warnings, and a build for
            each other target that is installed
  layers [--root DIR]
            fails on an import that runs up the layers of ARCHITECTURE.md, and on a cycle
  prose [--verbose] [PATH...]
            fails on too many pronouns and on too many long sentences; with a PATH, lists both
            for the files below it
  doc       the documentation, without warnings
  model     the protocols of shared memory under the loom model checker
  coverage [measured]
            the lines of the library and of the preload library that the tests run;
            'measured' prints the results of the last run again
  sanitize  threads that share objects, under the thread sanitizer and the address sanitizer
  bench     the benchmarks against the kernel

Campaigns:
  crash [--operation NAME] [--every N] [--plan PLAN]
            kills and stops processes at every instruction of every operation; takes 1 to 2 hours
  hostile [--corruptions N] [--seconds N] [--seed N] [--lives N] [--longest SECONDS]
            corrupts every byte of a namespace before and during calls, in three builds: release,
            overflow checks with fences, and the address sanitizer
  random N  compares random programs with the kernel, on the library and on the preload library:
            N programs each for segments, sets, queues, and all three together
  soak [--minutes N]
            runs 16 processes at random on one namespace, killed and stopped at random; 1 minute
            by default
  fuzz [TARGET] [--minutes N]
            fuzzes the targets of fuzz/ (calls, files, cli, proc, program) with cargo-fuzz, 10
            minutes each by default; prints executions, findings and how to replay a finding from
            target/fuzz/TARGET/findings; then minimises the corpus into fuzz/corpus
";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["ci"] => test().and_then(|()| ci()),
        ["ci", "--without-tests"] => ci(),
        ["lint"] => lint(),
        ["layers"] => layers::layers(&root()),
        ["layers", "--root", other] => layers::layers(Path::new(other)),
        ["prose", ref args @ ..] => prose::prose(&root(), args),
        ["doc"] => doc(),
        ["model"] => model(),
        ["random", n] => random(n),
        ["hostile", ref options @ ..] => hostile(options),
        ["soak", ref options @ ..] => soak(options),
        ["coverage", ref args @ ..] => coverage::coverage(&root(), args),
        ["crash", ref options @ ..] => crash(options),
        ["fuzz", ref rest @ ..] => fuzz::fuzz(rest),
        ["sanitize"] => fuzz::sanitize(),
        ["bench"] => cargo(&["bench", "-p", "quintet-preload"], &[]),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Everything that CI runs after the tests.
fn ci() -> Outcome {
    lint()?;
    doc()?;
    model()?;
    soak(&["--minutes", "0.5"])?;
    soak(&["--minutes", "0.5", "--shared"])
}

fn soak(options: &[&str]) -> Outcome {
    cargo(&[&["run", "--release", "-p", "crash", "--bin", "soak", "--"], options].concat(), &[])
}

fn test() -> Outcome {
    cargo(&["test", "--workspace"], &[])
}

/// Runs all checks, so that one run shows everything that must be corrected.
fn lint() -> Outcome {
    let mut failures = Vec::new();
    failures.extend(cargo(&["fmt", "--all", "--check"], &[]).err());
    eprintln!("xtask: layers");
    failures.extend(layers::layers(&root()).err());
    eprintln!("xtask: prose");
    failures.extend(prose::prose(&root(), &[]).err());
    eprintln!("xtask: typos");
    failures.extend(spelling().err());
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    failures.extend(cargo(&clippy, &[]).err());
    failures.extend(OTHER_TARGETS.iter().filter_map(|target| check(target).err()));
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// Checks the spelling of all files; `_typos.toml` lists the words that are right.
fn spelling() -> Outcome {
    match Command::new("typos").current_dir(root()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err("xtask: 'typos' found misspelled words; correct them, or add a right word to _typos.toml".to_owned()),
        Err(e) => Err(format!("xtask: cannot run 'typos': {e}; 'cargo install --locked typos-cli' installs it")),
    }
}

/// The targets that must compile, beside the host.
const OTHER_TARGETS: [&str; 2] = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-gnu"];

/// Checks the library and the preload library for a target. The tool is left out: its build script
/// builds the preload library, which needs a linker for the target.
fn check(target: &str) -> Outcome {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let libraries = Command::new(rustc).args(["--print", "target-libdir", "--target", target]).output();
    let is_installed = libraries.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim_end()).exists());
    if !is_installed {
        eprintln!("xtask: skipped: {target} is not installed; 'rustup target add {target}' installs it");
        return Ok(());
    }
    // A musl target links statically by default, and then builds no shared libraries.
    let flags = if target.ends_with("musl") { "-D warnings -C target-feature=-crt-static" } else { "-D warnings" };
    cargo(&["check", "-p", "quintet", "-p", "quintet-preload", "--locked", "--target", target], &[("RUSTFLAGS", flags)])
}

fn doc() -> Outcome {
    cargo(&["doc", "--workspace", "--no-deps", "--locked"], &[("RUSTDOCFLAGS", "-D warnings")])
}

/// Runs in its own target directory: the flag would rebuild everything else.
fn model() -> Outcome {
    let target = root().join("target/model");
    let target = target.to_string_lossy();
    cargo(
        &["test", "-p", "quintet", "--release", "--test", "model"],
        &[("RUSTFLAGS", "--cfg loom"), ("CARGO_TARGET_DIR", &target)],
    )
}

fn random(programs: &str) -> Outcome {
    for about in ["segments", "sets", "queues", "all"] {
        for subject in ["library", "drop-in"] {
            let run = ["run", "--release", "-p", "conformance", "--bin", "random", "--"];
            cargo(&[&run[..], &["--programs", programs, "--about", about, "--subject", subject]].concat(), &[])?;
        }
    }
    Ok(())
}

/// The builds that `hostile` attacks: the name, which is also the target directory, and the
/// environment of the build.
const ATTACKED: [(&str, &[(&str, &str)]); 3] = [
    ("release", &[]),
    (
        "checked",
        &[
            ("RUSTFLAGS", "--cfg quintet_fenced"),
            ("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true"),
            ("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true"),
        ],
    ),
    ("sanitized", &[("RUSTFLAGS", "-Zsanitizer=address --cfg quintet_fenced"), ("RUSTC_BOOTSTRAP", "1")]),
];

/// Each build gets the number of corruptions, or the seconds, that the options name.
fn hostile(options: &[&str]) -> Outcome {
    for (name, variables) in ATTACKED {
        let target = root().join("target/hostile").join(name);
        let target = target.to_string_lossy();
        let further = [("CARGO_TARGET_DIR", &*target), ("ASAN_OPTIONS", "detect_leaks=0")];
        // With `--target`, build scripts and macros are built without the sanitizer.
        let run = ["run", "--release", "-p", "hostile", "--target", fuzz::MACHINE, "--"];
        cargo(&[&run[..], options].concat(), &[variables, &further[..]].concat())?;
    }
    Ok(())
}

fn crash(options: &[&str]) -> Outcome {
    cargo(&[&["run", "--release", "-p", "crash", "--bin", "crash", "--"], options].concat(), &[])
}
