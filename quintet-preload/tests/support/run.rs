//! Runs the body of a test in a process with the library, and keeps its output.

use super::{errno, library};
use libc::c_int;
use quintet::{Kind, Namespace};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub const INSIDE: &str = "QUINTET_TEST_INSIDE";

/// A directory of the test, with a namespace `ns`.
pub struct Place(pub tempfile::TempDir);

impl Place {
    pub fn new() -> Place {
        let directory = tempfile::Builder::new().prefix("quintet-test-").tempdir_in(memory()).unwrap();
        Namespace::create(directory.path().join("ns"), Kind::Private).unwrap();
        Place(directory)
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

pub fn memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if tempfile::tempfile_in(memory).is_ok() { memory.into() } else { std::env::temp_dir() }
}

/// In the inner process: runs `body` and returns `None`. In the outer process: starts the inner one
/// and returns its output.
pub fn run(test: &str, prepare: impl FnOnce(&mut Command, &Place), body: impl FnOnce()) -> Option<(Output, Place)> {
    if std::env::var_os(INSIDE).is_some() {
        body();
        return None;
    }
    let place = Place::new();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).current_dir(place.0.path());
    command.env_remove("QUINTET_LOG").env_remove("QUINTET_LOG_FILE").env("QUINTET_NAMESPACE", place.join("ns"));
    command.env("LD_PRELOAD", library()).env(INSIDE, "1");
    prepare(&mut command, &place);
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{out}{err}");
    assert!(output.status.success(), "{test}: {}", output.status);
    assert!(out.contains("1 passed"), "{test} is not the name of a test");
    Some((output, place))
}

/// Returns the lines that the library has written to descriptor 2.
pub fn reported(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stderr).lines().filter(|line| line.starts_with("quintet")).map(str::to_owned).collect()
}

/// Checks that a call has failed with this error.
#[track_caller]
pub fn fails(ret: c_int, error: c_int) {
    assert_eq!((ret, errno()), (-1, error));
}
