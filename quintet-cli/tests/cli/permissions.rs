//! Access to objects of another user. The tests need the superuser, because it can act as both
//! users.

use crate::support::{assert_says, is_root, parsed, program, quintet, text, utf8};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use tempfile::TempDir;

const NOBODY: u32 = 65534;

/// A directory that every user can enter, with a copy of the tool. The build directory may be
/// closed to other users.
struct Place {
    dir: TempDir,
    tool: PathBuf,
}

impl Place {
    fn new() -> Option<Place> {
        if !is_root() {
            eprintln!("skipped: only the superuser can act as two users");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let tool = dir.path().join("quintet");
        std::fs::copy(program(), &tool).unwrap();
        Some(Place { dir, tool })
    }

    fn namespace(&self, args: &[&str]) -> PathBuf {
        let path = self.dir.path().join("ns");
        text(quintet().args(["namespace", "create"]).args(args).arg(&path));
        path
    }

    fn as_nobody(&self, args: &[&str]) -> Output {
        let mut command = Command::new(&self.tool);
        command.args(args).env("HOME", "/nonexistent").env("QUINTET_NAMESPACE", self.dir.path().join("ns"));
        command.env_remove("XDG_CACHE_HOME").current_dir("/").uid(NOBODY).gid(NOBODY).output().unwrap()
    }

    fn refused(&self, args: &[&str], parts: &[&str]) {
        let output = self.as_nobody(args);
        assert_eq!(output.status.code(), Some(1), "{args:?} {output:?}");
        assert_says(&String::from_utf8(output.stderr).unwrap(), parts);
    }
}

#[test]
fn a_private_namespace_is_closed_to_other_users() {
    let Some(place) = Place::new() else { return };
    place.namespace(&[]);
    for args in [&["ls"][..], &["create", "--size", "1"], &["rm", "--all"], &["namespace", "limits"]] {
        place.refused(args, &["EACCES"]);
    }
}

#[test]
fn modes_decide_in_a_shared_namespace() {
    let Some(place) = Place::new() else { return };
    let ns = place.namespace(&["--shared"]);
    let create = |key: &str, mode: &str| {
        let mut command = quintet();
        let id = text(command.arg("--namespace").arg(&ns).args(["create", "--size", "10", "--key", key, "--mode", mode]));
        id.trim().to_owned()
    };
    let (closed, open) = (create("1", "0600"), create("2", "0666"));
    place.refused(&["cat", &closed], &["cannot attach segment", "EACCES"]);
    place.refused(&["create", "--size", "10", "--key", "1", "--mode", "0600"], &["EACCES"]);
    place.refused(&["rm", &open], &["belongs to root", "EPERM"]);
    place.refused(&["namespace", "limits", "--shmmni", "1"], &["only the owner of the namespace has permission (EPERM)"]);
    place.refused(&["namespace", "rm", utf8(&ns)], &["EPERM"]);

    assert!(
        place.as_nobody(&["write", &open, "/proc/version", "--offset", "0"]).status.code() == Some(1),
        "the input does not fit"
    );
    assert_eq!(place.as_nobody(&["cat", &open]).stdout, [0; 10]);
    let own = place.as_nobody(&["create", "--size", "5"]);
    assert!(own.status.success(), "{own:?}");
    let value = parsed(quintet().arg("--namespace").arg(&ns).args(["ls", "--json"]), "ls");
    let owners: Vec<u64> = value["shm"].as_array().unwrap().iter().map(|s| s["owner"]["uid"].as_u64().unwrap()).collect();
    assert_eq!(owners, [0, 0, NOBODY.into()]);
}

#[test]
fn modes_of_sets_decide_in_a_shared_namespace() {
    let Some(place) = Place::new() else { return };
    let ns = place.namespace(&["--shared"]);
    let root = |args: &[&str]| text(quintet().arg("--namespace").arg(&ns).args(args)).trim().to_owned();
    let create = |key: &str, mode: &str| root(&["create", "sem", "--values", "1", "--key", key, "--mode", mode]);
    let (closed, readable, open) = (create("1", "0600"), create("2", "0644"), create("3", "0666"));
    place.refused(&["sem", "get", &closed], &["cannot read semaphore set", "EACCES", " stat sem:"]);
    place.refused(&["sem", "op", &readable, "0:+1"], &["cannot perform 0:+1 on semaphore set", "EACCES"]);
    place.refused(&["sem", "set", &readable, "0", "5"], &["cannot set the values of semaphore set", "EACCES"]);
    place.refused(&["create", "sem", "--nsems", "1", "--key", "1", "--mode", "0600"], &["EACCES"]);
    place.refused(&["rm", &format!("sem:{open}")], &["belongs to root", "EPERM"]);
    assert_eq!(place.as_nobody(&["sem", "get", &readable, "0"]).stdout, b"1\n");
    // A wait for zero needs read permission only.
    root(&["sem", "set", &readable, "0", "0"]);
    assert!(place.as_nobody(&["sem", "op", &readable, "0:0"]).status.success());
    assert!(place.as_nobody(&["sem", "op", &open, "0:+2"]).status.success());
    assert_eq!(root(&["sem", "get", &open]), "3");
    assert!(place.as_nobody(&["create", "sem", "--values", "1"]).status.success());
    let value = parsed(quintet().arg("--namespace").arg(&ns).args(["ls", "--json"]), "ls");
    let owners: Vec<u64> = value["sem"].as_array().unwrap().iter().map(|s| s["owner"]["uid"].as_u64().unwrap()).collect();
    assert_eq!(owners, [0, 0, 0, NOBODY.into()]);
}

#[test]
fn programs_that_change_their_user_id_keep_access() {
    let Some(place) = Place::new() else { return };
    let file = place.dir.path().join("key");
    std::fs::write(&file, "").unwrap();
    let drop_privileges = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"];
    let mut command = quintet();
    command.args(["run", "--private", "--"]).args(drop_privileges).arg(&place.tool).args(["demo-client", "family"]).arg(&file);
    assert_says(&text(&mut command), &["parent: received "]);
}

#[test]
fn modes_of_queues_decide_in_a_shared_namespace() {
    let Some(place) = Place::new() else { return };
    let ns = place.namespace(&["--shared"]);
    let root = |args: &[&str]| text(quintet().arg("--namespace").arg(&ns).args(args)).trim().to_owned();
    let create = |key: &str, mode: &str| root(&["create", "msg", "--key", key, "--mode", mode]);
    let (closed, readable, open) = (create("1", "0600"), create("2", "0644"), create("3", "0666"));
    for id in [&closed, &readable] {
        root(&["msg", "send", id, "by root"]);
    }
    place.refused(&["msg", "recv", &closed], &["cannot receive from queue", "EACCES", " stat msg:"]);
    place.refused(&["msg", "peek", &closed], &["cannot peek at the messages of queue", "EACCES"]);
    place.refused(&["msg", "send", &readable, "x"], &["cannot send the message to queue", "EACCES"]);
    place.refused(&["create", "msg", "--key", "1", "--mode", "0600"], &["its mode denies access (EACCES)"]);
    place.refused(&["rm", &format!("msg:{open}")], &["belongs to root", "EPERM"]);
    place.refused(
        &["create", "msg", "--capacity", "1M"],
        &["more than msgmnb (16384 bytes) needs privilege (EPERM)", "namespace limits --msgmnb 1048576' raises the limit"],
    );
    assert_says(&String::from_utf8(place.as_nobody(&["msg", "peek", &readable]).stdout).unwrap(), &["|by root|"]);
    assert!(place.as_nobody(&["msg", "send", &open, "by nobody"]).status.success());
    assert_eq!(root(&["msg", "recv", &open]), "by nobody");
    let queues = |listing: &[u8]| serde_json::from_slice::<serde_json::Value>(listing).unwrap()["msg"].clone();
    let seen = queues(&place.as_nobody(&["ls", "--json"]).stdout);
    let queue = |id: &str| seen.as_array().unwrap().iter().find(|q| q["id"] == id.parse::<i64>().unwrap()).unwrap();
    assert_eq!((queue(&closed)["messages"].as_u64(), queue(&closed)["types"].is_null()), (Some(1), true), "{seen}");
    assert_eq!(queue(&readable)["types"][0]["bytes"], 7);
    assert_says(
        &String::from_utf8(place.as_nobody(&["stat", &format!("msg:{closed}")]).stdout).unwrap(),
        &["types      the mode denies read permission"],
    );
}
