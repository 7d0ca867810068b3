use crate::support::{Ns, assert_says, program, refusal, text, utf8};
use quintet::{Key, Segment, SemaphoreSet};

#[test]
fn removes_the_named_objects() {
    let t = Ns::new();
    let ids: Vec<i32> = (1..=3).map(|key| t.segment(&["--size", "10", "--key", &key.to_string()])).collect();
    let said = text(&mut t.quintet(&["rm", &ids[0].to_string(), "key:0x2"]));
    let expected =
        format!("removed segment {} (key 0x00000001, 10 bytes)\nremoved segment {} (key 0x00000002, 10 bytes)\n", ids[0], ids[1]);
    assert_eq!(said, expected);
    let left: Vec<i32> = t.ns.segments().unwrap().iter().map(|s| s.stat.id.raw()).collect();
    assert_eq!(left, [ids[2]]);
}

#[test]
fn continues_after_a_failure() {
    let t = Ns::new();
    let id = t.segment(&["--size", "10"]);
    let output = t.quintet(&["rm", "31000", &id.to_string(), "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((value["removed"][0]["id"].as_i64(), value["removed"][0]["result"].as_str()), (Some(id.into()), Some("removed")));
    assert_eq!(value["errors"].as_array().unwrap().len(), 1);
    assert_says(&String::from_utf8(output.stderr).unwrap(), &["cannot open segment 31000"]);
    assert!(t.ns.segments().unwrap().is_empty());
}

#[test]
fn lists_the_processes_that_keep_a_segment() {
    let t = Ns::new();
    let segment = Segment::open_or_create(&t.ns, Key::new(9), 100).unwrap();
    let memory = segment.attach().unwrap();
    let said = text(&mut t.quintet(&["rm", "key:9"]));
    assert_says(&said, &[&format!("marked segment {} ", segment.id()), "dest", &format!("pid {} (", std::process::id())]);
    assert_eq!(t.json(&["ls"])["shm"][0]["status"][0], "dest");
    drop(memory);
    assert_eq!(t.json(&["ls"])["shm"], serde_json::json!([]));
}

#[test]
fn a_dry_run_removes_nothing() {
    let t = Ns::new();
    let segment = Segment::open_or_create(&t.ns, Key::new(9), 100).unwrap();
    let _memory = segment.attach().unwrap();
    let id = t.segment(&["--size", "1"]);
    let value = t.json(&["rm", "--all", "--dry-run"]);
    assert_eq!(value["dry_run"], true);
    let results = value["removed"].as_array().unwrap().iter();
    let results: Vec<(i64, &str)> = results.map(|r| (r["id"].as_i64().unwrap(), r["result"].as_str().unwrap())).collect();
    assert_eq!(results, [(segment.id().raw().into(), "would-mark"), (id.into(), "would-remove")]);
    assert_eq!(t.ns.segments().unwrap().len(), 2);
}

#[test]
fn segments_of_exited_creators_are_orphans() {
    let t = Ns::new();
    let kept = Segment::open_or_create(&t.ns, Key::new(1), 100).unwrap();
    // Its creator has exited.
    let orphan = t.segment(&["--size", "1", "--key", "2"]);
    let value = t.json(&["rm", "--orphans"]);
    let ids: Vec<i64> = value["removed"].as_array().unwrap().iter().map(|r| r["id"].as_i64().unwrap()).collect();
    assert_eq!(ids, [i64::from(orphan)]);
    assert_eq!(t.ns.segments().unwrap().iter().map(|s| s.stat.id).collect::<Vec<_>>(), [kept.id()]);
    assert_says(&text(&mut t.quintet(&["rm", "--orphans"])), &["Nothing to remove"]);
}

#[test]
fn all_removes_every_object() {
    let t = Ns::new();
    Segment::open_or_create(&t.ns, Key::new(1), 100).unwrap();
    t.segment(&["--size", "1"]);
    assert_eq!(t.json(&["rm", "--all"])["removed"].as_array().unwrap().len(), 2);
    assert!(t.ns.segments().unwrap().is_empty());
}

#[test]
fn a_segment_of_a_killed_program_is_an_orphan() {
    let t = Ns::new();
    let file = t.file("key", "");
    let mut child = std::process::Command::new(program())
        .args(["run", "--namespace", utf8(&t.path()), "--", utf8(&program()), "demo-client", "holder", utf8(&file)])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut said).unwrap();
    let before = t.json(&["ls"]);
    assert_eq!(
        (before["shm"][0]["nattch"].as_u64(), before["shm"][0]["attached"][0]["pid"].as_u64()),
        (Some(1), Some(child.id().into()))
    );
    child.kill().unwrap();
    child.wait().unwrap();
    let after = t.json(&["ls"]);
    assert_eq!((after["shm"][0]["nattch"].as_u64(), after["shm"][0]["orphan"].as_bool()), (Some(0), Some(true)));
    assert_eq!(t.json(&["rm", "--orphans"])["removed"][0]["id"], before["shm"][0]["id"]);
}

#[test]
fn needs_objects_or_one_option() {
    let t = Ns::new();
    for args in [&["rm"][..], &["rm", "1", "--all"], &["rm", "--all", "--orphans"]] {
        refusal(&mut t.quintet(args), 2);
    }
}

#[test]
fn removes_sets_and_lists_their_waiters() {
    let t = Ns::new();
    let (a, b) = (t.set(&["--values", "0,1", "--key", "5"]), t.set(&["--values", "1"]));
    let waiter = t.waiting(&[&a, "0:-1"]);
    let dry = t.json(&["rm", "--all", "--dry-run"]);
    let results: Vec<&str> = dry["removed"].as_array().unwrap().iter().map(|r| r["result"].as_str().unwrap()).collect();
    assert_eq!((results, t.ns.sets().unwrap().len()), (vec!["would-remove"; 2], 2));
    let said = text(&mut t.quintet(&["rm", "sem:key:5", &format!("sem:{b}")]));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[0],
        format!("removed semaphore set {a} (key 0x00000005, 2 semaphores); these processes were blocked and get EIDRM:")
    );
    assert_says(lines[1], &[&format!("    pid {} (", waiter.pid())]);
    assert_eq!(lines[2..], [format!("removed semaphore set {b} (key 0x00000000, 1 semaphore)")]);
    assert_eq!(waiter.code(), Some(1));
    assert!(t.ns.sets().unwrap().is_empty());
    assert_says(&refusal(&mut t.quintet(&["rm", "sem:key:5"]), 1), &["ENOENT"]);
}

#[test]
fn sets_of_exited_creators_are_orphans_too() {
    let t = Ns::new();
    let kept = SemaphoreSet::open_or_create(&t.ns, Key::new(1), &[1]).unwrap();
    let (waited, held, orphan) = (t.set(&["--values", "0"]), t.set(&["--values", "1"]), t.set(&["--values", "0"]));
    let (_waiter, (_holder, _)) = (t.waiting(&[&waited, "0:-1"]), t.holding(&held, "0:-1", "read x"));
    t.segment(&["--size", "1"]);
    assert_says(&text(&mut t.quintet(&["doctor"])), &["2 orphans (1 segment, 1 semaphore set)"]);
    let value = t.json(&["rm", "--orphans"]);
    let removed: Vec<String> =
        value["removed"].as_array().unwrap().iter().map(|r| format!("{}:{}", r["class"], r["id"])).collect();
    assert_eq!(removed, ["\"shm\":0".to_owned(), format!("\"sem\":{orphan}")]);
    let left: Vec<String> = t.ns.sets().unwrap().iter().map(|s| s.stat.id.to_string()).collect();
    assert_eq!(left, [kept.id().to_string(), waited, held]);
}

#[test]
fn removes_queues_and_lists_their_waiters() {
    let t = Ns::new();
    let (a, b) = (t.queue(&["--key", "5"]), t.queue(&[]));
    t.send(&[&b, "x"]);
    let waiter = t.waiting_msg(&["recv", &a]);
    let dry = text(&mut t.quintet(&["rm", "--all", "--dry-run"]));
    assert_says(&dry, &["would remove message queue", "; these processes are blocked and would get EIDRM:"]);
    assert_eq!(t.ns.queues().unwrap().len(), 2);
    let said = text(&mut t.quintet(&["rm", "msg:key:5", &format!("msg:{b}")]));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[0],
        format!("removed message queue {a} (key 0x00000005, 0 messages); these processes were blocked and get EIDRM:")
    );
    assert_says(lines[1], &[&format!("    pid {} (", waiter.pid())]);
    assert_eq!(lines[2..], [format!("removed message queue {b} (key 0x00000000, 1 message)")]);
    assert_eq!(waiter.code(), Some(1));
    assert!(t.ns.queues().unwrap().is_empty());
    assert_says(&refusal(&mut t.quintet(&["rm", "msg:key:5"]), 1), &["ENOENT"]);
}

#[test]
fn empty_queues_of_exited_creators_are_orphans_too() {
    let t = Ns::new();
    let (full, waited, orphan) = (t.queue(&[]), t.queue(&[]), t.queue(&[]));
    t.send(&[&full, "x"]);
    let _waiter = t.waiting_msg(&["recv", &waited]);
    let kept = t.ns.msgget(Key::PRIVATE, 0o600).unwrap().to_string();
    assert_says(&text(&mut t.quintet(&["doctor"])), &["1 orphan (1 message queue)"]);
    let value = t.json(&["rm", "--orphans"]);
    let removed = &value["removed"][0];
    assert_eq!((removed["id"].to_string(), value["removed"].as_array().unwrap().len()), (orphan, 1));
    assert_eq!((removed["class"].as_str(), removed["messages"].as_u64()), (Some("msg"), Some(0)));
    let mut left: Vec<String> = t.ns.queues().unwrap().iter().map(|q| q.stat.id.to_string()).collect();
    left.sort();
    let mut expected = [kept, full, waited];
    expected.sort();
    assert_eq!(left, expected);
}
