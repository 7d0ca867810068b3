//! Runs cargo for the commands of `cargo xtask`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The outcome of a command. An error is a sentence for the developer.
pub type Outcome = Result<(), String>;

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs cargo in the repository, with further environment variables.
pub fn cargo(args: &[&str], variables: &[(&str, &str)]) -> Outcome {
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
