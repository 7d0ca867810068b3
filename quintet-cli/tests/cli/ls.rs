use crate::support::{Ns, assert_says, text};
use quintet::{Key, Segment, SemaphoreSet};

#[test]
fn an_empty_namespace_has_no_objects() {
    let t = Ns::new();
    let path = t.path();
    assert_eq!(text(&mut t.quintet(&["ls"])), format!("No objects in namespace {}.\n", path.display()));
    assert_eq!(t.json(&["ls"])["shm"], serde_json::json!([]));
}

#[test]
fn shows_segments_and_attached_processes() {
    let t = Ns::new();
    let segment = Segment::open_or_create(&t.ns, Key::new(0x4d2), 5000).unwrap();
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
fn long_shows_all_columns() {
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

#[test]
fn shows_sets_with_waiters_and_adjustments() {
    let t = Ns::new();
    let id = t.set(&["--values", "1,0,5", "--key", "0x4d2"]);
    let (holder, _) = t.holding(&id, "0:-1 2:+1", "read x");
    let waiter = t.waiting(&[&id, "0:-1"]);
    let listing = text(&mut t.quintet(&["ls"]));
    let lines: Vec<&str> = listing.lines().collect();
    assert_eq!(lines[0], format!("Semaphore sets in namespace {}", t.path().display()));
    let words: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!(words, ["KEY", "ID", "OWNER", "MODE", "NSEMS", "VALUES", "WAITING", "STATUS"]);
    let cells: Vec<&str> = lines[2].split_whitespace().collect();
    assert_eq!([&cells[..2], &cells[3..]].concat(), ["0x000004d2", &id, "rw-------", "3", "0", "0", "6", "1", "-"]);
    assert_says(lines[3], &["waiting: for 0:-1 since 2", &format!(": pid {} (", waiter.pid())]);
    assert_says(lines[4], &[&format!("undo: 0:+1 2:-1 at exit of pid {} (", holder.pid())]);
    assert_eq!(lines.len(), 5);

    let set = &t.json(&["ls"])["sem"][0];
    assert_eq!(
        (set["nsems"].as_u64(), set["mode_text"].as_str(), set["orphan"].as_bool()),
        (Some(3), Some("rw-------"), Some(false))
    );
    assert_eq!(set["semaphores"][0], serde_json::json!({"num": 0, "value": 0, "pid": holder.pid(), "ncnt": 1, "zcnt": 0}));
    let waits = &set["waiters"][0];
    assert_eq!((waits["pid"].as_i64(), waits["tid"].as_i64()), (Some(waiter.pid().into()), Some(waiter.pid().into())));
    assert_eq!(waits["ops"], serde_json::json!([{"num": 0, "op": -1, "nowait": false, "undo": false, "text": "0:-1"}]));
    assert_eq!((waits["pid_visible"].as_bool(), waits["blocking"].as_u64()), (Some(true), Some(0)));
    assert_says(waits["command"].as_str().unwrap(), &["sem op"]);
    let expected = serde_json::json!([{"num": 0, "adjust": 1}, {"num": 2, "adjust": -1}]);
    assert_eq!((&set["undo"][0]["adjustments"], set["undo"][0]["pid"].as_i64()), (&expected, Some(holder.pid().into())));
}

#[test]
fn many_values_are_abbreviated_and_long_shows_times() {
    let t = Ns::new();
    SemaphoreSet::open_or_create(&t.ns, Key::new(1), &[7; 20]).unwrap();
    let listing = text(&mut t.quintet(&["ls", "--long"]));
    assert_says(&listing, &["20  7 7 7 7 7 7 7 7 ...  ", "OTIME", "CTIME"]);
    assert_eq!(t.json(&["ls"])["sem"][0]["semaphores"].as_array().unwrap().len(), 20);
}

#[test]
fn the_classes_have_one_section_each() {
    let t = Ns::new();
    t.segment(&["--size", "1"]);
    t.set(&["--values", "1"]);
    t.queue(&[]);
    let listing = text(&mut t.quintet(&["ls"]));
    let headings: Vec<&str> =
        listing.lines().filter(|l| l.contains(" in namespace ")).map(|l| l.split(" in ").next().unwrap()).collect();
    assert_eq!(headings, ["Shared memory segments", "Semaphore sets", "Message queues"]);
    assert_says(&listing, &["\n\nSemaphore sets", "\n\nMessage queues"]);
}

#[test]
fn shows_queues_with_waiters() {
    let t = Ns::new();
    let id = t.queue(&["--key", "0x4d2", "--capacity", "20"]);
    for (mtype, text) in [("9", "five"), ("2", "a"), ("9", ""), ("9", "bc")] {
        t.send(&[&id, text, "--type", mtype]);
    }
    let (receiver, sender) = (t.waiting_msg(&["recv", &id, "--type", "7"]), t.waiting_msg(&["send", &id, "0123456789abcdef"]));
    let listing = text(&mut t.quintet(&["ls"]));
    let lines: Vec<&str> = listing.lines().collect();
    assert_eq!(lines[0], format!("Message queues in namespace {}", t.path().display()));
    let words: Vec<&str> = lines[1].split_whitespace().collect();
    let expected = ["KEY", "ID", "OWNER", "MODE", "MESSAGES", "BYTES", "CAPACITY", "OLDEST", "TYPE:COUNT", "WAITING", "STATUS"];
    assert_eq!(words, expected);
    let cells: Vec<&str> = lines[2].split_whitespace().collect();
    assert_eq!(
        [&cells[..2], &cells[3..7], &cells[8..]].concat(),
        ["0x000004d2", &id, "rw-------", "4", "7", "20", "s", "2:1", "9:3", "2", "-"]
    );
    assert_says(lines[3], &["waiting: for a message of type 7 since 2", &format!(": pid {} (", receiver.pid())]);
    assert_says(lines[4], &["waiting: for room for 16 bytes of type 1 since 2", &format!(": pid {} (", sender.pid())]);
    assert_eq!(lines.len(), 5);
    assert_says(&text(&mut t.quintet(&["ls", "--long"])), &["LSPID  LRPID", "STIME", "RTIME", "CTIME"]);

    let queue = &t.json(&["ls"])["msg"][0];
    assert_eq!((queue["messages"].as_u64(), queue["bytes"].as_u64(), queue["capacity"].as_u64()), (Some(4), Some(7), Some(20)));
    assert_eq!((queue["lrpid"].as_i64(), queue["rtime"].as_i64(), queue["orphan"].as_bool()), (Some(0), Some(0), Some(false)));
    assert_eq!(queue["types"][1], serde_json::json!({"type": 9, "messages": 3, "bytes": 6}));
    let oldest = &queue["oldest"];
    assert_eq!((oldest["type"].as_i64(), oldest["length"].as_u64()), (Some(9), Some(4)));
    assert!(oldest["sent"].as_i64().unwrap() > 1_700_000_000 && oldest["sender"].as_i64().unwrap() > 0);
    let waits = &queue["waiters"][0];
    assert_eq!((waits["pid"].as_i64(), waits["tid"].as_i64()), (Some(receiver.pid().into()), Some(receiver.pid().into())));
    assert_eq!(
        (waits["call"].as_str(), waits["type"].as_i64(), waits["except"].as_bool()),
        (Some("receive"), Some(7), Some(false))
    );
    let waits = &queue["waiters"][1];
    assert_eq!((waits["call"].as_str(), waits["type"].as_i64(), waits["length"].as_u64()), (Some("send"), Some(1), Some(16)));
}

#[test]
fn many_types_are_abbreviated() {
    let t = Ns::new();
    let id = t.queue(&[]);
    for mtype in 1..=6 {
        t.send(&[&id, "x", "--type", &mtype.to_string()]);
    }
    assert_says(&text(&mut t.quintet(&["ls"])), &["  1:1 2:1 3:1 4:1 ...  "]);
    assert_eq!(t.json(&["ls"])["msg"][0]["types"].as_array().unwrap().len(), 6);
}
