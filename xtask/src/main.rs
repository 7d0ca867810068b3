//! `cargo xtask`: what CI runs, and what a developer runs before.

mod coverage;
mod fuzz;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci        all that CI runs: the tests, which are 'cargo test --workspace', lint, doc, model, and soak for a minute
  lint      rustfmt and clippy, with warnings denied; and whether it compiles for the other targets that are installed
  doc       the documentation, with warnings denied
  model     the words of shared memory under the loom model checker
  hostile [--corruptions N] [--seconds N] [--seed N] [--lives N] [--longest SECONDS]
            every byte of a namespace attacked, before and during calls: as it is released, with overflow checks and fences, with the address sanitizer
  random N  N random programs over segments, N over sets, N over queues and N over all three, on the library and on the drop-in, compared with the kernel
  soak [--minutes N]
            16 processes at random on one namespace, killed and stopped at random (1 minute without N)
  coverage  the lines of the library and the drop-in that the tests run; 'coverage measured' prints the last run's again
  crash     kills and stops processes at every instruction of every operation, for an hour or two; [--operation NAME] [--every N] [--plan PLAN]
  fuzz [TARGET] [--minutes N]
            fuzzes the targets of fuzz/ (calls, files, cli, proc, program) with cargo-fuzz, each for 10 minutes; tells executions and findings,
            which are in target/fuzz/TARGET/findings, and how to see one again; then minimises the corpus into fuzz/corpus
  sanitize  the threads of one process that share objects, under the thread sanitizer and the address sanitizer
  bench     the benchmarks against the kernel
";

type Steps = Result<(), String>;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["ci"] => ci(),
        ["lint"] => lint(),
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
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn ci() -> Steps {
    [test, lint, doc, model].into_iter().try_for_each(|step| step())?;
    soak(&["--minutes", "0.5"])?;
    soak(&["--minutes", "0.5", "--shared"])
}

fn soak(options: &[&str]) -> Steps {
    cargo(&[&["run", "--release", "-p", "crash", "--bin", "soak", "--"], options].concat(), &[])
}

fn test() -> Steps {
    cargo(&["test", "--workspace"], &[])
}

fn lint() -> Steps {
    cargo(&["fmt", "--all", "--check"], &[])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[])?;
    OTHER_TARGETS.iter().try_for_each(|target| check(target))
}

/// What must compile, beside the machine this is.
const OTHER_TARGETS: [&str; 2] = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-gnu"];

/// The library and the drop-in. (The tool has the drop-in built, for which there need not be a linker here.)
fn check(target: &str) -> Steps {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let libraries = Command::new(rustc).args(["--print", "target-libdir", "--target", target]).output();
    let installed = libraries.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim_end()).exists());
    if !installed {
        eprintln!("xtask: skipped: {target} is not installed ('rustup target add {target}')");
        return Ok(());
    }
    // A musl target is static by default, and then has no shared libraries.
    let flags = if target.ends_with("musl") { "-D warnings -C target-feature=-crt-static" } else { "-D warnings" };
    cargo(&["check", "-p", "quintet", "-p", "quintet-preload", "--locked", "--target", target], &[("RUSTFLAGS", flags)])
}

fn doc() -> Steps {
    cargo(&["doc", "--workspace", "--no-deps", "--locked"], &[("RUSTDOCFLAGS", "-D warnings")])
}

/// In a target directory of its own: the flag would have everything else built anew.
fn model() -> Steps {
    let target = root().join("target/model");
    let target = target.to_string_lossy();
    cargo(
        &["test", "-p", "quintet", "--release", "--test", "model"],
        &[("RUSTFLAGS", "--cfg loom"), ("CARGO_TARGET_DIR", &target)],
    )
}

fn random(programs: &str) -> Steps {
    for about in ["segments", "sets", "queues", "all"] {
        for subject in ["library", "drop-in"] {
            let run = ["run", "--release", "-p", "conformance", "--bin", "random", "--"];
            cargo(&[&run[..], &["--programs", programs, "--about", about, "--subject", subject]].concat(), &[])?;
        }
    }
    Ok(())
}

/// The builds that are attacked: their names, which are those of their target directories, and what they are built with.
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

/// Each build takes its share of the corruptions, or of the time, as the options give it.
fn hostile(options: &[&str]) -> Steps {
    for (name, variables) in ATTACKED {
        let target = root().join("target/hostile").join(name);
        let target = target.to_string_lossy();
        let further = [("CARGO_TARGET_DIR", &*target), ("ASAN_OPTIONS", "detect_leaks=0")];
        // With a sanitizer, what is built for this machine is told from what builds it.
        let run = ["run", "--release", "-p", "hostile", "--target", fuzz::MACHINE, "--"];
        cargo(&[&run[..], options].concat(), &[variables, &further[..]].concat())?;
    }
    Ok(())
}

fn crash(options: &[&str]) -> Steps {
    cargo(&[&["run", "--release", "-p", "crash", "--bin", "crash", "--"], options].concat(), &[])
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn cargo(args: &[&str], variables: &[(&str, &str)]) -> Steps {
    let line = format!("cargo {}", args.join(" "));
    eprintln!("xtask: {line}");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(args).envs(variables.iter().copied()).current_dir(root()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("xtask: '{line}' failed ({status})")),
        Err(e) => Err(format!("xtask: cannot run '{line}': {e}")),
    }
}
