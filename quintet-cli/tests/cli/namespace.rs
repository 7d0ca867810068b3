use crate::support::{Ns, assert_says, is_root, quintet, refusal, text, utf8};
use quintet::{Key, Segment};
use std::os::unix::fs::PermissionsExt;

fn mode(path: &std::path::Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn creates_private_and_shared_namespaces() {
    let dir = tempfile::tempdir().unwrap();
    let (private, shared) = (dir.path().join("p"), dir.path().join("s"));
    let said = text(quintet().args(["namespace", "create"]).arg(&private));
    assert_eq!(said, format!("created the private namespace {}\n", private.display()));
    assert_eq!(mode(&private), 0o700);
    assert_says(&text(quintet().args(["namespace", "create"]).arg(&private)), &["already exists"]);

    let value = crate::support::parsed(quintet().args(["namespace", "create", "--shared", "--json"]).arg(&shared), "namespace");
    assert_eq!(value["namespace"], serde_json::json!({"kind": "shared", "path": shared}));
    assert_eq!((value["created"].as_bool(), mode(&shared)), (Some(true), 0o1777));
    let said = refusal(quintet().args(["namespace", "create", "--shared"]).arg(&private), 1);
    assert_says(&said, &["EEXIST"]);
}

#[test]
fn refuses_unsuitable_directories() {
    let t = Ns::new();
    let file = t.file("file", "");
    let full = t.dir.path().join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("x"), "").unwrap();
    for (path, errno) in [(file.as_path(), "ENOTDIR"), (&full, "ENOTEMPTY"), (&t.dir.path().join("no/such"), "ENOENT")] {
        assert_says(&refusal(quintet().args(["namespace", "create"]).arg(path), 1), &[errno, utf8(path)]);
    }
    if !is_root() {
        let locked = t.dir.path().join("locked");
        std::fs::create_dir(&locked).unwrap();
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o500)).unwrap();
        assert_says(&refusal(quintet().args(["namespace", "create"]).arg(locked.join("ns")), 1), &["EACCES"]);
    }
    assert_says(&refusal(quintet().args(["--kernel", "namespace", "create"]).arg(t.dir.path().join("k")), 2), &["--kernel"]);
}

#[test]
fn every_command_refuses_a_directory_that_is_no_namespace() {
    let t = Ns::new();
    let file = t.file("file", "");
    let empty = t.dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    for (path, errno) in [(file.as_path(), "ENOTDIR"), (&empty, "ENOENT"), (&t.dir.path().join("missing"), "ENOENT")] {
        for command in [
            &["ls"][..],
            &["stat", "0"],
            &["create", "--size", "1"],
            &["create", "sem", "--values", "1"],
            &["sem", "get", "0"],
            &["sem", "op", "0", "0:0"],
            &["why", "1"],
            &["rm", "--all"],
            &["cat", "0"],
            &["write", "0"],
            &["namespace", "limits"],
        ] {
            assert_says(&refusal(quintet().arg("--namespace").arg(path).args(command), 1), &[errno, utf8(path)]);
        }
        assert_says(&refusal(quintet().args(["namespace", "rm"]).arg(path), 1), &[errno]);
    }
    assert!(!t.dir.path().join("missing").exists());
    assert_eq!(std::fs::read_dir(&empty).unwrap().count(), 0);
    assert_says(
        &refusal(quintet().arg("--namespace").arg(&empty).arg("ls"), 1),
        &["it is not a namespace (ENOENT)", &format!("'quintet namespace create {}' creates it", utf8(&empty))],
    );
}

#[test]
fn lists_the_named_namespace_and_the_kernels() {
    let t = Ns::new();
    t.segment(&["--size", "100"]);
    t.segment(&["--size", "28"]);
    t.set(&["--values", "1"]);
    let value = t.json(&["namespace", "ls"]);
    let all = value["namespaces"].as_array().unwrap();
    let listed = all.iter().find(|n| n["path"] == utf8(&t.path())).unwrap();
    assert_eq!(listed["queues"], 0);
    assert_eq!(
        (listed["segments"].as_u64(), listed["bytes"].as_u64(), listed["kind"].as_str()),
        (Some(2), Some(128), Some("private"))
    );
    assert_eq!(listed["sets"], 1);
    assert_eq!(listed["owner"]["uid"], rustix::process::geteuid().as_raw());
    assert!(all.iter().any(|n| n["kind"] == "kernel") || !std::path::Path::new("/proc/sysvipc").exists());
    assert_says(&text(&mut t.quintet(&["namespace", "ls"])), &["NAMESPACE", "PROCESSES", utf8(&t.path()), "128"]);
}

#[test]
fn a_namespace_in_use_is_removed_by_force_only() {
    let t = Ns::new();
    let segment = Segment::open_or_create(&t.ns, Key::new(1), 10).unwrap();
    let memory = segment.attach().unwrap();
    let said = refusal(quintet().args(["namespace", "rm"]).arg(t.path()), 1);
    assert_says(
        &said,
        &["EBUSY", &format!("pid {}", std::process::id()), &format!("'quintet namespace rm --force {}'", utf8(&t.path()))],
    );
    assert!(t.path().exists());
    memory.write(0, b"still").unwrap();
    let said = text(quintet().args(["namespace", "rm", "--force"]).arg(t.path()));
    assert_eq!(said, format!("removed namespace {}\n", t.path().display()));
    assert!(!t.path().exists());
}

#[test]
fn shows_and_sets_limits() {
    let t = Ns::new();
    let before = t.json(&["namespace", "limits"]);
    assert_eq!((before["shmmni"].as_u64(), before["changed"].as_bool()), (Some(4096), Some(false)));
    assert_eq!((before["shmmax"].as_u64(), before["shm_next_id"].as_i64()), (Some(u64::MAX - (1 << 24)), None));
    let args = ["--shmmax", "1G", "--shmall", "1000", "--shmmni", "50", "--shm-rmid-forced", "1", "--shm-next-id", "77"];
    let after = t.json(&[&["namespace", "limits"][..], &args].concat());
    for (name, value) in [("shmmax", 1 << 30), ("shmall", 1000), ("shmmni", 50), ("shm_next_id", 77)] {
        assert_eq!(after[name], value, "{name}");
    }
    assert_eq!((after["shm_rmid_forced"].as_bool(), after["changed"].as_bool()), (Some(true), Some(true)));
    assert_eq!(t.ns.limits().unwrap().shmall, 1000);
    assert_eq!(t.segment(&["--size", "1"]), 77);
    assert_says(&text(&mut t.quintet(&["namespace", "limits", "--shm-next-id", "-1"])), &["shmmni", "50", "shm_next_id"]);
    assert_says(
        &refusal(&mut t.quintet(&["namespace", "limits", "--shmmni", "32769"]), 1),
        &["a limit is out of range (EINVAL)", "msgmni up to 32768"],
    );
    assert_eq!(t.ns.limits().unwrap().shmmni, 50);
    let args = ["--semmsl", "10", "--semmns", "100", "--semopm", "5", "--semmni", "20", "--sem-next-id", "88"];
    let after = t.json(&[&["namespace", "limits"][..], &args].concat());
    for (name, value) in [("semmsl", 10), ("semmns", 100), ("semopm", 5), ("semmni", 20), ("sem_next_id", 88), ("shmmni", 50)] {
        assert_eq!(after[name], value, "{name}");
    }
    assert_eq!(t.set(&["--values", "1"]), "88");
    let args = ["--msgmax", "64K", "--msgmnb", "1M", "--msgmni", "30", "--msg-next-id", "99"];
    let after = t.json(&[&["namespace", "limits"][..], &args].concat());
    for (name, value) in [("msgmax", 65536), ("msgmnb", 1 << 20), ("msgmni", 30), ("msg_next_id", 99), ("semmni", 20)] {
        assert_eq!(after[name], value, "{name}");
    }
    assert_says(&text(&mut t.quintet(&["namespace", "limits", "--msg-next-id", "-1"])), &["msgmnb", "1048576", "msg_next_id"]);
    assert_says(
        &refusal(&mut t.quintet(&["namespace", "limits", "--msgmni", "32769"]), 1),
        &["a limit is out of range (EINVAL)", "msgmni up to 32768"],
    );
    assert_says(
        &refusal(&mut t.quintet(&["namespace", "limits", "--msgmax", "2G"]), 2),
        &["'2G' is too large: give at most 2147483647 bytes"],
    );
    assert_eq!(t.ns.limits().unwrap().msgmax, 65536);
    assert_says(&text(&mut t.quintet(&["namespace", "limits"])), &["semopm", "operations in a semop call"]);
    for args in [["--semmni", "32769"], ["--semmsl", "65536"], ["--semopm", "501"]] {
        assert_says(&refusal(t.quintet(&["namespace", "limits"]).args(args), 1), &["semopm up to 500", "EINVAL"]);
    }
    for args in [["--shm-rmid-forced", "2"], ["--shmmni", "-1"], ["--shm-next-id", "-2"]] {
        refusal(t.quintet(&["namespace", "limits"]).args(args), 2);
    }
}

#[test]
fn the_option_overrides_the_environment() {
    let (a, b) = (Ns::new(), Ns::new());
    a.segment(&["--size", "11"]);
    b.segment(&["--size", "22"]);
    let size = |command: &mut assert_cmd::Command| {
        crate::support::parsed(command.args(["ls", "--json"]), "ls")["shm"][0]["size"].as_u64()
    };
    assert_eq!(size(quintet().env("QUINTET_NAMESPACE", a.path())), Some(11));
    assert_eq!(size(b.quintet(&[]).env("QUINTET_NAMESPACE", a.path())), Some(22));
}

#[test]
fn force_keeps_files_that_are_not_of_the_namespace() {
    let ns = Ns::new();
    ns.segment(&["--size", "4096", "--key", "5"]);
    std::fs::write(ns.path().join("namespace"), [0x5a; 4096]).unwrap();
    let refused = refusal(quintet().args(["namespace", "rm"]).arg(ns.path()), 1);
    assert_says(&refused, &["is damaged", "EBADMSG"]);
    assert!(ns.path().join("shm/0").exists());
    // A file that is not part of the namespace stays, and its directory with it.
    let other = ns.path().join("mine");
    std::fs::write(&other, "x").unwrap();
    let kept = refusal(quintet().args(["namespace", "rm", "--force"]).arg(ns.path()), 1);
    assert_says(&kept, &["ENOTEMPTY"]);
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "x");
}

#[test]
fn force_removes_a_damaged_namespace() {
    let ns = Ns::new();
    std::fs::write(ns.path().join("registry"), [0; 10]).unwrap();
    let removed = text(quintet().args(["namespace", "rm", "--force"]).arg(ns.path()));
    assert_says(&removed, &["removed namespace", utf8(&ns.path())]);
    assert!(!ns.path().exists());
}
