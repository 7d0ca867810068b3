//! For musl: links an unwinder into the library. A program that uses musl has no `libgcc_s`, and
//! that of a glibc system needs glibc. A panic is therefore unwound by the unwinder that Rust
//! ships.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let [target, host, env] = ["TARGET", "HOST", "CARGO_CFG_TARGET_ENV"].map(|name| env::var(name).unwrap_or_default());
    if env != "musl" || host.ends_with("musl") {
        return;
    }
    let Some(unwinder) = unwinder(&target).filter(|path| path.exists()) else { return };
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    // The linker accepts this script as the library of that name.
    let script = format!("INPUT({})\n", unwinder.display());
    let written = fs::write(out.join("libgcc_s.so"), script);
    written.unwrap_or_else(|e| panic!("cannot write to {}: {e}", out.display()));
    println!("cargo::rustc-link-search=native={}", out.display());
}

fn unwinder(target: &str) -> Option<PathBuf> {
    let output = Command::new(env::var_os("RUSTC")?).args(["--print", "sysroot"]).output().ok()?;
    let sysroot = String::from_utf8(output.stdout).ok()?;
    Some(Path::new(sysroot.trim_end()).join("lib/rustlib").join(target).join("lib/self-contained/libunwind.a"))
}
