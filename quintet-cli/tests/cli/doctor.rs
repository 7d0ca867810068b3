use crate::support::{Ns, assert_says, is_root, parsed, program, quintet, refusal, text};
use quintet::Id;
use serde_json::Value;
use std::os::unix::fs::{FileExt, PermissionsExt};

fn level<'a>(value: &'a Value, subject: &str) -> &'a str {
    let found = value["findings"].as_array().unwrap().iter().find(|f| f["subject"] == subject);
    found.unwrap_or_else(|| panic!("no finding '{subject}' in {value}"))["level"].as_str().unwrap()
}

#[test]
fn a_new_namespace_is_healthy() {
    let t = Ns::new();
    let value = t.json(&["doctor"]);
    assert_eq!(value["healthy"], true, "{value}");
    for subject in ["namespace", "access", "orphans", "deadlocks", "damage", "queues", "limits", "drop-in", "logout"] {
        assert_eq!(level(&value, subject), "ok", "{subject}");
    }
    for subject in ["space", "noexec", "file system", "huge pages"] {
        assert_ne!(level(&value, subject), "fail", "{subject}");
    }
    assert_says(&text(&mut t.quintet(&["doctor"])), &["ok    namespace", "ok    drop-in", "are free"]);
}

#[test]
fn a_damaged_namespace_is_a_failure() {
    let t = Ns::new();
    let header = t.path().join("namespace");
    let len = header.metadata().unwrap().len() as usize;
    for content in [vec![], vec![0; len], vec![0xff; len], b"#!/bin/sh\n".to_vec()] {
        std::fs::write(&header, &content).unwrap();
        let output = t.quintet(&["doctor"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_says(&String::from_utf8(output.stdout).unwrap(), &["FAIL  namespace", "space "]);
        for command in [&["ls"][..], &["create", "--size", "1"], &["rm", "--all"], &["why", "1"], &["namespace", "limits"]] {
            assert_says(&refusal(&mut t.quintet(command), 1), &["quintet: cannot open the namespace"]);
        }
        assert_eq!(std::fs::read(&header).unwrap(), content, "nothing is changed");
    }
}

#[test]
fn orphans_and_limits_are_warnings() {
    let t = Ns::new();
    t.segment(&["--size", "1"]);
    t.json(&["namespace", "limits", "--shmmni", "1"]);
    let value = t.json(&["doctor"]);
    assert_eq!((level(&value, "orphans"), level(&value, "limits"), value["healthy"].as_bool()), ("warn", "warn", Some(true)));
    assert_says(
        &text(&mut t.quintet(&["doctor"])),
        &["1 orphan", " rm --orphans'", "1 segment of 1 (shmmni)", "namespace limits --shmmni 2'"],
    );
}

#[test]
fn an_open_private_namespace_is_a_failure() {
    let t = Ns::new();
    std::fs::set_permissions(t.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = t.quintet(&["doctor", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((level(&value, "access"), value["healthy"].as_bool()), ("fail", Some(false)));
}

#[test]
fn a_missing_namespace_is_a_failure() {
    let output = quintet().args(["--namespace", "/no/such/namespace", "doctor"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_says(&String::from_utf8(output.stdout).unwrap(), &["FAIL  namespace", "/no/such/namespace", "ENOENT"]);
}

/// Mounts a file system of its own, and is skipped if that is not possible.
#[test]
fn a_full_file_system_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let script = "
        mount -t tmpfs -o size=1M,noexec,huge=always none \"$D\" 2>/dev/null || { echo skipped; exit; }
        $Q namespace create $D/ns >/dev/null
        $Q --namespace $D/ns doctor --json
        head -c 2M /dev/zero >$D/fill 2>/dev/null || true
        $Q --namespace $D/ns doctor --json || test $? = 1
    ";
    let mut unshare = std::process::Command::new("unshare");
    unshare.args(if is_root() { &["--mount"][..] } else { &["--mount", "--map-root-user"] });
    let output = unshare.args(["sh", "-ec", script]).env("D", dir.path()).env("Q", program()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let [empty, full] = said.lines().collect::<Vec<_>>()[..] else { return eprintln!("skipped: nothing can be mounted here") };
    let (empty, full): (Value, Value) = (serde_json::from_str(empty).unwrap(), serde_json::from_str(full).unwrap());
    assert_eq!((level(&empty, "space"), level(&empty, "noexec"), level(&empty, "file system")), ("ok", "warn", "ok"));
    assert_says(&empty.to_string(), &["huge=always"]);
    assert_eq!((level(&full, "space"), full["healthy"].as_bool()), ("fail", Some(false)));
}

#[test]
fn a_program_that_can_be_run_is_ok() {
    let value = parsed(quintet().args(["doctor", "--json", "--", "sh", "-c", "x"]), "doctor");
    assert_eq!((level(&value, "program"), value["healthy"].as_bool()), ("ok", Some(true)));
    let output = quintet().args(["doctor", "--", "no-such-program"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_says(&String::from_utf8(output.stdout).unwrap(), &["FAIL  program", "no-such-program"]);
}

fn finding<'a>(value: &'a Value, subject: &str) -> (&'a str, &'a str) {
    let found = value["findings"].as_array().unwrap().iter().find(|f| f["subject"] == subject);
    let found = found.unwrap_or_else(|| panic!("no finding '{subject}' in {value}"));
    (found["level"].as_str().unwrap(), found["message"].as_str().unwrap())
}

#[test]
fn the_libraries_of_a_program_are_examined() {
    let t = Ns::new();
    let script = t.file("script", "#!/usr/bin/env sh\n");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let value = parsed(&mut t.quintet(&["doctor", "--json", "--", script.to_str().unwrap()]), "doctor");
    assert_says(finding(&value, "program").1, &["a script for /usr/bin/env, then /", "bin/sh"]);
    let (level, message) = finding(&value, "libraries");
    assert_eq!(level, "ok", "{message}");
    assert_says(message, &["finds every library, and the drop-in library"]);
    assert_eq!(finding(&value, "namespace").0, "ok");
    assert_says(finding(&value, "namespace").1, &["the program can use the private namespace ", t.path().to_str().unwrap()]);
    assert_eq!((finding(&value, "children").0, value["healthy"].as_bool()), ("ok", Some(true)));

    // The name of a library is changed, so that the loader does not find it.
    let mut bytes = std::fs::read(program()).unwrap();
    let name = b"libc.so.6\0";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
    bytes[at..at + 4].copy_from_slice(b"none");
    let lost = t.file("lost", bytes);
    std::fs::set_permissions(&lost, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = t.quintet(&["doctor", "--json", "--", lost.to_str().unwrap()]).output().unwrap();
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(finding(&value, "libraries").0, "fail");
    assert_says(finding(&value, "libraries").1, &["cannot load the program: none.so.6: cannot open shared object file"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_namespace_of_a_program_is_examined() {
    let t = Ns::new();
    let missing = t.dir.path().join("new");
    let examined = |path: &std::path::Path| {
        let output = quintet().args(["--namespace", path.to_str().unwrap(), "doctor", "--json", "--", "sh"]).output().unwrap();
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap())
    };
    let (code, value) = examined(&missing);
    assert_eq!((code, finding(&value, "namespace").0), (Some(0), "ok"));
    assert_says(finding(&value, "namespace").1, &["does not exist yet; 'quintet run' creates it"]);
    assert!(!missing.exists());
    for (path, message) in [
        ("/proc".into(), "it is not a namespace, and it is not empty"),
        (t.dir.path().join("no/new"), "no/new: No such file or directory (ENOENT)"),
        (t.file("file", ""), "it is not a directory that you can read"),
    ] {
        let (code, value) = examined(&path);
        let (level, said) = finding(&value, "namespace");
        assert_eq!((code, level), (Some(1), "fail"));
        assert_says(said, &[message]);
    }
    std::fs::write(t.path().join("namespace"), [0; 4096]).unwrap();
    let (code, value) = examined(&t.path());
    assert_eq!((code, finding(&value, "namespace").0), (Some(1), "fail"));
    assert_says(finding(&value, "namespace").1, &["its file 'namespace' is damaged"]);
}

#[test]
fn the_variables_of_the_drop_in_library_are_examined() {
    let t = Ns::new();
    let examined = |name: &str, value: &str| {
        let output = t.quintet(&["doctor", "--json", "--", "sh"]).env(name, value).output().unwrap();
        assert!(output.status.success());
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let value = examined("QUINTET_INHERIT", "0");
    assert_eq!(finding(&value, "children").0, "warn");
    let value = examined("QUINTET_LOG", "loud");
    assert_eq!(finding(&value, "log"), ("warn", "QUINTET_LOG=loud is not a level"));
    assert_eq!(finding(&examined("QUINTET_LOG", "off"), "log").0, "warn");
    assert_eq!(finding(&examined("QUINTET_LOG_FILE", "/no/such/file"), "log").0, "warn");
    assert_eq!(finding(&examined("QUINTET_LOG_FILE", t.dir.path().join("log").to_str().unwrap()), "log").0, "ok");
}

#[test]
fn the_limits_of_sets_are_examined_too() {
    let t = Ns::new();
    t.set(&["--nsems", "9"]);
    assert_says(&text(&mut t.quintet(&["doctor"])), &["0 segments of 4096 (shmmni), 1 semaphore set of 32000 (semmni)"]);
    t.json(&["namespace", "limits", "--semmns", "10"]);
    assert_says(&text(&mut t.quintet(&["doctor"])), &["warn  limits       9 semaphores of 10 (semmns)", "limits --semmns 20'"]);
}

#[test]
fn a_queue_that_fills_up_is_a_warning() {
    let t = Ns::new();
    let id = t.queue(&["--capacity", "10"]);
    t.send(&[&id, "12345678"]);
    assert_eq!(level(&t.json(&["doctor"]), "queues"), "ok");
    t.send(&[&id, "9"]);
    let said = text(&mut t.quintet(&["doctor"]));
    let full = format!("msg:{id} is nearly full with 2 messages, 9 of 10 bytes, and no process has received from it");
    assert_says(&said, &["warn  queues", &full, &format!(" msg recv {id}' takes a message")]);
    text(&mut t.quintet(&["msg", "recv", &id, "--type", "1"]));
    t.send(&[&id, "12345678"]);
    assert_says(&text(&mut t.quintet(&["doctor"])), &["and pid ", ", the last receiver, has exited"]);
    let sender = t.waiting_msg(&["send", &id, "ab"]);
    let said = text(&mut t.quintet(&["doctor"]));
    assert_says(&said, &[&format!("1 sender waits for room in msg:{id}: it has 2 messages, 9 of 10 bytes"), " why msg:"]);
    drop(sender);
    t.json(&["namespace", "limits", "--msgmni", "1"]);
    assert_says(&text(&mut t.quintet(&["doctor"])), &["1 message queue of 1 (msgmni)", "remove queues", "limits --msgmni 2'"]);
}

#[test]
fn a_damaged_queue_is_rebuilt() {
    let t = Ns::new();
    let (id, sound) = (t.queue(&[]), t.queue(&[]));
    for text in ["one", "two", "three"] {
        t.send(&[&id, text]);
        t.send(&[&sound, text]);
    }
    let index = Id::from_raw(id.parse().unwrap()).unwrap().index();
    let file = std::fs::File::options().write(true).open(t.path().join("msg").join(index.to_string())).unwrap();
    // The position of the first and the last message.
    file.write_all_at(&[0xff; 8], 16).unwrap();
    let said = text(&mut t.quintet(&["doctor"]));
    let warning = format!("warn  damage       msg:{id} is damaged: another program wrote to its file");
    assert_says(&said, &[&warning, " doctor --repair' rebuilds it and keeps 3 of 3 messages"]);
    // Without --repair nothing is changed.
    assert_eq!(level(&t.json(&["doctor"]), "damage"), "warn");
    let said = text(&mut t.quintet(&["doctor", "--repair"]));
    assert_says(&said, &[&format!("ok    damage       msg:{id} was damaged and has been rebuilt: 3 of 3 messages were kept")]);
    assert_says(&text(&mut t.quintet(&["doctor", "--repair"])), &["no message queue that you have access to is damaged"]);
    let all = ["one", "two", "three"].map(|text| (1, text.to_owned()));
    assert_eq!((t.peek(&id), t.peek(&sound)), (all.to_vec(), all.to_vec()));
    assert_eq!(text(&mut t.quintet(&["msg", "recv", &id, "--count", "3", "--line"])), "one\ntwo\nthree\n");
    refusal(&mut t.quintet(&["doctor", "--repair", "--", "sh"]), 2);
}
