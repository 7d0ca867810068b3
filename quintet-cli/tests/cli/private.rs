//! `run --private`: a namespace that is removed when the program exits.

use crate::support::{assert_says, is_ignored, program, quintet, text, utf8};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

fn private(script: &str) -> assert_cmd::Command {
    let mut command = quintet();
    command.args(["run", "--private", "--", "sh", "-c", script]);
    command
}

#[test]
fn the_namespace_exists_while_the_program_runs() {
    let path = text(&mut private("test -d $QUINTET_NAMESPACE && echo $QUINTET_NAMESPACE"));
    assert!(!path.trim().is_empty() && !Path::new(path.trim()).exists(), "{path}");
}

#[test]
fn each_run_has_its_own_namespace() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let me = program();
    // The client creates its segment exclusively, and leaves it behind when its input ends.
    for _ in 0..2 {
        let mut command = quintet();
        command.args(["run", "--private", "--", utf8(&me), "demo-client", "holder"]).arg(file.path()).write_stdin("");
        assert_says(&text(&mut command), &["shmget created id"]);
    }
}

#[test]
fn the_tool_exits_as_the_program_exits() {
    assert_eq!(private("exit 42").output().unwrap().status.code(), Some(42));
    // A background job of a shell ignores signal 2.
    for signal in [2, 9, 15, 6].into_iter().filter(|signal| !is_ignored(*signal)) {
        assert_eq!(private(&format!("kill -{signal} $$")).output().unwrap().status.signal(), Some(signal), "{signal}");
    }
    assert_eq!(quintet().args(["run", "--private", "no-such-program"]).output().unwrap().status.code(), Some(127));
}

#[test]
fn signals_are_forwarded() {
    for (signal, name) in [(rustix::process::Signal::TERM, "TERM"), (rustix::process::Signal::HUP, "HUP")] {
        if is_ignored(signal.as_raw()) {
            println!("skipped: SIG{name} is ignored here, as under nohup");
            continue;
        }
        let script = format!("trap 'echo got {name}; exit 7' {name}; echo $QUINTET_NAMESPACE; while :; do sleep 0.05; done");
        let mut child =
            Command::new(program()).args(["run", "--private", "--", "sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut path = String::new();
        out.read_line(&mut path).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!((rest, child.wait().unwrap().code()), (format!("got {name}\n"), Some(7)));
        assert!(!Path::new(path.trim()).exists());
    }
}

#[test]
fn a_namespace_that_a_daemon_uses_is_kept() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // The client outlives the shell. It waits for the end of its input, a pipe that the test
    // closes.
    let script = format!(
        "exec 3>&1; ({} demo-client holder {} <{} | tee /dev/fd/3 >/dev/null) & exec 1>&- 3>&-; while ! {} ls | grep -q attached; do sleep 0.02; done; echo $QUINTET_NAMESPACE >&2",
        utf8(&program()),
        utf8(file.path()),
        utf8(&fifo),
        utf8(&program())
    );
    let mut child = Command::new(program())
        .args(["run", "--private", "--", "sh", "-c", &script])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let keep = std::fs::File::options().write(true).open(&fifo).unwrap();
    let mut said = String::new();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    errors.read_line(&mut said).unwrap();
    let path = said.trim().to_owned();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut warning = String::new();
    errors.read_line(&mut warning).unwrap();
    assert_says(
        &warning,
        &[
            &format!("cannot remove the namespace {path}: processes still use it: pid "),
            "(EBUSY)",
            &format!("'quintet namespace rm {path}'"),
        ],
    );
    assert!(Path::new(&path).exists());
    drop(keep);
    let gone = || quintet().args(["namespace", "rm", &path]).output().unwrap().status.success();
    assert!((0..200).any(|_| gone() || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        false
    }));
    assert!(!Path::new(&path).exists());
}
