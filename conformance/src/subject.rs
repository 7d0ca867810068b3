//! Who is asked.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Whose semantics a test looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// The kernel, in an IPC namespace of the test's own.
    Kernel,
    /// The verbs of `quintet::Namespace`, on a fresh directory.
    Library,
    /// libc's functions under `libquintet_preload.so`, on a fresh directory.
    DropIn,
}

impl Subject {
    /// Whether the subject is the kernel.
    pub fn is_kernel(self) -> bool {
        self == Subject::Kernel
    }

    /// The agent's command line for this subject; `directory` is the namespace's.
    pub(crate) fn agent(self, directory: &Path) -> Result<Command, String> {
        let mut command = Command::new(agent_program());
        match self {
            Subject::Kernel => {
                command.args(["--unshare", "libc"]).env_remove("LD_PRELOAD");
            }
            Subject::Library => {
                command.args(["--aside", "library"]).arg(directory).arg(kind());
            }
            Subject::DropIn => {
                command.args(["--aside", "libc"]).env("LD_PRELOAD", preload_library()?).env("QUINTET_NAMESPACE", directory);
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
            _ => Err(format!("'{text}' is no subject: kernel, library or drop-in")),
        }
    }
}

/// Root's namespaces are shared, because its agents become other users.
pub(crate) fn kind() -> &'static str {
    if is_root() { "shared" } else { "private" }
}

/// Whether the tests run as root, and so may become other users.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The directory into which cargo puts programs: that of the test's `deps`, or of the program itself.
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
    assert!(program.exists(), "{} is missing: build it with 'cargo build -p conformance'", program.display());
    program
}

/// The drop-in, built by cargo on the first call.
///
/// # Errors
///
/// Why it could not be built, and is not there from before either.
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
        _ if !library.exists() => Err(format!("cargo did not make {}", library.display())),
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
