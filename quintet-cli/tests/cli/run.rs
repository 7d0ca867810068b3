use crate::support::{Ns, assert_says, is_ignored, is_root, program, quintet, refusal, text, utf8};
use std::os::unix::process::ExitStatusExt;

/// Returns a shell script under `quintet run`.
fn shell(t: &Ns, script: &str) -> assert_cmd::Command {
    t.quintet(&["run", "--", "/bin/sh", "-c", script])
}

#[test]
fn the_tool_exits_as_the_program_exits() {
    let t = Ns::new();
    for code in [0, 1, 42, 125, 255] {
        assert_eq!(shell(&t, &format!("exit {code}")).output().unwrap().status.code(), Some(code));
    }
    // A background job of a shell ignores signal 2.
    for signal in [2, 9, 11, 15].into_iter().filter(|signal| !is_ignored(*signal)) {
        assert_eq!(shell(&t, &format!("kill -{signal} $$")).output().unwrap().status.signal(), Some(signal));
    }
}

#[test]
fn arguments_and_input_reach_the_program() {
    let t = Ns::new();
    assert_eq!(text(&mut t.quintet(&["run", "--", "echo", "-n", "a b", "--json", "--", "-x"])), "a b --json -- -x");
    assert_eq!(text(&mut t.quintet(&["run", "echo", "--version", "x"])), "--version x\n");
    assert_eq!(text(t.quintet(&["run", "cat"]).write_stdin("through")), "through");
    assert_eq!(text(&mut t.quintet(&["run", "--", "sh", "-c", "echo $0"])), "sh\n");
}

#[test]
fn the_environment_names_the_library_and_the_namespace() {
    let t = Ns::new();
    let said = text(shell(&t, "echo $QUINTET_NAMESPACE; echo $LD_PRELOAD").env("LD_PRELOAD", "libm.so.6"));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], utf8(&t.path()));
    let (library, before) = lines[1].split_once(':').unwrap();
    assert_eq!(before, "libm.so.6");
    let name = library.rsplit('/').next().unwrap();
    assert!(name.starts_with("libquintet-") && name.ends_with(".so") && name.len() == "libquintet-.so".len() + 16, "{name}");
    let metadata = std::fs::metadata(library).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777, 0o755);

    let nested = format!("{} run -- sh -c 'echo $LD_PRELOAD'", utf8(&program()));
    assert_eq!(text(&mut shell(&t, &nested)).trim(), library, "the library is loaded once");
}

#[test]
fn the_library_is_in_the_cache_of_the_user() {
    if is_root() {
        return;
    }
    let t = Ns::new();
    let cache = t.dir.path().join("cache");
    let said = text(shell(&t, "echo $LD_PRELOAD").env("XDG_CACHE_HOME", &cache));
    assert!(said.starts_with(utf8(&cache.join("quintet"))), "{said}");
    let spaced = t.dir.path().join("a b");
    let said = text(shell(&t, "echo $LD_PRELOAD").env("XDG_CACHE_HOME", &spaced).env("HOME", t.dir.path()));
    assert!(said.starts_with(utf8(&t.dir.path().join(".cache/quintet"))), "{said}");
}

#[test]
fn a_relative_namespace_is_created_and_passed_as_absolute_path() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = quintet();
    command.current_dir(dir.path()).args([
        "run",
        "--namespace",
        "made",
        "sh",
        "-c",
        "cd /; test -d $QUINTET_NAMESPACE && echo $QUINTET_NAMESPACE",
    ]);
    assert_eq!(text(&mut command).trim(), utf8(&dir.path().canonicalize().unwrap().join("made")));
    let kind = if is_root() { quintet::Kind::Shared } else { quintet::Kind::Private };
    assert_eq!(quintet::Namespace::open(dir.path().join("made")).unwrap().kind(), kind);
}

#[test]
fn an_unmodified_program_uses_the_namespace() {
    let t = Ns::new();
    let file = t.file("key", "");
    let me = program();
    let output = t.quintet(&["run", utf8(&me), "demo-client", "holder", utf8(&file)]).write_stdin("\n\n\n").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let segments = t.ns.segments().unwrap();
    assert_eq!(segments.len(), 1);
    assert_eq!(segments[0].stat.key, quintet::Key::ftok(&file, i32::from(b'q')).unwrap());
    assert_eq!((segments[0].stat.size, segments[0].stat.nattch), (4096, 0));
}

#[test]
fn failures_of_quintet_itself_are_125() {
    let t = Ns::new();
    let file = t.file("file", "");
    assert_says(&refusal(quintet().args(["run", "--namespace"]).arg(&file).args(["--", "true"]), 125), &["ENOTDIR"]);
    refusal(quintet().args(["run", "--nonsense", "--", "true"]), 125);
    refusal(quintet().args(["run"]), 125);
    assert_says(&refusal(quintet().args(["run", "--kernel", "true"]), 125), &["--kernel"]);
    assert_says(&refusal(&mut t.quintet(&["run", "--private", "true"]), 125), &["--private"]);
}
