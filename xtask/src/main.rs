//! `cargo xtask`: what CI runs, and what a developer runs before.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci        all that CI runs: lint, then doc, then model; after the tests, which are 'cargo test --workspace'
  lint      rustfmt and clippy, with warnings denied
  doc       the documentation, with warnings denied
  model     the lock and the attach protocol under the loom model checker
  random N  N random programs over segments, N over sets and N over queues, on the library and on the drop-in, compared with the kernel
  bench     the benchmarks against the kernel
";

type Steps = Result<(), String>;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["ci"] => test().and_then(|()| lint()).and_then(|()| doc()).and_then(|()| model()),
        ["lint"] => lint(),
        ["doc"] => doc(),
        ["model"] => model(),
        ["random", n] => random(n),
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

fn test() -> Steps {
    cargo(&["test", "--workspace"], &[])
}

fn lint() -> Steps {
    cargo(&["fmt", "--all", "--check"], &[])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[])
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
    for about in ["segments", "sets", "queues"] {
        for subject in ["library", "drop-in"] {
            let run = ["run", "--release", "-p", "conformance", "--bin", "random", "--"];
            cargo(&[&run[..], &["--programs", programs, "--about", about, "--subject", subject]].concat(), &[])?;
        }
    }
    Ok(())
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
