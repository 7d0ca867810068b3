use crate::support::{Ns, Running, assert_says, program, refusal, text, until_asleep, utf8};
use quintet::{Key, SemaphoreSet};
use std::process::Command;

#[test]
fn names_the_holder_and_the_waiters_before() {
    let t = Ns::new();
    let id = t.set(&["--values", "2,0", "--key", "0x4d2"]);
    let (holder, shell) = t.holding(&id, "0:-2", "read x");
    let (first, second) = (t.waiting(&[&id, "0:-1"]), t.waiting(&[&id, "0:-2 1:+1"]));
    let (pid, holding) = (second.pid().to_string(), holder.pid());
    until_asleep(holding);
    let value = t.json(&["why", &pid]);
    assert_eq!((value["pid"].as_i64(), value["waits"].as_array().unwrap().len()), (Some(second.pid().into()), 1));
    let wait = &value["waits"][0];
    assert_eq!((wait["num"].as_u64(), wait["value"].as_u64(), wait["key"]["number"].as_i64()), (Some(0), Some(0), Some(1234)));
    assert_eq!((wait["last"]["pid"].as_i64(), wait["last"]["running"].as_bool()), (Some(holding.into()), Some(true)));
    assert_eq!((wait["holders"][0]["pid"].as_i64(), wait["holders"][0]["adjust"].as_i64()), (Some(holding.into()), Some(2)));
    assert_eq!(wait["holders"][0]["children"], serde_json::json!([shell]));
    assert_eq!((wait["before"][0]["pid"].as_i64(), wait["before"].as_array().unwrap().len()), (Some(first.pid().into()), 1));
    assert_eq!((wait["waiter"]["ops"][1]["text"].as_str(), wait["waiter"]["blocking"].as_u64()), (Some("1:+1"), Some(0)));
    assert!(wait["waiter"]["since"].as_i64().unwrap() > 1_700_000_000);
    assert_eq!((&value["deadlocks"], &value["unknown"]), (&serde_json::json!([]), &serde_json::json!(null)));

    let said = text(&mut t.quintet(&["why", &pid]));
    let expected = [
        format!("pid {pid} ("),
        format!("waits for   sem:{id} (key 0x000004d2): 0:-2 1:+1, atomically"),
        "blocked by  semaphore 0: it has the value 0, and 0:-2 needs at least 2".to_owned(),
        format!("held by     2 by pid {holding} ("),
        format!("which itself waits for its child pid {shell}"),
        format!("before it   pid {} (", first.pid()),
    ];
    assert_says(&said, &expected.each_ref().map(String::as_str));

    let said = text(&mut t.quintet(&["why", "key:0x4d2"]));
    let expected = [format!("pid {} (", first.pid()), format!("sem:{id} gets 0:+2 at exit of pid {holding} (")];
    assert_says(&said, &expected.each_ref().map(String::as_str));
    assert_eq!(t.json(&["why", &format!("sem:{id}")])["waits"].as_array().unwrap().len(), 2);
}

#[test]
fn a_wait_for_zero_names_the_process_that_raised_the_value() {
    let t = Ns::new();
    let id = t.set(&["--values", "0"]);
    let (holder, _) = t.holding(&id, "0:+3", "read x");
    let waiter = t.waiting(&[&id, "0:0"]);
    let said = text(&mut t.quintet(&["why", &waiter.pid().to_string()]));
    let held = format!("held by     raised by 3 by pid {} (", holder.pid());
    assert_says(&said, &["semaphore 0: it has the value 3, and 0:0 needs 0", &held]);
}

#[test]
fn an_unknown_holder_is_replaced_by_a_hint() {
    let t = Ns::new();
    let id = t.set(&["--nsems", "2"]);
    let waiter = t.waiting(&[&id, "1:-1"]);
    let pid = waiter.pid().to_string();
    assert_says(
        &text(&mut t.quintet(&["why", &pid])),
        &["held by     unknown: no process has an undo adjustment (SEM_UNDO)", "hint        no process has changed it yet"],
    );
    text(&mut t.quintet(&["sem", "set", &id, "1", "0"]));
    assert_says(
        &text(&mut t.quintet(&["why", &pid])),
        &["hint        the process that last changed it may have taken it: pid ", "(it has exited)"],
    );
    let last = &t.json(&["why", &pid])["waits"][0]["last"];
    assert_eq!((last["running"].as_bool(), last["command"].as_str()), (Some(false), None));
}

#[test]
fn scripts_that_wait_for_each_other_are_a_deadlock() {
    let t = Ns::new();
    let id = t.set(&["--values", "1,1"]);
    let script = |num: u8| format!("read x; $Q sem op {id} {num}:-1 --timeout 60; exit $?");
    let start = |ops, other| t.holding(&id, ops, &script(other));
    let ((mut a, shell_a), (mut b, shell_b)) = (start("0:-1", 1), start("1:-1", 0));
    // Two edges: the shell waits for the tool, which waits for the semaphore of the other shell.
    let waiter = |num: u64| loop {
        let waiters = t.json(&["ls"])["sem"][0]["waiters"].clone();
        let waiter = waiters.as_array().unwrap().iter().find(|w| w["ops"][0]["num"] == num);
        match waiter.map(|w| w["pid"].as_i64().unwrap() as i32) {
            Some(pid) => return pid,
            None => std::thread::yield_now(),
        }
    };
    let until_it_waits = |shell: i32| {
        // "0" if the kernel hides the function. Then only the sleep is visible.
        while !["do_wait", "0"].contains(&std::fs::read_to_string(format!("/proc/{shell}/wchan")).unwrap().as_str()) {
            std::thread::yield_now();
        }
        until_asleep(shell);
    };
    a.go();
    let waiter_a = waiter(1);
    until_it_waits(shell_a);
    // The other shell reads a line, and may still exit.
    assert_eq!(t.json(&["why", &waiter_a.to_string()])["deadlocks"], serde_json::json!([]));
    b.go();
    let waiter_b = waiter(0);
    until_it_waits(shell_b);
    // The answer is the same for a waiter, a holder and a shell.
    for pid in [waiter_a, b.pid(), shell_a] {
        let value = t.json(&["why", &pid.to_string()]);
        let cycle = value["deadlocks"][0].as_array().unwrap();
        let pids: Vec<i64> = cycle.iter().map(|edge| edge["pid"].as_i64().unwrap()).collect();
        let mut expected = [a.pid(), shell_a, waiter_a, b.pid(), shell_b, waiter_b].map(i64::from).to_vec();
        let start = expected.iter().position(|pid| *pid == pids[0]).unwrap();
        expected.rotate_left(start);
        assert_eq!(pids, expected, "{value}");
        let edge = cycle.iter().find(|edge| edge["pid"] == waiter_a).unwrap();
        assert_eq!(
            (edge["num"].as_u64(), edge["next"].as_i64(), edge["adjust"].as_i64()),
            (Some(1), Some(b.pid().into()), Some(1))
        );
        assert!(cycle.iter().all(|edge| edge["other_threads"] == 0));
    }
    let said = text(&mut t.quintet(&["why", &format!("sem:{id}")]));
    let expected = [
        "Deadlock: these processes wait for each other".to_owned(),
        format!("waits for semaphore 1 of sem:{id}, of which pid {} holds 1", b.pid()),
        format!("waits for semaphore 0 of sem:{id}, of which pid {} holds 1", a.pid()),
        format!("pid {} (", shell_a),
        format!("waits for its child pid {} to exit", waiter_a),
    ];
    assert_says(&said, &expected.each_ref().map(String::as_str));
    let doctor = text(&mut t.quintet(&["doctor"]));
    // The cycle starts at the lowest pid, which need not be the first process, because pids wrap
    // around.
    let lowest = [a.pid(), shell_a, waiter_a, b.pid(), shell_b, waiter_b].into_iter().min().unwrap();
    assert_says(&doctor, &["warn  deadlocks", &format!(" why {lowest}' shows the cycle")]);
    // Another process gives what one of them waits for.
    text(&mut t.quintet(&["sem", "op", &id, "1:+1"]));
    assert_eq!((a.code(), b.code()), (Some(0), Some(0)));
}

#[test]
fn unmodified_programs_that_wait_for_each_other_are_a_deadlock() {
    let t = Ns::new();
    if !Command::new("perl").args(["-e", "exit 0"]).status().is_ok_and(|status| status.success()) {
        return eprintln!("skipped: no perl");
    }
    let id = t.set(&["--values", "1,1"]);
    let script = r#"
        $| = 1;
        my ($set, $mine, $other) = @ARGV;
        semop($set, pack("s3", $mine, -1, 0x1000)) or die "semop: $!";
        print "has $mine\n";
        <STDIN>;
        semop($set, pack("s3", $other, -1, 0x1000)) or die "semop: $!";
    "#;
    let start = |mine: &str, other: &str| {
        let mut command = Command::new(program());
        command.args(["run", "--namespace", utf8(&t.path()), "--", "perl", "-e", script, &id, mine, other]);
        let mut running = Running::start(command);
        assert_eq!(running.line(), format!("has {mine}"));
        running
    };
    let (mut a, mut b) = (start("0", "1"), start("1", "0"));
    a.go();
    t.until_waiting(a.pid());
    assert_eq!(t.json(&["why", &a.pid().to_string()])["deadlocks"], serde_json::json!([]));
    b.go();
    t.until_waiting(b.pid());
    let cycle = &t.json(&["why", &a.pid().to_string()])["deadlocks"][0];
    let mut pids: Vec<i64> = cycle.as_array().unwrap().iter().map(|edge| edge["pid"].as_i64().unwrap()).collect();
    pids.sort();
    let mut expected = [a.pid(), b.pid()].map(i64::from);
    expected.sort();
    assert_eq!(pids, expected);
    // One is killed, and the other one proceeds.
    a.child.kill().unwrap();
    a.child.wait().unwrap();
    assert_eq!(b.code(), Some(0));
}

#[test]
fn a_process_that_waits_for_itself_is_a_deadlock() {
    let t = Ns::new();
    if !Command::new("perl").args(["-e", "exit 0"]).status().is_ok_and(|status| status.success()) {
        return eprintln!("skipped: no perl");
    }
    let id = t.set(&["--values", "1"]);
    let script = r#"for (1..2) { semop($ARGV[0], pack("s3", 0, -1, 0x1000)) or die "semop: $!"; }"#;
    let mut command = Command::new(program());
    command.args(["run", "--namespace", utf8(&t.path()), "--", "perl", "-e", script, &id]);
    let running = Running::start(command);
    t.until_waiting(running.pid());
    let said = text(&mut t.quintet(&["why", &running.pid().to_string()]));
    assert_says(&said, &["Deadlock: the process waits for what it holds itself", "of which it holds 1"]);
}

#[test]
fn a_process_that_is_not_blocked() {
    let t = Ns::new();
    let id = SemaphoreSet::open_or_create(&t.ns, Key::PRIVATE, &[1]).unwrap().id().to_string();
    let me = std::process::id();
    let init = text(&mut t.quintet(&["why", "1"]));
    assert_eq!(
        init,
        format!("pid 1 does not use namespace {}; 'quintet namespace ls' lists all namespaces.\n", t.path().display())
    );
    let said = text(&mut t.quintet(&["why", &me.to_string()]));
    assert_eq!(said, format!("pid {me} is not blocked at a semaphore or message queue in namespace {}.\n", t.path().display()));
    let said = text(&mut t.quintet(&["why", &format!("sem:{id}")]));
    assert_eq!(said, format!("No process is blocked at semaphore set {id} in namespace {}.\n", t.path().display()));
    let (holder, _) = t.holding(&id, "0:-1", "read x");
    assert_says(
        &text(&mut t.quintet(&["why", &holder.pid().to_string()])),
        &[&format!("sem:{id} gets 0:+1 at exit of pid {}", holder.pid())],
    );
}

#[test]
fn refuses_unknown_subjects() {
    let t = Ns::new();
    t.set(&["--values", "1"]);
    for (subject, code, part) in [
        ("4194305", 1, "cannot examine pid 4194305: no such process (ESRCH)"),
        ("sem:31000", 1, "cannot open set 31000"),
        ("key:0x99", 1, "ENOENT"),
        ("0", 2, "give sem:0 for the set, or msg:0 for the queue"),
        ("shm:0", 2, "is not a semaphore set"),
        ("sem:x", 2, "or a process id"),
        ("msg:31000", 1, "cannot open queue 31000"),
        ("msg:x", 2, "is not the name of a message queue"),
    ] {
        assert_says(&refusal(&mut t.quintet(&["why", subject]), code), &[part]);
    }
}

#[test]
fn names_the_message_a_receiver_waits_for_and_the_last_sender() {
    let t = Ns::new();
    let id = t.queue(&["--key", "0x4d2"]);
    let first = t.waiting_msg(&["recv", &id, "--type", "7"]);
    let pid = first.pid().to_string();
    let said = text(&mut t.quintet(&["why", &pid]));
    let expected = [
        format!("pid {pid} ("),
        format!("waits for   a message of type 7 at msg:{id} (key 0x000004d2)"),
        "blocked by  the queue is empty".to_owned(),
        "hint        no process has sent yet".to_owned(),
        "No other process uses the namespace, so none can unblock it.".to_owned(),
    ];
    assert_says(&said, &expected.each_ref().map(String::as_str));
    t.send(&[&id, "x", "--type", "5"]);
    let second = t.waiting_msg(&["recv", &id, "--not", "5"]);
    let said = text(&mut t.quintet(&["why", &format!("msg:{id}")]));
    let expected = [
        "blocked by  the queue has only messages of other types (type:count): 5:1".to_owned(),
        "hint        the last sender may help again: pid ".to_owned(),
        "(it has exited)".to_owned(),
        format!("pid {} (", second.pid()),
        "waits for   a message that is not of type 5 at msg:".to_owned(),
        format!("before it   pid {pid} ("),
        "All 2 processes that use the namespace are blocked, so none can unblock another.".to_owned(),
    ];
    assert_says(&said, &expected.each_ref().map(String::as_str));
    let value = t.json(&["why", "msg:key:0x4d2"]);
    assert_eq!((value["id"].to_string(), value["class"].as_str(), value["all_wait"].as_u64()), (id, Some("msg"), Some(2)));
    let wait = &value["queue_waits"][1];
    assert_eq!((wait["waiter"]["pid"].as_i64(), wait["waiter"]["except"].as_bool()), (Some(second.pid().into()), Some(true)));
    assert_eq!((wait["last"]["running"].as_bool(), wait["before"][0]["pid"].as_i64()), (Some(false), Some(first.pid().into())));
    assert_eq!((value["queue"]["messages"].as_u64(), value["queue"]["last_receiver"].is_null()), (Some(1), true));
    // A process that is not blocked may send.
    let (free, _) = t.holding(&t.set(&["--values", "1"]), "0:-1", "read x");
    assert!(t.json(&["why", &pid])["all_wait"].is_null());
    drop(free);
}

#[test]
fn names_the_room_a_sender_waits_for() {
    let t = Ns::new();
    let id = t.queue(&["--capacity", "5"]);
    t.send(&[&id, "12345"]);
    let (sender, second) = (t.waiting_msg(&["send", &id, "abc", "--type", "7"]), t.waiting_msg(&["send", &id, "x"]));
    let receiver = t.waiting_msg(&["recv", &id, "--type", "7"]);
    let said = text(&mut t.quintet(&["why", &second.pid().to_string()]));
    let expected = [
        format!("waits for   room for 1 byte of type 1 at msg:{id}\n"),
        "blocked by  the queue has 1 message, 5 of 5 bytes".to_owned(),
        "hint        no process has received yet".to_owned(),
        format!("before it   pid {} (", sender.pid()),
    ];
    assert_says(&said, &expected.each_ref().map(String::as_str));
    // The sender of the awaited message waits for room.
    let said = text(&mut t.quintet(&["why", &receiver.pid().to_string()]));
    assert_says(&said, &[&format!("would send  pid {} (", sender.pid()), "but waits for room for 3 bytes of type 7 itself"]);
    let value = t.json(&["why", &receiver.pid().to_string()]);
    let pids: Vec<i64> =
        value["queue_waits"][0]["would_send"].as_array().unwrap().iter().map(|w| w["pid"].as_i64().unwrap()).collect();
    assert_eq!((pids, value["all_wait"].as_u64()), (vec![sender.pid().into()], Some(3)));
    t.json(&["rm", &format!("msg:{id}")]);
    let small = t.queue(&["--capacity", "2"]);
    let sender = t.waiting_msg(&["send", &small, "abc"]);
    assert_says(
        &text(&mut t.quintet(&["why", &sender.pid().to_string()])),
        &["blocked by  the capacity of the queue is 2 bytes: it must be raised"],
    );
}

#[test]
fn a_holder_that_waits_at_a_queue_is_no_deadlock() {
    let t = Ns::new();
    let (set, queue) = (t.set(&["--values", "1"]), t.queue(&[]));
    let (holder, shell) = t.holding(&set, "0:-1", &format!("$Q msg recv {queue}; exit $?"));
    let receiver = loop {
        let waiter = t.json(&["ls"])["msg"][0]["waiters"][0]["pid"].as_i64();
        if let Some(pid) = waiter {
            break pid;
        }
    };
    let waiter = t.waiting(&[&set, "0:-1"]);
    // The shell waits for the tool. "0" if the kernel hides the function; then only the sleep is
    // visible.
    while !["do_wait", "0"].contains(&std::fs::read_to_string(format!("/proc/{shell}/wchan")).unwrap().as_str()) {
        std::thread::yield_now();
    }
    until_asleep(shell);
    let value = t.json(&["why", &shell.to_string()]);
    assert_eq!((&value["children"], value["waits"].as_array().unwrap().len()), (&serde_json::json!([receiver]), 0));
    assert_eq!(value["queue_waits"][0]["waiter"]["pid"], receiver);
    let value = t.json(&["why", &waiter.pid().to_string()]);
    assert_eq!(value["waits"][0]["holders"][0]["pid"], holder.pid());
    // Any process may send, so this is no deadlock.
    assert_eq!(value["deadlocks"], serde_json::json!([]));
    t.send(&[&queue, "go on"]);
    assert_eq!((holder.code(), waiter.code()), (Some(0), Some(0)));
}
