//! Processes of another PID namespace, whose pids mean nothing here.

use crate::support::{Ns, assert_says, is_root, program, text, utf8};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn a_pid_of_another_namespace_is_told_as_such() {
    let t = Ns::new();
    let file = t.file("key", "");
    let unshare =
        if is_root() { &["unshare", "--pid", "--fork"][..] } else { &["unshare", "--map-root-user", "--pid", "--fork"] };
    let mut child = Command::new(program())
        .args(["run", "--namespace", utf8(&t.path()), "--"])
        .args(unshare)
        .args([utf8(&program()), "demo-client", "holder", utf8(&file)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut said).unwrap();
    if said.is_empty() {
        child.wait().unwrap();
        return eprintln!("skipped: no PID namespace can be made here");
    }
    let attached = &t.json(&["ls"])["shm"][0]["attached"][0];
    assert_eq!((attached["pid"].as_i64(), attached["pid_visible"].as_bool()), (Some(1), Some(false)), "{attached}");
    assert!(attached["command"].is_null());
    assert_says(&text(&mut t.quintet(&["ls"])), &["attached: pid 1 in another PID namespace ("]);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}
