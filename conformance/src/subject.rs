//! The implementations under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// An implementation of System V IPC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// The kernel, in a new IPC namespace.
    Kernel,
    /// The methods of `quintet::Namespace`, on a new directory.
    Library,
    /// libc's functions with `libquintet_preload.so` preloaded, on a new directory.
    DropIn,
}

impl Subject {
    /// Returns `true` for the kernel.
    pub fn is_kernel(self) -> bool {
        self == Subject::Kernel
    }

    /// Returns the command line of an agent for this subject. `directory` is the namespace.
    pub(crate) fn agent(self, directory: &Path) -> Result<Command, String> {
        let mut command = Command::new(agent_program());
        match self {
            Subject::Kernel => {
                command.args(["--unshare", "libc"]).env_remove("LD_PRELOAD");
            }
            Subject::Library => {
                command.args(["--unshare-if-permitted", "library"]).arg(directory).arg(kind());
            }
            Subject::DropIn => {
                command
                    .args(["--unshare-if-permitted", "libc"])
                    .env("LD_PRELOAD", preload_library()?)
                    .env("QUINTET_NAMESPACE", directory);
            }
        }
        Ok(command)
    }
}

impl std::str::FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Subject, String> {
        match text {
            "kernel" => Ok(Subject::Kernel),
            "library" => Ok(Subject::Library),
            "drop-in" => Ok(Subject::DropIn),
            _ => Err(format!("invalid value '{text}' for --subject: use kernel, library or drop-in")),
        }
    }
}

/// Returns the kind of the tests' namespaces. Root's are shared, because its agents become other
/// users.
pub(crate) fn kind() -> &'static str {
    if is_root() { "shared" } else { "private" }
}

/// Returns `true` if the tests run as root, and so may become other users.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns the directory of cargo's build products: the parent of `deps` for a test.
fn build_directory() -> PathBuf {
    let mut directory = std::env::current_exe().expect("this program's path");
    directory.pop();
    if directory.ends_with("deps") {
        directory.pop();
    }
    directory
}

pub(crate) fn agent_program() -> PathBuf {
    let program = build_directory().join("agent");
    assert!(program.exists(), "cannot find {}; build it with 'cargo build -p conformance'", program.display());
    program
}

/// Returns the path of the drop-in. Cargo builds it on the first call.
///
/// # Errors
///
/// The build error, if no earlier build exists either.
pub fn preload_library() -> Result<&'static Path, String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(build_preload_library).as_deref().map_err(Clone::clone)
}

fn build_preload_library() -> Result<PathBuf, String> {
    let directory = build_directory();
    let library = directory.join("libquintet_preload.so");
    let built = cargo_build(&directory);
    match built {
        Err(why) if !library.exists() => Err(why),
        _ if !library.exists() => Err(format!("cargo did not build {}", library.display())),
        _ => Ok(library),
    }
}

fn cargo_build(directory: &Path) -> Result<(), String> {
    let profile = match directory.file_name().and_then(|n| n.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let target = directory.parent().ok_or("no target directory")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "-p", "quintet-preload", "--profile", profile, "--target-dir"])
        .arg(target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .map_err(|e| format!("cannot run cargo: {e}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}
