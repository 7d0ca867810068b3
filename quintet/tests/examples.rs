//! Each program in `examples/` runs, prints what its page promises, and leaves nothing behind.
//!
//! `cargo test` builds the examples before it runs this. A run of this test alone
//! (`--test examples`) does not, so a missing or an outdated program is built here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;
use std::time::SystemTime;

static BUILD: Once = Once::new();

/// Returns the program of an example, in the profile and the target directory of this test.
fn program(name: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let profile = exe.parent().filter(|dir| dir.ends_with("deps")).and_then(Path::parent).unwrap();
    let program = profile.join("examples").join(name);
    BUILD.call_once(|| {
        if names().iter().any(|name| is_outdated(&profile.join("examples").join(name))) {
            build(profile);
        }
    });
    assert!(program.exists(), "{} is missing: 'cargo build -p quintet --examples' builds it", program.display());
    program
}

fn source(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

/// The names of all examples.
fn names() -> Vec<String> {
    let files = fs::read_dir(source("examples")).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<_> = files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// Returns `true` if a program is missing, or older than a source file that it is built from.
fn is_outdated(program: &Path) -> bool {
    fn newest(folder: &Path) -> SystemTime {
        let times = fs::read_dir(folder).unwrap().map(|entry| {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() { newest(&entry.path()) } else { metadata.modified().unwrap() }
        });
        times.max().unwrap_or(SystemTime::UNIX_EPOCH)
    }
    let built = fs::metadata(program).and_then(|metadata| metadata.modified());
    built.map_or(true, |built| built < newest(&source("examples")).max(newest(&source("src"))))
}

fn build(profile: &Path) {
    let name = match profile.file_name().unwrap().to_str().unwrap() {
        "debug" => "test",
        name => name,
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--package", "quintet", "--examples", "--profile", name]);
    cargo.arg("--target-dir").arg(profile.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(cargo.status().unwrap().success(), "{cargo:?}");
}

/// Runs an example, with a directory for temporary files, and returns the lines of its output.
fn run(name: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let Output { status, stdout, stderr } = Command::new(program(name)).env("TMPDIR", dir.path()).output().unwrap();
    let (text, errors) = (String::from_utf8(stdout).unwrap(), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{name}: {status}\n{text}{errors}");
    assert_eq!(errors, "", "{name}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{name} left something behind");
    text.lines().map(str::to_owned).collect()
}

/// Asserts that the lines that every run prints are there, in this order, with others between them.
fn assert_prints(name: &str, expected: &[&str]) {
    let lines = run(name);
    let mut rest = lines.iter();
    for line in expected {
        assert!(rest.any(|printed| printed == line), "{name}: '{line}' is missing in\n{}", lines.join("\n"));
    }
}

#[test]
fn there_are_eight() {
    let tested = ["kernel", "lock", "many_readers", "migrate", "timeouts", "typed_data", "watch", "work_queue"];
    assert_eq!(names(), tested);
}

#[test]
fn lock() {
    assert_prints("lock", &["two processes added 1 to a number 1000 times each: 2000"]);
}

#[test]
fn typed_data() {
    assert_prints("typed_data", &["sensor 7 at 1000 ms: 21.5 degrees", "sensor 7 at 2000 ms: 22.0 degrees"]);
}

#[test]
fn work_queue() {
    let expected = [
        "a worker ended: signal: 9 (SIGKILL)",
        "job 3 has no result, so it is sent again",
        "results: [1, 4, 9, 16, 25, 36, 49, 64]",
    ];
    assert_prints("work_queue", &expected);
}

#[test]
fn timeouts() {
    let expected = [
        "the lock is held: gave up after the timeout",
        "the lock was released: acquired it, in time",
        "the first message came before the deadline, the second did not",
        "the queue is full: gave up, and the queue still has 1 message",
        "one of two operations had to wait: gave up, and the values are still [5, 0]",
    ];
    assert_prints("timeouts", &expected);
}

#[test]
fn watch() {
    let expected = [
        "semaphore set 0x00003a7c: the child waits to do 0:-1u",
        "semaphore set 0x00003a7c: this process holds 1 unit",
        "segment 0x00003a7c: 4096 bytes, attached by the child",
        "the child has ended: nothing waits, nothing is attached",
    ];
    assert_prints("watch", &expected);
}

/// The kernel's side is skipped where the kernel has no System V IPC, and says so.
#[test]
fn kernel() {
    assert_prints("kernel", &["on a directory:", "  a segment, a semaphore and a queue were used and removed", "on the kernel:"]);
}

#[test]
fn many_readers() {
    assert_prints("many_readers", &["a reader's sum of 2097152 numbers: 2199022206976"; 4]);
}

#[test]
fn migrate() {
    let expected = [
        "step 2: the same code wrote and read a segment in a directory",
        "the calls themselves: shmget found the same segment by its key",
    ];
    assert_prints("migrate", &expected);
}
