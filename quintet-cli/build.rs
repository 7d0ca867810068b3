//! Embeds the drop-in library in the tool, so that `quintet` is one self-contained file.
//!
//! The drop-in comes from the first of these sources that applies:
//!
//! 1. `QUINTET_PRELOAD_LIBRARY=/path/to/libquintet_preload.so` names a library that is already
//!    built. The file is checked and embedded, and no second cargo runs. Distributors use this.
//! 2. In a checkout, `../quintet-preload` is the drop-in's source. A nested cargo builds it in the
//!    workspace, with the workspace's Cargo.lock.
//! 3. In a package (`cargo install quintet-cli`), a nested cargo builds the published crate
//!    `quintet-preload` of the same version. The nested build starts from the Cargo.lock of this
//!    package, which lists the drop-in and its dependencies. It needs what the outer build needs:
//!    a registry, or a vendored copy of it.
//!
//! A cargo dependency cannot replace the nested build. Cargo has no stable way to depend on the
//! file of a `cdylib`, and the drop-in's `shmget` must not be linked into the tool.

#[path = "build/prebuilt.rs"]
mod prebuilt;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names a drop-in that is already built.
const PREBUILT: &str = "QUINTET_PRELOAD_LIBRARY";

/// The outer build sets these for its own crates: flags and wrappers of clippy, of coverage and of
/// this build script. The nested build must not inherit them.
const NOT_INHERITED: [&str; 8] = [
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CLIPPY_ARGS",
    "CLIPPY_CONF_DIR",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET",
];

/// The drop-in and the crates of this repository that it depends on.
const CRATES: [&str; 3] = ["quintet", "quintet-program", "quintet-preload"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build/prebuilt.rs");
    println!("cargo::rerun-if-env-changed={PREBUILT}");
    if let Err(why) = embed() {
        println!("cargo::error={why}");
    }
}

fn embed() -> Result<(), String> {
    let out = PathBuf::from(var("OUT_DIR"));
    let bytes = match env::var_os(PREBUILT).filter(|path| !path.is_empty()) {
        Some(path) => prebuilt(Path::new(&path))?,
        None => read(&build(&out)?)?,
    };
    let embedded = out.join("libquintet.so");
    write(&embedded, &bytes)?;
    println!("cargo::rustc-env=QUINTET_PRELOAD={}", embedded.display());
    println!("cargo::rustc-env=QUINTET_PRELOAD_HASH={:016x}", fnv1a(&bytes));
    Ok(())
}

/// Returns the library that the builder named, if it is one for this target.
fn prebuilt(path: &Path) -> Result<Vec<u8>, String> {
    let unusable = |why: &str| {
        let path = path.display();
        format!("cannot embed {PREBUILT}={path}: {why}; name the libquintet_preload.so of this version and target")
    };
    // The working directory of a build script is the package, not the builder's.
    if path.is_relative() {
        return Err(unusable("the path must be absolute"));
    }
    println!("cargo::rerun-if-changed={}", path.display());
    let bytes = fs::read(path).map_err(|e| unusable(&e.to_string()))?;
    prebuilt::check(&bytes, &var("CARGO_CFG_TARGET_ARCH"), &var("CARGO_CFG_TARGET_ENV")).map_err(|why| unusable(&why))?;
    Ok(bytes)
}

/// Builds the drop-in below `out` and returns its path.
fn build(out: &Path) -> Result<PathBuf, String> {
    let package = PathBuf::from(var("CARGO_MANIFEST_DIR"));
    let parent = package.join("..");
    let target_dir = out.join("preload");
    let target = var("TARGET");
    let mut cargo = Command::new(var("CARGO"));
    cargo.args(["build", "--release", "--package", "quintet-preload", "--target", &target]).arg("--target-dir").arg(&target_dir);
    if parent.join("quintet-preload/Cargo.toml").exists() && parent.join("Cargo.toml").exists() {
        in_workspace(&parent, &mut cargo);
    } else {
        from_registry(&package, &out.join("preload-source"), &mut cargo)?;
    }
    for name in NOT_INHERITED {
        cargo.env_remove(name);
    }
    // A musl target links statically by default, and then has no shared libraries. On another host
    // its linker is the one of musl-tools.
    if var("CARGO_CFG_TARGET_ENV") == "musl" {
        cargo.env("RUSTFLAGS", "-C target-feature=-crt-static");
        let linker = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_"));
        if !var("HOST").ends_with("musl") && env::var_os(&linker).is_none() {
            cargo.env(linker, "musl-gcc");
        }
    }
    cargo.env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo");
    let failed = |why: String| {
        format!(
            "cannot build the drop-in quintet-preload: {why}; {PREBUILT}=/path/to/libquintet_preload.so embeds one that is built"
        )
    };
    let status = cargo.status().map_err(|e| failed(format!("cannot start cargo: {e}")))?;
    if !status.success() {
        return Err(failed(format!("cargo failed ({status})")));
    }
    Ok(target_dir.join(target).join("release").join("libquintet_preload.so"))
}

/// Builds the drop-in of the checkout.
fn in_workspace(root: &Path, cargo: &mut Command) {
    for folder in ["quintet", "program", "quintet-preload"] {
        println!("cargo::rerun-if-changed={}", root.join(folder).join("src").display());
        println!("cargo::rerun-if-changed={}", root.join(folder).join("Cargo.toml").display());
    }
    println!("cargo::rerun-if-changed={}", root.join("quintet-preload/build.rs").display());
    println!("cargo::rerun-if-changed={}", root.join("Cargo.lock").display());
    cargo.arg("--manifest-path").arg(root.join("Cargo.toml"));
    if root.join("Cargo.lock").exists() {
        cargo.arg("--locked");
    }
}

/// Builds the published drop-in, as the dependency of an empty package in `source`. Cargo then
/// fetches and verifies the drop-in like any other dependency.
fn from_registry(package: &Path, source: &Path, cargo: &mut Command) -> Result<(), String> {
    let manifest = source.join("Cargo.toml");
    fs::create_dir_all(source.join("src")).map_err(|e| format!("cannot create {}: {e}", source.display()))?;
    write(&source.join("src/lib.rs"), b"")?;
    write(&manifest, manifest_text(package).as_bytes())?;
    // Cargo keeps the versions that the drop-in shares with the tool and drops the other entries.
    let lock = package.join("Cargo.lock");
    if lock.exists() {
        write(&source.join("Cargo.lock"), &read(&lock)?)?;
    }
    cargo.arg("--manifest-path").arg(manifest);
    Ok(())
}

fn manifest_text(package: &Path) -> String {
    let version = var("CARGO_PKG_VERSION");
    let mut text = format!(
        "[package]\nname = \"embedded-preload\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [workspace]\n\n\
         [dependencies]\nquintet-preload = \"={version}\"\n\n\
         [profile.release]\nlto = \"thin\"\ncodegen-units = 1\n"
    );
    // `cargo package` verifies crates before they are published: the registry has none of them, and
    // their unpacked packages lie side by side.
    let beside = CRATES.map(|name| (name, package.with_file_name(format!("{name}-{version}"))));
    if beside.iter().all(|(_, path)| path.join("Cargo.toml").exists()) {
        text.push_str("\n[patch.crates-io]\n");
        for (name, path) in beside {
            text.push_str(&format!("{name} = {{ path = {path:?} }}\n"));
        }
    }
    text
}

/// Hashes the content for the name of the installed file. The tool compares the bytes of a file
/// that it finds, so a collision does no harm.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

fn var(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}
