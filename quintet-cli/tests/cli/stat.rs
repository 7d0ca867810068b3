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
fn reports_missing_objects_and_shows_the_rest() {
    let t = Ns::new();
    let id = t.segment(&["--size", "1"]);
    let output = t.quintet(&["stat", "32000", &id.to_string(), "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_says(&String::from_utf8(output.stderr).unwrap(), &["cannot open segment 32000", "EINVAL", " ls' lists the objects"]);
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
fn refuses_unknown_names() {
    let t = Ns::new();
    for (name, code, part) in [
        ("x", 2, "is not the name of an object"),
        ("key:nonsense", 2, "is not a key"),
        ("key:0x99", 1, "ENOENT"),
        ("key:private", 1, "IPC_PRIVATE"),
        ("sem:9", 1, "cannot open set 9: there is none with this identifier"),
        ("msg:9", 1, "cannot open queue 9: "),
        ("msg:key:private", 1, "this key names no queue (ENOENT)"),
    ] {
        assert_says(&refusal(&mut t.quintet(&["stat", name]), code), &[part]);
    }
}

#[test]
fn shows_every_detail_of_a_set() {
    let t = Ns::new();
    let id = t.set(&["--values", "1,0", "--key", "0x4d2", "--mode", "0640"]);
    let (holder, _) = t.holding(&id, "0:-1", "read x");
    let waiter = t.waiting(&[&id, "1:0 0:-1"]);
    for object in [format!("sem:{id}"), "sem:key:0x4d2".into()] {
        let shown = text(&mut t.quintet(&["stat", &object]));
        let expected = [
            format!("Semaphore set {id} in namespace "),
            "key        0x000004d2".to_owned(),
            "rw-r----- (0640)".to_owned(),
            "for 1:0 0:-1 (0:-1 blocks) since ".to_owned(),
            format!(": pid {} (", waiter.pid()),
            format!("0:+1 at exit of pid {} (", holder.pid()),
            format!("          0      0  {:>8}     1     0", holder.pid()),
        ];
        assert_says(&shown, &expected.each_ref().map(String::as_str));
    }
    let segment = t.segment(&["--size", "1"]);
    let value = t.json(&["stat", &format!("sem:{id}"), &segment.to_string()]);
    assert_eq!((value["sem"][0]["id"].to_string(), value["shm"][0]["id"].as_i64()), (id, Some(segment.into())));
    assert_eq!(value["sem"][0]["waiters"][0]["blocking"], 1);
}

#[test]
fn a_hint_names_the_object_of_another_class() {
    let t = Ns::new();
    let id = t.set(&["--values", "1"]);
    assert_says(&refusal(&mut t.quintet(&["stat", &id]), 1), &[&format!("a semaphore set has this name: sem:{id}")]);
    assert_says(
        &refusal(&mut t.quintet(&["cat", &format!("sem:{id}")]), 1),
        &["only a segment has bytes (EINVAL)", &format!(" sem get {id}' prints its values")],
    );
    let (read, write) = (refusal(&mut t.quintet(&["cat", "msg:7"]), 1), refusal(&mut t.quintet(&["write", "msg:key:0x4d2"]), 1));
    assert_says(
        &read,
        &["cannot read the bytes of message queue 7: only a segment has bytes", " msg peek 7' shows", " msg recv 7' takes"],
    );
    assert_says(
        &write,
        &[
            "cannot write to the message queue with key 0x000004d2: only a segment has bytes",
            "'quintet msg send --help' tells how",
        ],
    );
}

#[test]
fn shows_every_detail_of_a_queue() {
    let t = Ns::new();
    let id = t.queue(&["--key", "0x4d2", "--mode", "0640", "--capacity", "4K"]);
    let segment = t.segment(&["--size", "1"]);
    let shown = text(&mut t.quintet(&["stat", &format!("msg:{id}")]));
    assert_says(&shown, &["messages   0, 0 of 4096 bytes", "last send  -", "last recv  -", "waiting    0"]);
    assert!(!shown.contains("oldest") && !shown.contains("TYPE"), "{shown}");
    for (mtype, text) in [("9", "five"), ("2", "a"), ("9", "bc")] {
        t.send(&[&id, text, "--type", mtype]);
    }
    text(&mut t.quintet(&["msg", "recv", &id, "--type", "9"]));
    let waiter = t.waiting_msg(&["recv", &id, "--up-to", "1"]);
    for object in [format!("msg:{id}"), "msg:key:0x4d2".into()] {
        let shown = text(&mut t.quintet(&["stat", &object, &segment.to_string()]));
        let expected = [
            format!("\n\nMessage queue {id} in namespace "),
            "key        0x000004d2".to_owned(),
            "rw-r----- (0640)".to_owned(),
            "messages   2, 3 of 4096 bytes".to_owned(),
            "oldest     type 2, 1 byte, sent 2".to_owned(),
            "waiting    1".to_owned(),
            "for a message of type 1 (up to 65536 bytes) since 2".to_owned(),
            format!(": pid {} (", waiter.pid()),
            "     2         1      1\n     9         1      2\n".to_owned(),
        ];
        assert_says(&shown, &expected.each_ref().map(String::as_str));
    }
    let value = t.json(&["stat", &format!("msg:{id}"), &segment.to_string()]);
    let queue = &value["msg"][0];
    assert_eq!((queue["id"].to_string(), value["shm"][0]["id"].as_i64()), (id, Some(segment.into())));
    assert_eq!((queue["mode"].as_u64(), queue["oldest"]["type"].as_i64()), (Some(0o640), Some(2)));
    assert!(["lspid", "lrpid", "stime", "rtime", "ctime"].iter().all(|field| queue[field].as_i64().unwrap() > 0), "{queue}");
}
