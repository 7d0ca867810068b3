use crate::support::{Ns, assert_says, text};
use quintet::{Key, Segment};

#[test]
fn says_that_there_is_nothing() {
    let t = Ns::new();
    let path = t.path();
    assert_eq!(text(&mut t.quintet(&["ls"])), format!("Nothing in namespace {}.\n", path.display()));
    assert_eq!(t.json(&["ls"])["shm"], serde_json::json!([]));
}

#[test]
fn shows_segments_and_who_is_attached() {
    let t = Ns::new();
    let segment = Segment::create(&t.ns, Key::new(0x4d2), 5000).unwrap();
    let _memory = (segment.attach().unwrap(), segment.attach_read_only().unwrap());
    let listing = text(&mut t.quintet(&["ls"]));
    let lines: Vec<&str> = listing.lines().collect();
    assert_eq!(lines[0], format!("Shared memory segments in namespace {}", t.path().display()));
    let words: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!(words, ["KEY", "ID", "OWNER", "MODE", "BYTES", "NATTCH", "STATUS"]);
    let cells: Vec<&str> = lines[2].split_whitespace().collect();
    let id = segment.id().to_string();
    assert_eq!([&cells[..2], &cells[3..]].concat(), ["0x000004d2", &id, "rw-------", "5000", "2", "-"]);
    assert_says(lines[3], &[&format!("attached: pid {} (", std::process::id()), ", 2 times) "]);
    assert_eq!(lines.len(), 4);
}

#[test]
fn shows_all_columns_when_asked() {
    let t = Ns::new();
    t.segment(&["--size", "1"]);
    let listing = text(&mut t.quintet(&["ls", "--long"]));
    assert_says(&listing, &["CPID  LPID", "ATIME", "DTIME", "CTIME"]);
    let times = listing.lines().last().unwrap().split_whitespace().skip(8).collect::<Vec<_>>();
    assert_eq!(times[..3], ["-", "-", "-"], "{listing}");
    assert_eq!((times[3].len(), times[4].len()), ("2026-11-20".len(), "10:00:00".len()));
}

#[test]
fn json_has_numbers() {
    let t = Ns::new();
    let segment = Segment::options().mode(0o640).create(&t.ns, Key::new(-2), 8192).unwrap();
    let _memory = segment.attach().unwrap();
    segment.remove().unwrap();
    let value = t.json(&["ls"]);
    assert_eq!(value["namespace"], serde_json::json!({"kind": "private", "path": t.path()}));
    let shown = &value["shm"][0];
    assert_eq!(shown["id"], segment.id().raw());
    assert_eq!(shown["key"], serde_json::json!({"number": 0, "text": "0x00000000"}));
    assert_eq!((shown["mode"].as_u64(), shown["mode_text"].as_str()), (Some(0o640), Some("rw-r-----")));
    assert_eq!((shown["size"].as_u64(), shown["nattch"].as_u64()), (Some(8192), Some(1)));
    assert_eq!((&shown["status"], &shown["orphan"]), (&serde_json::json!(["dest"]), &serde_json::json!(false)));
    assert_eq!(shown["cpid"], std::process::id());
    assert_eq!(shown["dtime"], 0);
    assert!(shown["atime"].as_i64().unwrap() > 1_700_000_000 && shown["ctime"].as_i64().unwrap() > 1_700_000_000);
    let attached = &shown["attached"][0];
    assert_eq!((attached["pid"].as_u64(), attached["count"].as_u64()), (Some(std::process::id().into()), Some(1)));
    assert_eq!(
        (attached["uid"].as_u64(), attached["pid_visible"].as_bool()),
        (Some(rustix::process::geteuid().as_raw().into()), Some(true))
    );
    assert_says(attached["command"].as_str().unwrap(), &["cli"]);
}
