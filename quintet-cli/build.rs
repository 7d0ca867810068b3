//! Builds the drop-in library, so that the one binary carries it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the outer build sets for its own crates and must not reach the nested one: flags and
/// wrappers of clippy, of coverage, of this very build script.
const NOT_FOR_THE_NESTED_BUILD: [&str; 8] = [
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CLIPPY_ARGS",
    "CLIPPY_CONF_DIR",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET",
];

fn main() {
    let root = Path::new(&var("CARGO_MANIFEST_DIR")).join("..");
    let out = PathBuf::from(var("OUT_DIR"));
    for package in ["quintet", "program", "quintet-preload"] {
        println!("cargo::rerun-if-changed={}", root.join(package).join("src").display());
        println!("cargo::rerun-if-changed={}", root.join(package).join("Cargo.toml").display());
    }
    println!("cargo::rerun-if-changed={}", root.join("quintet-preload/build.rs").display());
    println!("cargo::rerun-if-changed={}", root.join("Cargo.lock").display());
    println!("cargo::rerun-if-changed=build.rs");

    let library = build(&root, &out.join("preload"));
    let bytes = fs::read(&library).unwrap_or_else(|e| panic!("cannot read {}: {e}", library.display()));
    let embedded = out.join("libquintet.so");
    fs::write(&embedded, &bytes).unwrap_or_else(|e| panic!("cannot write {}: {e}", embedded.display()));
    println!("cargo::rustc-env=QUINTET_PRELOAD={}", embedded.display());
    println!("cargo::rustc-env=QUINTET_PRELOAD_HASH={:016x}", fnv1a(&bytes));
}

fn build(root: &Path, target_dir: &Path) -> PathBuf {
    let target = var("TARGET");
    let mut cargo = Command::new(var("CARGO"));
    cargo.args(["build", "--release", "--package", "quintet-preload", "--target", &target]);
    cargo.arg("--manifest-path").arg(root.join("Cargo.toml")).arg("--target-dir").arg(target_dir);
    if root.join("Cargo.lock").exists() {
        cargo.arg("--locked");
    }
    for name in NOT_FOR_THE_NESTED_BUILD {
        cargo.env_remove(name);
    }
    // A musl target links statically by default, and then has no shared libraries. Elsewhere its linker is musl-tools'.
    if var("CARGO_CFG_TARGET_ENV") == "musl" {
        cargo.env("RUSTFLAGS", "-C target-feature=-crt-static");
        let linker = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_"));
        if !var("HOST").ends_with("musl") && env::var_os(&linker).is_none() {
            cargo.env(linker, "musl-gcc");
        }
    }
    cargo.env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo");
    let status = cargo.status().unwrap_or_else(|e| panic!("cannot start cargo for the drop-in library: {e}"));
    assert!(status.success(), "the drop-in library quintet-preload does not build ({status})");
    target_dir.join(target).join("release").join("libquintet_preload.so")
}

/// Names a file by its content; whoever finds the name compares the bytes.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

fn var(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}
