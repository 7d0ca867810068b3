//! Tests of what a distribution packages: manual pages, embedded drop-in, manifests of the crates.

mod place;
#[path = "../build/prebuilt.rs"]
mod prebuilt;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// The sections of each page in section 1, in this order.
const SECTIONS: [&str; 9] =
    ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO"];

fn quintet() -> Command {
    Command::new(env!("CARGO_BIN_EXE_quintet"))
}

/// Writes all pages, and returns their paths.
fn pages() -> (TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let written = quintet().arg("man").arg(dir.path()).env("SOURCE_DATE_EPOCH", "86400").status().unwrap();
    assert!(written.success());
    let mut pages: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    (dir, pages)
}

fn headings(page: &str) -> Vec<&str> {
    page.lines().filter_map(|line| line.strip_prefix(".SH ")).map(|title| title.trim_matches('"')).collect()
}

#[test]
fn each_page_has_every_section_and_each_section_has_text() {
    let (_dir, pages) = pages();
    for path in pages.iter().filter(|path| path.extension().unwrap() == "1") {
        let page = std::fs::read_to_string(path).unwrap();
        let found = headings(&page);
        let required: Vec<_> = found.iter().copied().filter(|title| SECTIONS.contains(title)).collect();
        assert_eq!(required, SECTIONS, "{}", path.display());
        for section in page.split(".SH ").skip(1) {
            let (title, text) = section.split_once('\n').unwrap();
            assert!(text.len() > 15, "{}: {title} is empty", path.display());
        }
    }
    let overview = std::fs::read_to_string(pages.iter().find(|path| path.ends_with("quintet.7")).unwrap()).unwrap();
    assert_eq!(headings(&overview), ["NAME", "DESCRIPTION", "ENVIRONMENT", "FILES", "NOTES", "EXAMPLES", "SEE ALSO"]);
}

#[test]
fn references_to_pages_of_quintet_name_pages_that_exist() {
    let (dir, pages) = pages();
    for path in &pages {
        let page = std::fs::read_to_string(path).unwrap().replace("\\-", "-").replace("\\fB", "").replace("\\fR", "");
        let page = page.replace(" (", "(");
        for word in page.split_whitespace().filter(|word| word.starts_with("quintet")) {
            if let Some((name, rest)) = word.split_once('(') {
                let section = rest.split_once(')').unwrap().0;
                assert!(dir.path().join(format!("{name}.{section}")).exists(), "{}: {word}", path.display());
            }
        }
    }
}

#[test]
fn pages_are_dated_by_the_build_and_free_of_warnings() {
    let (_dir, pages) = pages();
    for page in &pages {
        assert!(std::fs::read_to_string(page).unwrap().starts_with(".TH QUINTET"));
        assert!(std::fs::read_to_string(page).unwrap().lines().next().unwrap().contains(" 1970-01-02 \"quintet "));
    }
    for checker in [&["mandoc", "-Tlint"][..], &["groff", "-man", "-ww", "-z"]] {
        let Ok(Output { status, stdout, stderr }) = Command::new(checker[0]).args(&checker[1..]).args(&pages).output() else {
            place::lacks(checker[0]);
            continue;
        };
        let said = String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr);
        assert!(status.success() && said.is_empty(), "{}: {status}: {said}", checker[0]);
    }
}

/// The library that this build of the tool embeds.
fn embedded() -> Vec<u8> {
    std::fs::read(env!("QUINTET_PRELOAD")).unwrap()
}

fn this_arch() -> &'static str {
    std::env::consts::ARCH
}

fn this_env() -> &'static str {
    if cfg!(target_env = "musl") { "musl" } else { "gnu" }
}

#[test]
fn accepts_a_prebuilt_drop_in_of_this_target() {
    prebuilt::check(&embedded(), this_arch(), this_env()).unwrap();
}

#[test]
fn refuses_a_prebuilt_drop_in_that_is_another_file() {
    let refusal = |library: &[u8], arch, env| prebuilt::check(library, arch, env).unwrap_err();
    assert_eq!(refusal(b"", this_arch(), this_env()), "it is not an ELF file");
    assert_eq!(refusal(&[b'#'; 100], this_arch(), this_env()), "it is not an ELF file");
    assert_eq!(refusal(&embedded()[..63], this_arch(), this_env()), "it is not an ELF file");

    let changed = |at: usize, byte| {
        let mut library = embedded();
        library[at] = byte;
        library
    };
    assert_eq!(refusal(&changed(4, 1), this_arch(), this_env()), "it is not a 64-bit little-endian ELF file");
    assert_eq!(refusal(&changed(5, 2), this_arch(), this_env()), "it is not a 64-bit little-endian ELF file");
    // ET_EXEC and ET_REL.
    assert_eq!(refusal(&changed(16, 2), this_arch(), this_env()), "it is not a shared object");
    assert_eq!(refusal(&changed(16, 1), this_arch(), this_env()), "it is not a shared object");
    let elsewhere = if this_arch() == "aarch64" { "x86_64" } else { "aarch64" };
    assert!(refusal(&embedded(), elsewhere, this_env()).starts_with("it is for another machine"));
    // A position-independent program has the same ELF type as a library.
    let program = std::fs::read("/bin/true").unwrap();
    assert_eq!(refusal(&program, this_arch(), this_env()), "it does not export shmget");
}

#[test]
#[cfg(target_env = "gnu")]
fn refuses_a_prebuilt_drop_in_of_the_other_c_library() {
    assert_eq!(prebuilt::check(&embedded(), this_arch(), "musl").unwrap_err(), "it uses glibc, and the target uses musl");
}

/// The build script of the tool, compiled without cargo.
struct BuildScript {
    dir: TempDir,
}

impl BuildScript {
    fn compiled() -> BuildScript {
        let dir = tempfile::tempdir().unwrap();
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
        let mut compiler = Command::new(rustc);
        compiler.args(["--edition", "2024", "-o"]).arg(dir.path().join("build")).arg(source);
        assert!(compiler.status().unwrap().success());
        BuildScript { dir }
    }

    /// Runs it with a prebuilt drop-in, and with a cargo that always fails. Returns its output.
    fn run(&self, prebuilt: &Path) -> String {
        let output = Command::new(self.dir.path().join("build"))
            .env("QUINTET_PRELOAD_LIBRARY", prebuilt)
            .env("OUT_DIR", self.dir.path())
            .env("CARGO", "/bin/false")
            .env("CARGO_CFG_TARGET_ARCH", this_arch())
            .env("CARGO_CFG_TARGET_ENV", this_env())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn the_build_embeds_a_prebuilt_drop_in_without_a_nested_cargo() {
    let script = BuildScript::compiled();
    let prebuilt = script.dir.path().join("libquintet_preload.so");
    // The content differs from the nested build's. Bytes after the end of an ELF file have no
    // effect.
    let library = [&embedded()[..], b"distribution"].concat();
    std::fs::write(&prebuilt, &library).unwrap();
    let said = script.run(&prebuilt);
    let out = script.dir.path().join("libquintet.so");
    assert!(said.contains(&format!("cargo::rustc-env=QUINTET_PRELOAD={}\n", out.display())), "{said}");
    assert!(said.contains("cargo::rerun-if-env-changed=QUINTET_PRELOAD_LIBRARY\n"), "{said}");
    assert!(!said.contains("cargo::error"), "{said}");
    assert_eq!(std::fs::read(out).unwrap(), library);
}

#[test]
fn the_build_refuses_a_prebuilt_drop_in_that_cannot_be_embedded() {
    let script = BuildScript::compiled();
    for (path, why) in [
        ("libquintet_preload.so", "the path must be absolute"),
        ("/nonexistent/libquintet_preload.so", "No such file or directory"),
        ("/etc/passwd", "it is not an ELF file"),
        ("/bin/true", "it does not export shmget"),
    ] {
        let said = script.run(Path::new(path));
        let error = format!("cargo::error=cannot embed QUINTET_PRELOAD_LIBRARY={path}: {why}");
        assert!(said.contains(&error), "{path}: {said}");
        assert!(!said.contains("rustc-env"), "{said}");
    }
}

/// Returns cargo's metadata of the crates in the workspace.
fn crates() -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Returns `true` unless the manifest says `publish = false`; cargo reports that as an empty list.
fn is_published(package: &Value) -> bool {
    package["publish"].is_null()
}

#[test]
fn four_crates_are_published_and_described() {
    let crates = crates();
    let mut published: Vec<_> =
        crates.iter().filter(|package| is_published(package)).map(|package| package["name"].as_str().unwrap()).collect();
    published.sort_unstable();
    assert_eq!(published, ["quintet", "quintet-cli", "quintet-preload", "quintet-program"]);
    for package in crates.iter().filter(|package| is_published(package)) {
        let name = package["name"].as_str().unwrap();
        for field in ["description", "license", "repository", "documentation", "readme", "rust_version"] {
            assert!(package[field].as_str().is_some_and(|value| !value.is_empty()), "{name}: {field}");
        }
        // The limits of crates.io.
        let keywords = package["keywords"].as_array().unwrap();
        assert!((1..=5).contains(&keywords.len()), "{name}: {keywords:?}");
        assert!(keywords.iter().all(|keyword| keyword.as_str().unwrap().len() <= 20), "{name}: {keywords:?}");
        assert!((1..=5).contains(&package["categories"].as_array().unwrap().len()), "{name}");
        assert!(package["metadata"]["docs"]["rs"].is_object(), "{name}: package.metadata.docs.rs");
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
        for file in [package["readme"].as_str().unwrap(), "LICENSE-MIT", "LICENSE-APACHE"] {
            assert!(folder.join(file).exists(), "{name}: {file}");
        }
    }
}

#[test]
fn published_crates_depend_on_published_crates() {
    let crates = crates();
    let unpublished: Vec<_> =
        crates.iter().filter(|package| !is_published(package)).map(|package| package["name"].as_str().unwrap()).collect();
    for package in crates.iter().filter(|package| is_published(package)) {
        for dependency in package["dependencies"].as_array().unwrap() {
            let (name, requirement) = (dependency["name"].as_str().unwrap(), dependency["req"].as_str().unwrap());
            // Cargo drops a dev-dependency without a version from the package.
            let is_dropped = dependency["kind"] == "dev" && requirement == "*";
            assert!(!unpublished.contains(&name) || is_dropped, "{} -> {name}", package["name"]);
            assert!(requirement != "*" || is_dropped, "{} -> {name} has no version", package["name"]);
        }
    }
}
