use crate::support::{Ns, assert_says, refusal, text};

#[test]
fn finds_by_id_and_by_key() {
    let t = Ns::new();
    let id = t.segment(&["--size", "64K", "--key", "0x4d2"]);
    for object in [id.to_string(), format!("shm:{id}"), "key:0x4d2".into(), "shm:key:1234".into()] {
        let shown = text(&mut t.quintet(&["stat", &object]));
        assert_says(
            &shown,
            &[&format!("Segment {id} in "), "65536 bytes (64 KiB)", "0x000004d2", "rw------- (0600)", "nattch     0"],
        );
        assert_eq!(t.json(&["stat", &object])["shm"][0]["id"], id);
    }
}

#[test]
fn tells_what_is_missing_and_shows_the_rest() {
    let t = Ns::new();
    let id = t.segment(&["--size", "1"]);
    let output = t.quintet(&["stat", "32000", &id.to_string(), "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_says(&String::from_utf8(output.stderr).unwrap(), &["cannot open segment 32000", "EINVAL", "'quintet ls'"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((value["shm"][0]["id"].as_i64(), value["shm"].as_array().unwrap().len()), (Some(id.into()), 1));
    assert_eq!(value["errors"][0]["errno_name"], "EINVAL");
}

#[test]
fn a_stale_identifier_is_refused() {
    let t = Ns::new();
    let old = t.segment(&["--size", "1"]);
    t.json(&["rm", &old.to_string()]);
    let new = t.segment(&["--size", "1"]);
    assert_ne!(old, new);
    assert_says(&refusal(&mut t.quintet(&["stat", &old.to_string()]), 1), &["cannot open segment"]);
}

#[test]
fn refuses_other_names() {
    let t = Ns::new();
    for (name, code, part) in [
        ("x", 2, "names no object"),
        ("key:nonsense", 2, "is not a key"),
        ("key:0x99", 1, "ENOENT"),
        ("key:private", 1, "IPC_PRIVATE"),
        ("sem:9", 1, "cannot open the semaphore set 9"),
        ("msg:0", 1, "no message queues"),
    ] {
        assert_says(&refusal(&mut t.quintet(&["stat", name]), code), &[part]);
    }
}
