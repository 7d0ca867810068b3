//! Fuzz targets for everything that comes from outside. A [target](Target) is a deterministic
//! function of some bytes that panics if something is wrong. `cargo xtask fuzz` fuzzes the targets.
//! The tests run them on the stored corpora.

pub mod calls;
pub mod cli;
pub mod files;
pub mod input;
pub mod model;
pub mod pack;
pub mod proc;
pub mod program;

use quintet::{Kind, Namespace};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A fuzz target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// Calls on all three classes, compared with the model.
    Calls,
    /// The files of a namespace.
    Files,
    /// The arguments of the tool.
    Cli,
    /// Writes to the files of `/proc`.
    Proc,
    /// The file of a program.
    Program,
}

impl Target {
    /// All targets.
    pub const ALL: [Target; 5] = [Target::Calls, Target::Files, Target::Cli, Target::Proc, Target::Program];

    /// Returns the name of the target's binary and corpus.
    pub fn name(self) -> &'static str {
        match self {
            Target::Calls => "calls",
            Target::Files => "files",
            Target::Cli => "cli",
            Target::Proc => "proc",
            Target::Program => "program",
        }
    }
}

/// The directory and the fixture that a target needs.
pub struct Harness {
    fixture: Fixture,
    directory: tempfile::TempDir,
}

enum Fixture {
    Calls([calls::Fixture; 2]),
    Files([files::Fixture; 2]),
    Cli,
    Proc(Namespace),
    Program,
}

impl Harness {
    /// Creates a harness in a temporary directory.
    pub fn new(target: Target) -> Harness {
        let directory = tempfile::tempdir().expect("there is room for a directory");
        let path = directory.path();
        let kinds = [Kind::Private, Kind::Shared];
        let fixture = match target {
            Target::Calls => Fixture::Calls(kinds.map(|kind| calls::Fixture::new(path, kind))),
            Target::Files => Fixture::Files(kinds.map(|kind| files::Fixture::new(path, kind))),
            Target::Cli => Fixture::Cli,
            Target::Proc => Fixture::Proc(proc::default_namespace(path)),
            Target::Program => Fixture::Program,
        };
        Harness { fixture, directory }
    }

    /// Runs the target on an input.
    pub fn run(&self, data: &[u8]) {
        let kind = usize::from(data.first().copied().unwrap_or(0) & 1);
        match &self.fixture {
            Fixture::Calls(fixtures) => fixtures[kind].run(data),
            Fixture::Files(fixtures) => fixtures[kind].run(data.get(1..).unwrap_or_default()),
            Fixture::Cli => cli::run(data),
            Fixture::Proc(ns) => proc::run(ns, data),
            Fixture::Program => program::run(self.directory.path(), data),
        }
    }
}

/// Runs a target in the process of a fuzzer. The temporary directory remains; `TMPDIR` sets where
/// it is.
pub fn live(target: Target, data: &[u8]) {
    static HARNESS: OnceLock<Harness> = OnceLock::new();
    HARNESS.get_or_init(|| Harness::new(target)).run(data);
}

/// Returns the path of a target's minimized corpus.
pub fn corpus(target: Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name()).with_extension("pack")
}

/// Returns the paths of inputs that once were findings. Each file name describes the finding.
/// Minimization keeps these inputs.
pub fn findings(target: Target) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name()));
    let mut paths: Vec<_> = entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
