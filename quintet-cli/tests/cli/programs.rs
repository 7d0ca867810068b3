//! Programs that cannot be run or intercepted, and the reasons.

use crate::support::{Ns, assert_says, is_root, program, refusal, text, utf8};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn executable(t: &Ns, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = t.file(name, content);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Returns a changed 64-bit ELF program of this machine.
fn changed(change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = std::fs::read(program()).unwrap();
    change(&mut bytes);
    bytes
}

/// Returns the offset of the program header that names the loader.
fn loader_header(elf: &[u8]) -> usize {
    let table = u64::from_ne_bytes(elf[32..40].try_into().unwrap()) as usize;
    let mut headers = (0..).map(|i| table + i * 56);
    headers.find(|at| u32::from_ne_bytes(elf[*at..at + 4].try_into().unwrap()) == 3).unwrap()
}

fn cannot(t: &Ns, path: &Path, parts: &[&str]) {
    let said = refusal(&mut t.quintet(&["run", utf8(path)]), 126);
    assert_says(&said, &[&format!("cannot execute {}: ", utf8(path))]);
    assert_says(&said, parts);
    let output = t.quintet(&["doctor", "--json", "--", utf8(path)]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (value["findings"][0]["subject"].as_str(), value["findings"][0]["level"].as_str()),
        (Some("program"), Some("fail"))
    );
}

#[test]
fn not_found_is_127() {
    let t = Ns::new();
    for name in ["no-such-program", "/no/such/program", "./nothing", ""] {
        assert_says(&refusal(&mut t.quintet(&["run", "--", name]), 127), &["cannot execute"]);
    }
    assert_says(&refusal(t.quintet(&["run", "sh"]).env("PATH", ""), 127), &["PATH"]);
}

#[test]
fn files_that_are_not_programs_are_126() {
    let t = Ns::new();
    cannot(&t, t.dir.path(), &["it is a directory (EACCES)"]);
    let plain = t.file("plain", "text");
    let hint = format!("'chmod +x {}' makes it executable", utf8(&plain));
    cannot(&t, &plain, &["Permission denied (EACCES); ", &hint]);
    cannot(&t, &executable(&t, "binary", b"\x01\x02\0\x03"), &["it is neither an ELF program nor a script (ENOEXEC)"]);
    cannot(&t, &executable(&t, "cut", b"\x7fELF"), &["its ELF header is damaged (ENOEXEC)"]);
}

#[test]
fn a_file_in_path_without_execute_permission_is_126() {
    let t = Ns::new();
    t.file("tool", "");
    assert_says(&refusal(t.quintet(&["run", "tool"]).env("PATH", t.dir.path()), 126), &["tool: Permission denied (EACCES)"]);
}

#[cfg(target_pointer_width = "64")]
#[test]
fn elf_programs_without_a_loader_are_126() {
    let t = Ns::new();
    let without_loader = changed(|elf| {
        let at = loader_header(elf);
        elf[at..at + 4].fill(0);
    });
    cannot(
        &t,
        &executable(&t, "static", without_loader),
        &["it is statically linked, so it cannot load the drop-in; use a dynamically linked build of the program"],
    );
    cannot(
        &t,
        &executable(&t, "foreign", changed(|elf| elf[18..20].copy_from_slice(&8u16.to_ne_bytes()))),
        &["it is for MIPS", "this quintet is for"],
    );
    let with_loader = |name: &'static [u8]| {
        changed(move |elf| {
            let at = loader_header(elf);
            let offset = u64::from_ne_bytes(elf[at + 8..at + 16].try_into().unwrap()) as usize;
            elf[offset..offset + name.len()].copy_from_slice(name);
        })
    };
    if cfg!(target_env = "gnu") {
        cannot(&t, &executable(&t, "musl", with_loader(b"/lib/ld-musl-a.so\0")), &["it uses musl", "drop-in for glibc"]);
        cannot(
            &t,
            &executable(&t, "lost", with_loader(b"/no/ld-linux.so.9\0")),
            &["its loader /no/ld-linux.so.9 is not installed (ENOENT)"],
        );
    }
}

#[test]
fn scripts_are_checked_by_their_interpreter() {
    let t = Ns::new();
    for (name, line, said) in [("a", "#!/bin/sh", "1"), ("b", "#! /usr/bin/env sh", "1"), ("c", "", "1")] {
        let script = executable(&t, name, format!("{line}\necho $1\n"));
        assert_eq!(text(&mut t.quintet(&["run", utf8(&script), "1"])).trim(), said);
    }
    let through = executable(&t, "through", format!("#!{}\n", utf8(&t.dir.path().join("a"))));
    assert_eq!(text(&mut t.quintet(&["run", utf8(&through)])).trim(), utf8(&through));
    cannot(
        &t,
        &executable(&t, "lost", "#!/no/such/interpreter\n"),
        &["its interpreter /no/such/interpreter cannot be executed: No such file or directory (ENOENT)"],
    );
    cannot(
        &t,
        &executable(&t, "env", "#!/usr/bin/env no-such-program\n"),
        &["its interpreter no-such-program is not in PATH (ENOENT)"],
    );
    cannot(&t, &executable(&t, "none", "#!\n"), &["its first line names no interpreter (ENOEXEC)"]);
    let me = t.dir.path().join("loop");
    cannot(
        &t,
        &executable(&t, "loop", format!("#!{}\n", utf8(&me))),
        &["its interpreters are scripts, too many levels deep (ELOOP)"],
    );
}

#[test]
fn programs_that_gain_privileges_are_126() {
    let t = Ns::new();
    if !is_root() {
        if let Some(setuid) = ["/usr/bin/su", "/usr/bin/passwd"].map(Path::new).into_iter().find(|p| is_setuid(p)) {
            cannot(&t, setuid, &["it is setuid", "LD_PRELOAD"]);
        }
        return;
    }
    let copy = executable(&t, "copy", std::fs::read(program()).unwrap());
    std::os::unix::fs::chown(&copy, Some(65534), Some(65534)).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o4755)).unwrap();
    cannot(&t, &copy, &["it is setuid", "LD_PRELOAD"]);
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o2755)).unwrap();
    cannot(&t, &copy, &["it is setgid"]);
    // Setuid to the own user id changes nothing.
    std::os::unix::fs::chown(&copy, Some(0), Some(0)).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o6755)).unwrap();
    assert_says(&text(&mut t.quintet(&["run", utf8(&copy), "--version"])), &["quintet"]);
}

fn is_setuid(path: &Path) -> bool {
    let ignored = rustix::fs::statvfs(path).is_ok_and(|m| m.f_flag.contains(rustix::fs::StatVfsMountFlags::NOSUID));
    path.metadata().is_ok_and(|m| m.permissions().mode() & 0o4000 != 0) && !ignored
}
