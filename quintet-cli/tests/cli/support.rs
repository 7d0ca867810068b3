//! A namespace of a test's own, and the tool on it.

use assert_cmd::Command;
use quintet::{Kind, Namespace};
use serde_json::Value;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The tool, without what the environment of whoever runs the tests says.
pub fn quintet() -> Command {
    let mut command = Command::new(program());
    for name in ["QUINTET_NAMESPACE", "NO_COLOR", "LD_PRELOAD"] {
        command.env_remove(name);
    }
    command.timeout(std::time::Duration::from_secs(60));
    command
}

pub fn program() -> PathBuf {
    assert_cmd::cargo::cargo_bin!("quintet").to_owned()
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A namespace in a temporary directory.
pub struct Ns {
    pub dir: TempDir,
    pub ns: Namespace,
}

impl Ns {
    pub fn new() -> Ns {
        let dir = tempfile::tempdir().unwrap();
        let ns = Namespace::create(dir.path().join("ns"), Kind::Private).unwrap();
        Ns { dir, ns }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("ns")
    }

    /// The tool on this namespace.
    pub fn quintet(&self, args: &[&str]) -> Command {
        let mut command = quintet();
        command.arg("--namespace").arg(self.path()).args(args);
        command
    }

    /// Runs a command that must succeed, and reads its JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        parsed(self.quintet(args).arg("--json"), args[0])
    }

    /// Makes a segment, and returns its identifier.
    pub fn segment(&self, args: &[&str]) -> i32 {
        text(self.quintet(&["create"]).args(args)).trim().parse().unwrap()
    }

    /// A file in the test's directory.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

/// The JSON that a command prints, checked for its envelope.
pub fn parsed(command: &mut Command, name: &str) -> Value {
    let value: Value = serde_json::from_str(&text(command)).unwrap();
    assert_eq!(value["quintet"], 1);
    assert!(value["command"].as_str().unwrap().starts_with(name), "{value}");
    value
}

/// What a command prints that must succeed.
pub fn text(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a command says on standard error that must end with `code`, and prints nothing.
pub fn refusal(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    String::from_utf8(output.stderr).unwrap()
}

/// Asserts that each part is in the text.
pub fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "'{part}' is missing in: {text}");
    }
}

pub fn utf8(path: &Path) -> &str {
    path.to_str().unwrap()
}
