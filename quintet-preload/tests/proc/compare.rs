//! Runs the body of a test on the kernel's files and on the emulated ones, and compares its
//! findings.

use crate::support::*;
use quintet::{Kind, Namespace};
use std::fmt::Debug;
use std::io::Write;
use std::process::Command;

/// The file to which a body in a process of its own writes its findings.
pub const FINDINGS: &str = "QUINTET_TEST_FINDINGS";

/// The findings of a body, line by line.
#[derive(Default)]
pub struct Found(pub String);

impl Found {
    pub fn add(&mut self, what: &str, found: impl Debug) {
        self.0 += &format!("{what}: {found:?}\n");
    }
}

pub fn unshare(further: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.arg("--ipc").args(further);
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
}

/// Runs the body of a test on the emulated files, in new namespaces of the kernel, after a shell
/// has run `prepare`. Returns the findings.
pub fn on_quintet(name: &str, further: &[&str], prepare: &str) -> Option<String> {
    let directory = directory();
    let namespace = directory.path().join("ns");
    Namespace::create(&namespace, Kind::Shared).unwrap();
    let mut command = unshare(further);
    command.env("PRELOAD", library()).env("QUINTET_NAMESPACE", &namespace);
    found(command, name, &format!("{prepare}\nLD_PRELOAD=$PRELOAD exec \"$0\" \"$@\""), directory.path())
}

pub fn directory() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let place = if tempfile::tempfile_in(memory).is_ok() { memory.to_path_buf() } else { std::env::temp_dir() };
    let directory = tempfile::Builder::new().prefix("quintet-test-").tempdir_in(place).unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    directory
}

pub fn found(mut command: Command, name: &str, script: &str, place: &std::path::Path) -> Option<String> {
    let findings = place.join("findings");
    command.args(["sh", "-ec", script]).arg(std::env::current_exe().unwrap()).args([name, "--exact", "--nocapture"]);
    let output = command.arg("--test-threads=1").env(FINDINGS, &findings).current_dir(place).output();
    let Ok(output) = output else {
        assert!(std::env::var_os("CI").is_none(), "unshare is missing");
        println!("skipped: no unshare here");
        return None;
    };
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    match std::fs::read_to_string(findings) {
        Ok(found) if output.status.success() => Some(found),
        _ if text.starts_with("unshare: ") => {
            println!("skipped: {text}");
            None
        }
        _ => panic!("{name}: {}\n{text}", output.status),
    }
}

/// Runs the body if this process was started for it. Returns `true` in that case.
pub fn is_body(body: fn(&mut Found)) -> bool {
    let Some(to) = std::env::var_os(FINDINGS) else { return false };
    // The file is created first, because a body may become another user.
    let mut file = std::fs::File::create(to).unwrap();
    let mut found = Found::default();
    body(&mut found);
    file.write_all(found.0.as_bytes()).unwrap();
    true
}

/// Runs `body` on both kinds of files and compares. `name` is the name of the test.
pub fn compare(name: &str, body: fn(&mut Found)) {
    if is_body(body) {
        return;
    }
    let place = directory();
    let Some(kernel) = found(unshare(&[]), name, "exec \"$0\" \"$@\"", place.path()) else { return };
    let Some(quintet) = on_quintet(name, &[], "") else { return };
    assert!(!kernel.is_empty());
    for (quintet, kernel) in quintet.lines().zip(kernel.lines()) {
        assert_eq!(quintet, kernel, "(left: Quintet, right: the kernel)");
    }
    assert_eq!(quintet.lines().count(), kernel.lines().count());
}
