//! What the benchmarks have in common: the drop-in's file, places to measure in, medians.

use quintet::{Kind, Namespace};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether cargo wants benchmarks: `cargo test --benches` runs this program, too.
pub fn is_bench() -> bool {
    std::env::args().any(|arg| arg == "--bench")
}

/// The drop-in, built now in the profile and the target directory that this program was built in.
pub fn library() -> PathBuf {
    let exe = std::env::current_exe().expect("this program's path");
    let deps = exe.parent().filter(|dir| dir.ends_with("deps")).expect("cargo puts benchmarks into deps");
    let profile = deps.parent().expect("deps is in the profile's directory");
    let target = profile.parent().expect("the profile's directory is in the target directory");
    let name = match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => "release",
    };
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "quintet-preload", "--lib", "--profile", name, "--target-dir"]).arg(target);
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(build.status().expect("cargo runs").success(), "the drop-in cannot be built");
    let library = profile.join("libquintet_preload.so");
    assert!(library.exists(), "{} is missing", library.display());
    library
}

/// Keeps this process, and its children, on one processor: the last that it may use.
pub fn pin() {
    // SAFETY: zeroes are an empty set, and the calls get its address and its size.
    let pinned = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let len = size_of::<libc::cpu_set_t>();
        libc::sched_getaffinity(0, len, &raw mut set);
        let last = (0..libc::CPU_SETSIZE as usize).rev().find(|cpu| libc::CPU_ISSET(*cpu, &set)).unwrap_or(0);
        libc::CPU_ZERO(&mut set);
        libc::CPU_SET(last, &mut set);
        libc::sched_setaffinity(0, len, &raw const set)
    };
    if pinned != 0 {
        println!("not pinned to a processor: {}", std::io::Error::last_os_error());
    }
}

/// An IPC namespace of this process's own, if that is allowed. Else its segments are among the machine's; they are
/// removed in any case.
pub fn own_ipc() {
    // SAFETY: a flag only.
    if unsafe { libc::unshare(libc::CLONE_NEWIPC) } != 0 {
        println!("the kernel's side is in the machine's own IPC namespace: {}", std::io::Error::last_os_error());
    }
}

/// A namespace for this run, removed when dropped.
pub struct Place(Option<Namespace>);

impl Place {
    /// In `parent`, with a name of this process.
    pub fn new(parent: &Path, kind: Kind) -> Place {
        let path = parent.join(format!("quintet-bench-{}-{kind:?}", std::process::id()));
        Place(Some(Namespace::create(path, kind).unwrap_or_else(|e| panic!("{e}"))))
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.0.as_ref().and_then(Namespace::path).expect("it has a directory until it is dropped")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(Err(e)) = self.0.take().map(|namespace| namespace.destroy(true)) {
            eprintln!("{e}");
        }
    }
}

/// The middle one.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value that `part` of the values are below; 0 the least, 1 the greatest.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}
