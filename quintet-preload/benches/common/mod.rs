//! What the benchmarks share: the library, namespaces to measure in, alternation, medians.
// Not every benchmark uses all of it.
#![allow(dead_code)]

pub mod companion;
pub mod instructions;
pub mod loaded;
pub mod report;
pub mod side;
pub mod trips;
pub mod turns;

use quintet::{Kind, Namespace};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns `true` if cargo runs benchmarks: `cargo test --benches` starts this program, too.
pub fn is_bench() -> bool {
    std::env::args().any(|arg| arg == "--bench")
}

/// Builds the library in the profile and the target directory of this program. Returns its path.
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
    assert!(build.status().expect("cargo runs").success(), "cannot build quintet-preload");
    let library = profile.join("libquintet_preload.so");
    assert!(library.exists(), "{} is missing", library.display());
    library
}

/// A second copy of the library, for a second namespace; removed when dropped.
pub struct Copied(pub PathBuf);

impl Copied {
    pub fn of(library: &Path) -> Copied {
        let copy = Copied(std::env::temp_dir().join(format!("libquintet_preload-{}.so", std::process::id())));
        std::fs::copy(library, &copy.0).expect("room for a copy of the library");
        copy
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Returns the processors that this process may use.
pub fn processors() -> Vec<usize> {
    // SAFETY: zeroes are an empty set, and the call gets its address and its size.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set);
        set
    };
    // SAFETY: within the set.
    (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect()
}

/// Pins this process and its children to the last processor that it may use.
pub fn pin() {
    pin_to(processors().last().copied().unwrap_or(0));
}

/// Pins this process and its children to a processor.
pub fn pin_to(processor: usize) {
    // SAFETY: zeroes are an empty set, and the call gets its address and its size.
    let pinned = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if pinned != 0 {
        eprintln!("not pinned to processor {processor}: {}", std::io::Error::last_os_error());
    }
}

/// Moves this process to an IPC namespace of its own if allowed. Returns `true` on success.
/// Otherwise its objects are among the machine's; they are removed in either case.
pub fn own_ipc() -> bool {
    // SAFETY: a flag only.
    let own = unsafe { libc::unshare(libc::CLONE_NEWIPC) } == 0;
    if !own {
        println!("the kernel's side is in the machine's own IPC namespace: {}", std::io::Error::last_os_error());
    }
    own
}

/// A namespace for this run, removed when dropped.
pub struct Place(Option<Namespace>);

impl Place {
    /// Creates a namespace in `parent`, named after this process.
    pub fn new(parent: &Path, kind: Kind) -> Place {
        let path = parent.join(format!("quintet-bench-{}-{kind:?}", std::process::id()));
        Place(Some(Namespace::create(path, kind).unwrap_or_else(|e| panic!("{e}"))))
    }

    pub fn namespace(&self) -> &Namespace {
        self.0.as_ref().expect("it is there until it is dropped")
    }

    /// Returns the directory of the namespace.
    pub fn path(&self) -> &Path {
        self.namespace().path().expect("it is one that has a directory")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(Err(e)) = self.0.take().map(|namespace| namespace.destroy(true)) {
            eprintln!("{e}");
        }
    }
}

/// Returns the next random number below `n`.
pub fn random(state: &mut u64, n: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state % n as u64) as usize
}

/// Returns the median.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// Returns the value below which this part of the values lies; 0 is the least, 1 the greatest.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}

/// Creates a child that exits immediately, and waits for it. The caller has one thread.
pub fn fork_and_wait() {
    // SAFETY: the child only exits.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(0);
        }
        assert!(child > 0 && libc::waitpid(child, std::ptr::null_mut(), 0) == child, "fork or wait failed");
    }
}
