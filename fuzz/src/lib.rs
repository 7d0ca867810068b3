//! What can come from outside, tried by a fuzzer: each [target](Target) is a function of some bytes, always the same one, that panics where something is
//! not as it must be. `cargo xtask fuzz` has them fuzzed; the tests run them on the bytes that were once found worth keeping.

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

/// What is fuzzed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// Calls of all three mechanisms, against the model.
    Calls,
    /// The files of a namespace.
    Files,
    /// The arguments of the tool.
    Cli,
    /// What is written to the files of `/proc`.
    Proc,
    /// A program's file.
    Program,
}

impl Target {
    /// All of them.
    pub const ALL: [Target; 5] = [Target::Calls, Target::Files, Target::Cli, Target::Proc, Target::Program];

    /// The name of its binary, and of its corpus.
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

/// Where a target runs: a directory, and what it has made there.
pub struct Theatre {
    stage: Stage,
    directory: tempfile::TempDir,
}

enum Stage {
    Calls([calls::Stage; 2]),
    Files([files::Stage; 2]),
    Cli,
    Proc(Namespace),
    Program,
}

impl Theatre {
    /// In a directory of its own among the temporary ones.
    pub fn new(target: Target) -> Theatre {
        let directory = tempfile::tempdir().expect("there is room for a directory");
        let path = directory.path();
        let kinds = [Kind::Private, Kind::Shared];
        let stage = match target {
            Target::Calls => Stage::Calls(kinds.map(|kind| calls::Stage::new(path, kind))),
            Target::Files => Stage::Files(kinds.map(|kind| files::Stage::new(path, kind))),
            Target::Cli => Stage::Cli,
            Target::Proc => Stage::Proc(proc::default_namespace(path)),
            Target::Program => Stage::Program,
        };
        Theatre { stage, directory }
    }

    /// Runs the target on some bytes.
    pub fn run(&self, data: &[u8]) {
        let kind = usize::from(data.first().copied().unwrap_or(0) & 1);
        match &self.stage {
            Stage::Calls(stages) => stages[kind].run(data),
            Stage::Files(stages) => stages[kind].run(data.get(1..).unwrap_or_default()),
            Stage::Cli => cli::run(data),
            Stage::Proc(ns) => proc::run(ns, data),
            Stage::Program => program::run(self.directory.path(), data),
        }
    }
}

/// The same, in the process of a fuzzer. (Its directory stays behind: whoever runs the fuzzer says where, by `TMPDIR`.)
pub fn live(target: Target, data: &[u8]) {
    static THEATRE: OnceLock<Theatre> = OnceLock::new();
    THEATRE.get_or_init(|| Theatre::new(target)).run(data);
}

/// The pack of a target's corpus, which is minimised: inputs that do what the others do not.
pub fn corpus(target: Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name()).with_extension("pack")
}

/// The inputs of a target that were findings once, each a file named by what was found; they stay, whatever others do.
pub fn found(target: Target) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name()));
    let mut paths: Vec<_> = entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
