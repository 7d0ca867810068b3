use crate::support::{Ns, assert_says, is_ignored, parsed, program, refusal, state, text, utf8};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

/// Returns the output of a command that must succeed.
fn bytes(t: &Ns, args: &[&str]) -> Vec<u8> {
    let output = t.quintet(&["msg"]).args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[test]
fn sent_messages_are_received() {
    let t = Ns::new();
    let id = t.queue(&["--key", "0x4d2"]);
    let file = t.file("job", "from a file\n");
    t.send(&[&id, "an argument"]);
    t.send(&["key:0x4d2", "--type", "7", "--file", utf8(&file)]);
    let output = t.quintet(&["msg", "send", "msg:key:1234", "--type", "3"]).write_stdin("from a pipe").output().unwrap();
    assert!(output.status.success());
    text(t.quintet(&["msg", "send", &format!("msg:{id}"), "--file", "-"]).write_stdin(""));
    t.send(&[&id, "--", "-x"]);
    let expected = [(1, "an argument"), (7, "from a file\n"), (3, "from a pipe"), (1, ""), (1, "-x")];
    assert_eq!(t.peek(&id), expected.map(|(mtype, text)| (mtype, text.to_owned())));
    for text in ["an argument", "from a file\n", "from a pipe", "", "-x"] {
        assert_eq!(bytes(&t, &["recv", &id]), text.as_bytes());
    }
    assert_eq!(t.peek(&id), []);
}

#[test]
fn a_message_is_selected_by_type() {
    let t = Ns::new();
    let id = t.queue(&[]);
    let take = |args: &[&str]| String::from_utf8(bytes(&t, &[&["recv", &id, "--no-wait"], args].concat())).unwrap();
    for (mtype, text) in [("5", "a"), ("3", "b"), ("9", "c"), ("3", "d"), ("5", "e"), ("9223372036854775807", "f")] {
        t.send(&[&id, text, "--type", mtype]);
    }
    assert_eq!(take(&["--type", "9"]), "c");
    assert_eq!(take(&["--up-to", "8"]), "b");
    assert_eq!(take(&["--not", "5"]), "d");
    assert_eq!(take(&["--up-to", "9223372036854775807"]), "a");
    assert_eq!(take(&[]), "e");
    assert_says(
        &refusal(&mut t.quintet(&["msg", "recv", &id, "--no-wait", "--up-to", "8"]), 124),
        &["of type 8 or lower (ENOMSG)"],
    );
    assert_says(&refusal(&mut t.quintet(&["msg", "recv", &id, "--no-wait", "--type", "8"]), 124), &["no message of type 8"]);
    assert_eq!(take(&["--not", "1"]), "f");
    assert_says(&refusal(&mut t.quintet(&["msg", "recv", &id, "--no-wait", "--not", "8"]), 124), &["that is not of type 8"]);
}

#[test]
fn lines_become_messages_and_messages_lines() {
    let t = Ns::new();
    let id = t.queue(&[]);
    let sent = parsed(
        t.quintet(&["msg", "send", &id, "--lines", "--type", "2", "--json"]).write_stdin("one\n\ntwo words\nlast"),
        "msg send",
    );
    assert_eq!((sent["messages"].as_u64(), sent["bytes"].as_u64(), sent["type"].as_i64()), (Some(4), Some(16), Some(2)));
    assert_eq!(bytes(&t, &["recv", &id, "--count", "2", "--line"]), b"one\n\n");
    assert_eq!(bytes(&t, &["recv", &id, "--count", "2", "-0"]), b"two words\0last\0");
    text(t.quintet(&["msg", "send", &id, "--lines", "-0"]).write_stdin("a\nb\0c\0"));
    assert_eq!(bytes(&t, &["recv", &id, "--count", "2"]), b"a\nbc");
    let file = t.file("lines", "x\ny\n");
    t.send(&[&id, "--lines", "--file", utf8(&file)]);
    assert_eq!(bytes(&t, &["recv", &id, "--follow", "--no-wait", "--line"]), b"x\ny\n");
    assert_eq!(bytes(&t, &["recv", &id, "--follow", "--no-wait", "--line"]), b"");
    assert_eq!(text(t.quintet(&["msg", "send", &id, "--lines"]).write_stdin("")), "");
    assert_eq!(t.peek(&id), []);
}

#[test]
fn messages_may_contain_any_bytes() {
    let t = Ns::new();
    let id = t.queue(&[]);
    let all: Vec<u8> = (0..8192u32).map(|i| (i * 7 % 256) as u8).collect();
    let (input, output) = (t.file("in", &all), t.dir.path().join("out"));
    t.send(&[&id, "--file", utf8(&input)]);
    t.send(&[&id, "--file", utf8(&input)]);
    assert_eq!(bytes(&t, &["recv", &id]), all);
    assert_eq!(bytes(&t, &["recv", &id, "--file", utf8(&output), "--line"]), b"");
    assert_eq!(std::fs::read(&output).unwrap(), [&all[..], b"\n"].concat());
    let odd = t.file("odd", b"\xff\0a");
    t.send(&[&id, "--file", utf8(&odd), "--type", "4"]);
    t.send(&[&id, "gr\u{fc}n"]);
    let said = text(&mut t.quintet(&["msg", "recv", &id, "--count", "2", "--json"]));
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let number: i32 = id.parse().unwrap();
    let odd = json!({"quintet": 1, "command": "msg recv", "id": number, "type": 4, "length": 3, "text": null, "base64": "/wBh"});
    let green =
        json!({"quintet": 1, "command": "msg recv", "id": number, "type": 1, "length": 5, "text": "gr\u{fc}n", "base64": null});
    assert_eq!(lines, [odd, green]);
}

#[test]
fn peek_receives_nothing() {
    let t = Ns::new();
    let id = t.queue(&[]);
    assert_eq!(text(&mut t.quintet(&["msg", "peek", &id])), format!("Queue {id} has no messages.\n"));
    t.send(&[&id, "hello", "--type", "3"]);
    t.send(&[&id, ""]);
    let shown = text(&mut t.quintet(&["msg", "peek", &id]));
    let lines: Vec<&str> = shown.lines().collect();
    assert_says(lines[0], &["1. type 3, 5 bytes"]);
    assert_eq!(lines[1], format!("   00000000  68 65 6c 6c 6f {}  |hello|", " ".repeat(33)));
    assert_says(lines[2], &["2. type 1, 0 bytes"]);
    assert_eq!(lines.len(), 3);
    assert_eq!(text(&mut t.quintet(&["msg", "peek", &id, "--count", "1"])).lines().count(), 2);
    let value = t.json(&["msg", "peek", &id, "--count", "1"]);
    assert_eq!((value["messages"].as_array().unwrap().len(), value["messages"][0]["text"].as_str()), (1, Some("hello")));
    assert_eq!(t.peek(&id).len(), 2);
}

#[test]
fn peek_shows_sender_and_time() {
    let t = Ns::new();
    let id = t.queue(&[]);
    let sender = t.msg(&["send", &id, "hello"]);
    let pid = sender.pid();
    assert_eq!(sender.code(), Some(0));
    let message = &t.json(&["msg", "peek", &id])["messages"][0];
    assert_eq!((message["sender"].as_i64(), message["length"].as_u64()), (Some(pid.into()), Some(5)));
    assert!(message["sent"].as_i64().unwrap() > 1_700_000_000);
    assert_says(&text(&mut t.quintet(&["msg", "peek", &id])), &["1. type 1, 5 bytes, sent 2", &format!("ago) by pid {pid}\n")]);
}

#[test]
fn a_call_that_would_block_is_124() {
    let t = Ns::new();
    let id = t.queue(&["--capacity", "10"]);
    let see = format!(" stat msg:{id}' shows its messages and waiters");
    let said = refusal(&mut t.quintet(&["msg", "recv", &id, "--no-wait"]), 124);
    assert_says(&said, &[&format!("cannot receive from queue {id}: there is no message (ENOMSG)"), &see]);
    t.send(&[&id, "12345678"]);
    let said = refusal(&mut t.quintet(&["msg", "send", &id, "abc", "--no-wait"]), 124);
    assert_says(&said, &["no room for 3 bytes, the queue has 1 message, 8 of 10 bytes (EAGAIN)", &see]);
    // A warning tells at once that the message exceeds the capacity.
    let said = refusal(&mut t.quintet(&["msg", "send", &id, "0123456789a", "--timeout", "1ms"]), 124);
    assert_says(
        &said,
        &["has a capacity of 10 bytes: a message of 11 bytes waits until it is raised", "no room for 11 bytes within 1ms"],
    );
    let said = refusal(t.quintet(&["msg", "send", &id, "--lines", "--timeout", "0"]).write_stdin("a\nb\nc\n"), 124);
    assert_says(
        &said,
        &[&format!(
            "cannot send line 3 to queue {id} after 2 messages: no room for 1 byte, the queue has 3 messages, 10 of 10 bytes"
        )],
    );
    assert_eq!(t.peek(&id).len(), 3);
    let output = t.quintet(&["msg", "recv", &id, "--count", "4", "--timeout", "1ms", "--line"]).output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(124), &b"12345678\na\nb\n"[..]));
    assert_says(&String::from_utf8(output.stderr).unwrap(), &["after 3 messages: no message arrived within 1ms (ENOMSG)"]);
    let output = t.quintet(&["msg", "recv", &id, "--no-wait", "--json"]).output().unwrap();
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), value["error"]["errno_name"].as_str()), (Some(124), Some("ENOMSG")));
}

#[test]
fn other_failures_are_1_and_invalid_command_lines_2() {
    let t = Ns::new();
    let id = t.queue(&[]);
    let long = t.file("long", [b'x'; 9000]);
    let cases: [(&[&str], i32, &str); 20] = [
        (&["send", &id, "--file", utf8(&long)], 1, "it has 9000 bytes, but the limit msgmax is 8192 (EINVAL)"),
        (&["send", &id, &"x".repeat(8193)], 1, "it has 8193 bytes, but the limit msgmax is 8192 (EINVAL)"),
        (&["send", &id, "--lines", "--file", utf8(&long)], 1, "cannot send line 1 to queue"),
        (&["send", &id, "--file", "/no/such/file"], 1, "cannot read /no/such/file: No such file or directory (ENOENT)"),
        (&["recv", &id, "--file", "/no/such/dir/file"], 1, "cannot create /no/such/dir/file: No such file or directory (ENOENT)"),
        (&["send", "31000", "x"], 1, "cannot open queue 31000: no queue has this identifier (EINVAL)"),
        (&["recv", "key:0x77"], 1, "no queue has this key (ENOENT)"),
        (&["peek", "key:private"], 1, "this key names no queue (ENOENT)"),
        (&["send", &id, "x", "--type", "0"], 2, "'0' is not a message type: give a number from 1"),
        (&["send", &id, "x", "--type", "-1"], 2, "'-1' is not a message type"),
        (&["recv", &id, "--up-to", "x"], 2, "'x' is not a message type"),
        (&["recv", &id, "--type", "1", "--not", "2"], 2, "cannot be used with"),
        (&["recv", &id, "--count", "0"], 2, "0 is not in 1.."),
        (&["recv", &id, "--count", "2", "--follow"], 2, "cannot be used with"),
        (&["recv", &id, "--line", "-0"], 2, "cannot be used with"),
        (&["recv", &id, "--no-wait", "--timeout", "1"], 2, "cannot be used with"),
        (&["recv", &id, "--timeout", "1 week"], 2, "'1 week' is not a duration"),
        (&["send", &id, "x", "--lines"], 2, "cannot be used with"),
        (&["send", &id, "-0"], 2, "--lines"),
        (&["send", "sem:0", "x"], 2, "semaphore set 0 is not a message queue"),
    ];
    for (args, code, part) in cases {
        assert_says(&refusal(t.quintet(&["msg"]).args(args), code), &[part]);
    }
    assert_says(
        &refusal(t.quintet(&["msg", "send", &id]).write_stdin([b'x'; 8193]), 1),
        &["it has more than 8192 bytes, but the limit msgmax is 8192 (EINVAL)", "namespace limits --msgmax 16384'"],
    );
    assert_eq!(t.peek(&id), []);
    t.json(&["namespace", "limits", "--msgmax", "9000"]);
    t.send(&[&id, "--file", utf8(&long)]);
    // A message that exceeds the new limit is still received.
    t.json(&["namespace", "limits", "--msgmax", "5"]);
    assert_eq!(bytes(&t, &["recv", &id]).len(), 9000);
}

#[test]
fn a_message_longer_than_the_first_buffer_is_received_completely() {
    let t = Ns::new();
    t.json(&["namespace", "limits", "--msgmax", "2M", "--msgmnb", "2M"]);
    let id = t.queue(&[]);
    let long: Vec<u8> = (0..2_000_000u32).map(|i| (i * 11 % 251) as u8).collect();
    let file = t.file("long", &long);
    t.send(&[&id, "--file", utf8(&file)]);
    t.json(&["namespace", "limits", "--msgmax", "100"]);
    assert_eq!(bytes(&t, &["recv", &id, "--no-wait"]), long);
}

#[test]
fn a_blocked_receiver_gets_the_message_it_waits_for() {
    let t = Ns::new();
    let id = t.queue(&[]);
    let (mut seven, mut low) =
        (t.waiting_msg(&["recv", &id, "--type", "7", "--line"]), t.waiting_msg(&["recv", &id, "--up-to", "3", "--line"]));
    t.send(&[&id, "not for these", "--type", "5"]);
    t.send(&[&id, "three", "--type", "3"]);
    t.send(&[&id, "seven", "--type", "7"]);
    assert_eq!((seven.line(), low.line()), ("seven".to_owned(), "three".to_owned()));
    assert_eq!((seven.code(), low.code()), (Some(0), Some(0)));
    assert_eq!(t.peek(&id), [(5, "not for these".to_owned())]);
}

#[test]
fn a_blocked_sender_proceeds_when_there_is_room() {
    let t = Ns::new();
    let id = t.queue(&["--capacity", "5"]);
    t.send(&[&id, "12345"]);
    let sender = t.waiting_msg(&["send", &id, "later"]);
    assert_eq!(bytes(&t, &["recv", &id]), b"12345");
    assert_eq!((sender.code(), t.peek(&id)), (Some(0), vec![(1, "later".to_owned())]));
}

#[test]
fn follow_ends_when_the_queue_is_removed() {
    let t = Ns::new();
    let id = t.queue(&[]);
    t.send(&[&id, "before"]);
    let mut follower = t.msg(&["recv", &id, "--follow", "--line"]);
    assert_eq!(follower.line(), "before");
    t.until_waiting(follower.pid());
    t.send(&[&id, "after"]);
    assert_eq!(follower.line(), "after");
    t.until_waiting(follower.pid());
    let removed = &t.json(&["rm", &format!("msg:{id}")])["removed"][0];
    assert_eq!((removed["woken"][0]["pid"].as_i64(), removed["class"].as_str()), (Some(follower.pid().into()), Some("msg")));
    assert_eq!(follower.code(), Some(0));
    // Without --follow, a receiver that gets no message fails.
    let id = t.queue(&[]);
    let waiter = t.waiting_msg(&["recv", &id]);
    t.json(&["rm", &format!("msg:{id}")]);
    assert_eq!(waiter.code(), Some(1));
}

#[test]
fn a_signal_ends_a_blocked_receiver_and_no_message_is_lost() {
    let t = Ns::new();
    let id = t.queue(&[]);
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        if is_ignored(signal.as_raw()) {
            println!("skipped: {signal:?} is ignored here, as under nohup");
            continue;
        }
        let mut waiter = t.waiting_msg(&["recv", &id, "--follow"]);
        kill_process(Pid::from_child(&waiter.child), signal).unwrap();
        assert_eq!(waiter.child.wait().unwrap().signal(), Some(signal.as_raw()));
    }
    t.send(&[&id, "still there"]);
    assert_eq!(bytes(&t, &["recv", &id, "--no-wait"]), b"still there");
}

#[test]
fn a_receiver_that_is_stopped_and_continued_stays_blocked() {
    let t = Ns::new();
    let id = t.queue(&[]);
    let mut waiter = t.waiting_msg(&["recv", &id, "--line"]);
    let signal = |signal| kill_process(Pid::from_child(&waiter.child), signal).unwrap();
    signal(Signal::STOP);
    while state(waiter.pid()) != b'T' {
        std::thread::yield_now();
    }
    signal(Signal::CONT);
    t.until_waiting(waiter.pid());
    t.send(&[&id, "at last"]);
    assert_eq!((waiter.line(), waiter.code()), ("at last".to_owned(), Some(0)));
}

/// Starts `quintet msg` with pipes that the test keeps or closes.
fn piped(t: &Ns, args: &[&str]) -> Child {
    let mut command = Command::new(program());
    command.arg("--namespace").arg(t.path()).arg("msg").args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Returns the exit code and standard error of a process.
fn result(mut child: Child) -> (Option<i32>, String) {
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code(), said)
}

#[test]
fn no_message_is_received_after_the_reader_exits() {
    let t = Ns::new();
    let id = t.queue(&[]);
    let mut follower = piped(&t, &["recv", &id, "--follow", "--line"]);
    t.until_waiting(follower.id() as i32);
    drop(follower.stdout.take());
    assert_eq!(result(follower), (Some(0), String::new()));
    t.send(&[&id, "one"]);
    t.send(&[&id, "two"]);
    // A receiver of three messages that stops after two has failed.
    let mut waiter = piped(&t, &["recv", &id, "--count", "3"]);
    t.until_waiting(waiter.id() as i32);
    drop(waiter.stdout.take());
    let (code, complaint) = result(waiter);
    assert_eq!(code, Some(1));
    assert_says(
        &complaint,
        &[&format!("cannot receive more from queue {id} after 2 messages: the reader of standard output has exited (EPIPE)")],
    );
    t.send(&[&id, "three"]);
    assert_eq!(t.peek(&id), [(1, "three".to_owned())]);
}

#[test]
fn a_message_that_cannot_be_written_is_reported() {
    let t = Ns::new();
    let id = t.queue(&[]);
    t.send(&[&id, "a\nb", "--type", "7"]);
    let binary = t.file("binary", b"\xff\0");
    t.send(&[&id, "--file", utf8(&binary)]);
    let lost = |args: &[&str]| refusal(t.quintet(&["msg", "recv", &id, "--file", "/dev/full"]).args(args), 1);
    let expected = format!("cannot write to /dev/full: No space left on device (ENOSPC); a message of queue {id} is lost: ");
    assert_says(&lost(&[]), &[&expected, r#"type 7, 3 bytes: "a\nb""#]);
    assert_says(&lost(&["--follow"]), &[&expected, "type 1, 2 bytes: ff 00"]);
    assert_eq!(t.peek(&id), []);
}

#[test]
fn a_pipe_connects_two_queues() {
    let t = Ns::new();
    let (from, to) = (t.queue(&["--capacity", "100"]), t.queue(&["--capacity", "100"]));
    let mut taker = piped(&t, &["recv", &from, "--follow", "--line"]);
    let mut command = Command::new(program());
    command.arg("--namespace").arg(t.path()).args(["msg", "send", &to, "--lines", "--type", "2"]);
    let mut giver = command.stdin(taker.stdout.take().unwrap()).spawn().unwrap();
    let last = piped(&t, &["recv", &to, "--count", "500", "--line"]);
    let numbers: String = (0..500).map(|i| format!("{i}\n")).collect();
    let mut first = Command::new(program());
    first.arg("--namespace").arg(t.path()).args(["msg", "send", &from, "--lines"]).stdin(Stdio::piped());
    let mut first = first.spawn().unwrap();
    first.stdin.take().unwrap().write_all(numbers.as_bytes()).unwrap();
    assert!(first.wait().unwrap().success());
    let output = last.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), numbers);
    t.json(&["rm", &format!("msg:{from}")]);
    assert_eq!((taker.wait().unwrap().code(), giver.wait().unwrap().code()), (Some(0), Some(0)));
}
