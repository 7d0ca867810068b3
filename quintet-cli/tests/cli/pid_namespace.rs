//! Processes in another PID namespace. Their pids are different here.

use crate::support::{Ns, Running, assert_says, is_root, program, text, utf8};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn an_attacher_in_another_pid_namespace_is_marked() {
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
        return eprintln!("skipped: cannot create a PID namespace here");
    }
    let attached = &t.json(&["ls"])["shm"][0]["attached"][0];
    assert_eq!((attached["pid"].as_i64(), attached["pid_visible"].as_bool()), (Some(1), Some(false)), "{attached}");
    assert!(attached["command"].is_null());
    assert_says(&text(&mut t.quintet(&["ls"])), &["attached: pid 1 in another PID namespace ("]);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_set_waiter_in_another_pid_namespace_is_marked() {
    let t = Ns::new();
    let id = t.set(&["--values", "1"]);
    let (holder, _) = t.holding(&id, "0:-1", "read x");
    let mut unshare = Command::new("unshare");
    unshare.args(if is_root() { &["--pid", "--fork"][..] } else { &["--map-root-user", "--pid", "--fork"] });
    if !Command::new("unshare").args(unshare.get_args()).arg("true").status().is_ok_and(|status| status.success()) {
        return eprintln!("skipped: cannot create a PID namespace here");
    }
    unshare.arg(program()).args(["--namespace", utf8(&t.path()), "sem", "op", "--timeout", "60", &id, "0:-1"]);
    let waiter = Running::start(unshare);
    let shown = loop {
        let value = t.json(&["why", &format!("sem:{id}")]);
        if !value["waits"][0].is_null() {
            break value["waits"][0].clone();
        }
    };
    let process = &shown["waiter"];
    assert_eq!(
        (process["pid"].as_i64(), process["pid_visible"].as_bool(), process["command"].as_str()),
        (Some(1), Some(false), None)
    );
    assert_eq!(shown["holders"][0]["pid"], holder.pid());
    // Its pid belongs to another process here.
    assert_eq!(t.json(&["why", "1"])["waits"], serde_json::json!([]));
    assert_says(&text(&mut t.quintet(&["ls"])), &[": pid 1 in another PID namespace ("]);
    text(&mut t.quintet(&["sem", "op", &id, "0:+1"]));
    assert_eq!(waiter.code(), Some(0));
}

#[test]
fn a_queue_waiter_in_another_pid_namespace_is_marked() {
    let t = Ns::new();
    let id = t.queue(&[]);
    let mut unshare = Command::new("unshare");
    unshare.args(if is_root() { &["--pid", "--fork"][..] } else { &["--map-root-user", "--pid", "--fork"] });
    if !Command::new("unshare").args(unshare.get_args()).arg("true").status().is_ok_and(|status| status.success()) {
        return eprintln!("skipped: cannot create a PID namespace here");
    }
    unshare.arg(program()).args(["--namespace", utf8(&t.path()), "msg", "recv", "--timeout", "60", &id, "--line"]);
    let mut waiter = Running::start(unshare);
    let value = loop {
        let value = t.json(&["why", &format!("msg:{id}")]);
        if !value["queue_waits"][0].is_null() {
            break value;
        }
    };
    let process = &value["queue_waits"][0]["waiter"];
    assert_eq!(
        (process["pid"].as_i64(), process["pid_visible"].as_bool(), process["command"].as_str()),
        (Some(1), Some(false), None)
    );
    // Its threads are hidden here, so it may not be blocked.
    assert!(value["all_wait"].is_null());
    assert_eq!(t.json(&["why", "1"])["queue_waits"], serde_json::json!([]));
    assert_says(&text(&mut t.quintet(&["ls"])), &["waiting: for a message of any type", ": pid 1 in another PID namespace ("]);
    t.send(&[&id, "hello"]);
    assert_eq!((waiter.line(), waiter.code()), ("hello".to_owned(), Some(0)));
}
