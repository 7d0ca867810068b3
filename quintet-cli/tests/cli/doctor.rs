use crate::support::{Ns, assert_says, parsed, quintet, text};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

fn level<'a>(value: &'a Value, subject: &str) -> &'a str {
    let found = value["findings"].as_array().unwrap().iter().find(|f| f["subject"] == subject);
    found.unwrap_or_else(|| panic!("no finding '{subject}' in {value}"))["level"].as_str().unwrap()
}

#[test]
fn a_new_namespace_is_healthy() {
    let t = Ns::new();
    let value = t.json(&["doctor"]);
    assert_eq!(value["healthy"], true, "{value}");
    for subject in ["namespace", "access", "orphans", "limits", "drop-in", "logout"] {
        assert_eq!(level(&value, subject), "ok", "{subject}");
    }
    for subject in ["space", "noexec", "file system", "huge pages"] {
        assert_ne!(level(&value, subject), "fail", "{subject}");
    }
    assert_says(&text(&mut t.quintet(&["doctor"])), &["ok    namespace", "ok    drop-in", "are free"]);
}

#[test]
fn orphans_and_limits_are_warnings() {
    let t = Ns::new();
    t.segment(&["--size", "1"]);
    t.json(&["namespace", "limits", "--shmmni", "1"]);
    let value = t.json(&["doctor"]);
    assert_eq!((level(&value, "orphans"), level(&value, "limits"), value["healthy"].as_bool()), ("warn", "warn", Some(true)));
    assert_says(&text(&mut t.quintet(&["doctor"])), &["1 orphan", "quintet rm --orphans", "1 segment of 1 (shmmni)"]);
}

#[test]
fn an_open_private_namespace_fails() {
    let t = Ns::new();
    std::fs::set_permissions(t.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = t.quintet(&["doctor", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((level(&value, "access"), value["healthy"].as_bool()), ("fail", Some(false)));
}

#[test]
fn a_namespace_that_is_not_there_fails() {
    let output = quintet().args(["--namespace", "/no/such/namespace", "doctor"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_says(&String::from_utf8(output.stdout).unwrap(), &["FAIL  namespace", "/no/such/namespace", "ENOENT"]);
}

#[test]
fn a_program_that_can_be_run_is_ok() {
    let value = parsed(quintet().args(["doctor", "--json", "--", "sh", "-c", "x"]), "doctor");
    assert_eq!((level(&value, "program"), value["healthy"].as_bool()), ("ok", Some(true)));
    let output = quintet().args(["doctor", "--", "no-such-program"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_says(&String::from_utf8(output.stdout).unwrap(), &["FAIL  program", "no-such-program"]);
}
