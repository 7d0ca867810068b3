use crate::support::{Ns, assert_says, parsed, refusal, state, text, utf8};
use quintet::{Key, SemFlags, SemOp, SemaphoreSet};
use std::os::unix::process::ExitStatusExt;

#[test]
fn values_are_read_and_set() {
    let t = Ns::new();
    let id = t.set(&["--values", "1,0,5", "--key", "0x4d2"]);
    assert_eq!(text(&mut t.quintet(&["sem", "get", &id])), "1 0 5\n");
    for set in ["key:0x4d2", "sem:key:1234", &format!("sem:{id}")] {
        assert_eq!(text(&mut t.quintet(&["sem", "get", set, "2"])), "5\n");
    }
    assert_eq!(text(&mut t.quintet(&["sem", "set", &id, "1", "32767"])), "");
    let value = parsed(&mut t.quintet(&["sem", "get", &id, "--json"]), "sem get");
    assert_eq!((&value["values"], &value["num"]), (&serde_json::json!([1, 32767, 5]), &serde_json::json!(null)));
    let value = parsed(&mut t.quintet(&["sem", "set", &id, "all", "7,8,9", "--json"]), "sem set");
    assert_eq!(value["values"], serde_json::json!([7, 8, 9]));
    text(&mut t.quintet(&["sem", "set", &id, "all", "4"]));
    assert_eq!(SemaphoreSet::open(&t.ns, Key::new(1234)).unwrap().values().unwrap(), [4, 4, 4]);
}

#[test]
fn operations_are_performed_atomically() {
    let t = Ns::new();
    let id = t.set(&["--values", "2,0,0"]);
    assert_eq!(text(&mut t.quintet(&["sem", "op", &id, "0:-1", "1:+2 2:0"])), "");
    assert_eq!(text(&mut t.quintet(&["sem", "get", &id])), "1 2 0\n");
    let value = parsed(&mut t.quintet(&["sem", "op", &id, "2:1n", "--json"]), "sem op");
    let expected = serde_json::json!([{"num": 2, "op": 1, "nowait": true, "undo": false, "text": "2:+1n"}]);
    assert_eq!(value["ops"], expected);
    // The first operation could proceed, the second could not.
    assert_eq!(t.quintet(&["sem", "op", &id, "0:-1 1:-3n"]).output().unwrap().status.code(), Some(124));
    assert_eq!(text(&mut t.quintet(&["sem", "get", &id])), "1 2 1\n");
}

#[test]
fn a_call_that_would_block_is_124() {
    let t = Ns::new();
    let id = t.set(&["--values", "0"]);
    let said = refusal(&mut t.quintet(&["sem", "op", &id, "0:-1n"]), 124);
    assert_says(&said, &["cannot perform 0:-1n on semaphore set", "it would block (EAGAIN)", &format!(" stat sem:{id}' shows")]);
    let said = refusal(&mut t.quintet(&["sem", "op", &id, "0:-1", "--timeout", "1ms"]), 124);
    assert_says(&said, &["the timeout of 1ms expired (EAGAIN)"]);
    refusal(&mut t.quintet(&["sem", "op", &id, "0:-1", "--timeout", "0", "--", "echo", "never"]), 124);
    let output = t.quintet(&["sem", "op", &id, "0:-1n", "--json"]).output().unwrap();
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), value["error"]["errno_name"].as_str()), (Some(124), Some("EAGAIN")));
}

#[test]
fn other_failures_are_1_and_invalid_command_lines_2() {
    let t = Ns::new();
    let id = t.set(&["--values", "1,0"]);
    let cases: [(&[&str], i32, &str); 18] = [
        (&["op", &id, "2:-1"], 1, "semaphore 2 does not exist (EFBIG); give 0 to 1"),
        (&["op", &id, "0:+32767"], 1, "a value would exceed 32767 (ERANGE)"),
        (&["op", "31000", "0:-1"], 1, "cannot open set 31000: there is none with this identifier (EINVAL)"),
        (&["op", "key:0x77", "0:-1"], 1, "(ENOENT)"),
        (&["get", &id, "2"], 1, "semaphore 2 does not exist (EINVAL); give 0 to 1"),
        (&["set", &id, "2", "0"], 1, "semaphore 2 does not exist (EINVAL); give 0 to 1"),
        (&["set", &id, "all", "1,2,3"], 2, "cannot use 3 values: the set has 2 semaphores"),
        (&["set", &id, "0", "32768"], 2, "'32768' is not a semaphore value: give numbers from 0 to 32767"),
        (&["set", &id, "0", "-1"], 2, "'-1' is not a semaphore value"),
        (&["set", &id, "0", "1,2"], 2, "cannot set semaphore 0 to 2 values: it has one value"),
        (&["set", &id, "first", "0"], 2, "'first' is not a semaphore"),
        (&["op", &id, "0-1"], 2, "'0-1' is not an operation, it has no ':'"),
        (&["op", &id, "0:-1 1:+2x"], 2, "'x' in '1:+2x' is not a flag: give n (IPC_NOWAIT) or u (SEM_UNDO)"),
        (&["op", &id, "0:+99999"], 2, "'+99999' in '0:+99999' is not an operation: give -32768 to +32767"),
        (&["op", &id], 2, "OPS"),
        (&["op", &id, "0:-1u"], 2, "cannot perform '0:-1u': it would be undone at once"),
        (&["op", &id, "0:-1", "--timeout", "1 week"], 2, "'1 week' is not a duration"),
        (&["op", "shm:0", "0:-1"], 2, "segment 0 is not a semaphore set"),
    ];
    for (args, code, part) in cases {
        assert_says(&refusal(t.quintet(&["sem"]).args(args), code), &[part]);
    }
    let output = t.quintet(&["sem", "op", &id, "0:-1", "--json", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_says(
        &String::from_utf8(output.stderr).unwrap(),
        &["cannot use --json with 'quintet sem op': COMMAND prints its own output"],
    );
    t.json(&["namespace", "limits", "--semopm", "2"]);
    assert_says(
        &refusal(&mut t.quintet(&["sem", "op", &id, "0:1 0:1 0:1"]), 1),
        &["3 operations exceed the limit semopm, which is 2 (E2BIG)", "namespace limits --semopm 3'"],
    );
    assert_eq!(text(&mut t.quintet(&["sem", "get", &id])), "1 0\n");
}

#[test]
fn a_command_holds_the_semaphore_and_the_tool_exits_as_it_exits() {
    let t = Ns::new();
    let id = t.set(&["--values", "1,0"]);
    let values = || text(&mut t.quintet(&["sem", "get", &id]));
    let command = |args: &[&str]| t.quintet(&["sem", "op", &id, "0:-1 1:+2", "--"]).args(args).output().unwrap();
    let (mut holder, _) = t.holding(&id, "0:-1 1:+2", "read x; exit 42");
    assert_eq!(values(), "0 2\n");
    assert_eq!(t.json(&["ls"])["sem"][0]["undo"][0]["pid"], holder.pid());
    holder.go();
    assert_eq!((holder.code(), values()), (Some(42), "1 0\n".to_owned()));
    for signal in [9, 15] {
        assert_eq!(command(&["sh", "-c", &format!("kill -{signal} $$")]).status.signal(), Some(signal));
        assert_eq!(values(), "1 0\n");
    }
    assert_eq!(command(&["no-such-program"]).status.code(), Some(127));
    assert_eq!(command(&[utf8(t.dir.path())]).status.code(), Some(126));
    assert_eq!(t.quintet(&["sem", "op", "31000", "0:-1", "--", "true"]).output().unwrap().status.code(), Some(125));
    assert_eq!(values(), "1 0\n");
}

#[test]
fn a_waiter_gets_the_units_of_a_killed_holder() {
    let t = Ns::new();
    let id = t.set(&["--values", "1"]);
    let (mut holder, shell) = t.holding(&id, "0:-1", "exec cat");
    let waiter = t.waiting(&[&id, "0:-1", "--", "sh", "-c", "exit 7"]);
    holder.child.kill().unwrap();
    holder.child.wait().unwrap();
    assert_eq!(waiter.code(), Some(7));
    assert_eq!(text(&mut t.quintet(&["sem", "get", &id])), "1\n");
    // The command outlives the holder, and exits at the end of its input.
    drop(holder);
    while std::fs::read_to_string(format!("/proc/{shell}/comm")).is_ok_and(|name| name.trim() == "cat") {
        std::thread::yield_now();
    }
}

#[test]
fn a_waiter_proceeds_when_there_are_enough_units() {
    let t = Ns::new();
    let id = t.set(&["--values", "0,1"]);
    let (two, zero) = (t.waiting(&[&id, "0:-2"]), t.waiting(&[&id, "1:0"]));
    let set = SemaphoreSet::open_id(&t.ns, quintet::Id::from_raw(id.parse().unwrap()).unwrap()).unwrap();
    set.op(&[SemOp::new(0, 1), SemOp::new(1, -1)]).unwrap();
    assert_eq!(zero.code(), Some(0));
    assert_eq!(t.json(&["ls"])["sem"][0]["waiters"][0]["pid"], two.pid());
    set.op(&[SemOp::new(0, 1).flags(SemFlags::NOWAIT)]).unwrap();
    assert_eq!((two.code(), set.values().unwrap()), (Some(0), vec![0, 0]));
}

#[test]
fn removal_of_the_set_ends_the_wait() {
    let t = Ns::new();
    let id = t.set(&["--values", "0", "--key", "9"]);
    let waiter = t.waiting(&[&id, "0:-1"]);
    let removed = &t.json(&["rm", &format!("sem:{id}")])["removed"][0];
    assert_eq!((removed["woken"][0]["pid"].as_i64(), removed["nsems"].as_u64()), (Some(waiter.pid().into()), Some(1)));
    assert_eq!(waiter.code(), Some(1));
}

#[test]
fn a_waiter_that_is_stopped_and_continued_stays_blocked() {
    let t = Ns::new();
    let id = t.set(&["--values", "0"]);
    let waiter = t.waiting(&[&id, "0:-1"]);
    let signal = |signal| rustix::process::kill_process(rustix::process::Pid::from_child(&waiter.child), signal).unwrap();
    signal(rustix::process::Signal::STOP);
    while state(waiter.pid()) != b'T' {
        std::thread::yield_now();
    }
    signal(rustix::process::Signal::CONT);
    t.until_waiting(waiter.pid());
    text(&mut t.quintet(&["sem", "op", &id, "0:+1"]));
    assert_eq!(waiter.code(), Some(0));
}
