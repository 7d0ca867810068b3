//! `--kernel`, in a new IPC namespace. The tests are skipped if none can be created.

use crate::support::{assert_says, is_root, program};
use std::process::Command;

/// Runs a shell script on empty kernel tables. `$Q` is the tool.
fn on_empty_tables(script: &str) -> Option<String> {
    let mut unshare = Command::new("unshare");
    unshare.arg("--ipc");
    if !is_root() {
        unshare.arg("--map-root-user");
    }
    let may =
        Command::new("unshare").args(if is_root() { &["--ipc"][..] } else { &["--ipc", "--map-root-user"] }).arg("true").status();
    if !may.is_ok_and(|status| status.success()) {
        eprintln!("skipped: cannot create an IPC namespace here");
        return None;
    }
    let output = unshare.args(["sh", "-ec", script]).env("Q", program()).env("QUINTET_NAMESPACE", "/no/such").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn segments_of_the_kernel_are_created_shown_and_removed() {
    let script = "
        id=$($Q --kernel create --size 4096 --key 0x4d2 --mode 0640)
        echo hello | $Q --kernel write $id
        $Q --kernel cat key:0x4d2 --length 5; echo
        ipcs -m | grep -c 0x000004d2
        $Q --kernel ls --json
        $Q --kernel rm key:0x4d2
        $Q --kernel ls
    ";
    let Some(said) = on_empty_tables(script) else { return };
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], ["hello", "1"]);
    let value: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
    assert_eq!(value["namespace"], serde_json::json!({"kind": "kernel", "path": null}));
    assert_eq!((value["shm"][0]["size"].as_u64(), value["shm"][0]["mode"].as_u64()), (Some(4096), Some(0o640)));
    assert_says(lines[3], &["removed segment "]);
    assert_eq!(lines[4], "No objects in the kernel's namespace.");
}

#[test]
fn limits_of_the_kernel_are_shown() {
    let script = "$Q --kernel namespace limits --json; cd /proc/sys/kernel; cat shmmni sem msgmax msgmnb msgmni";
    let Some(said) = on_empty_tables(script) else { return };
    let (json, numbers) = said.trim().split_once('\n').unwrap();
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    let shown =
        ["shmmni", "semmsl", "semmns", "semopm", "semmni", "msgmax", "msgmnb", "msgmni"].map(|name| value[name].to_string());
    assert_eq!(shown.to_vec(), numbers.split_whitespace().collect::<Vec<_>>());
}

#[test]
fn sets_of_the_kernel_are_created_shown_and_removed() {
    let script = "
        id=$($Q --kernel create sem --values 1,0,5 --key 0x4d2 --mode 0640)
        $Q --kernel create sem --nsems 2 --key 0x4d2 --json
        ipcs -s | grep -c 0x000004d2
        $Q --kernel sem op $id '0:-1 1:+2'
        $Q --kernel sem get key:0x4d2
        $Q --kernel sem set $id 2 7
        $Q --kernel sem get $id 2
        $Q --kernel ls --json
        $Q --kernel ls
        $Q --kernel rm sem:$id
        $Q --kernel ls
    ";
    let Some(said) = on_empty_tables(script) else { return };
    let lines: Vec<&str> = said.lines().collect();
    let found: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(
        (found["created"].as_bool(), found["nsems"].as_u64(), found["class"].as_str()),
        (Some(false), Some(3), Some("sem"))
    );
    assert_eq!(lines[1..4], ["1", "0 2 5", "7"]);
    let value: serde_json::Value = serde_json::from_str(lines[4]).unwrap();
    let set = &value["sem"][0];
    assert_eq!((set["nsems"].as_u64(), set["mode"].as_u64(), set["key"]["number"].as_i64()), (Some(3), Some(0o640), Some(1234)));
    assert_eq!((set["semaphores"][1]["value"].as_u64(), set["semaphores"][2]["value"].as_u64()), (Some(2), Some(7)));
    assert!(set["waiters"].is_null() && set["undo"].is_null() && set["otime"].as_i64().unwrap() > 1_700_000_000);
    assert_eq!(lines[5], "Semaphore sets in the kernel's namespace");
    assert_says(lines[7], &["0x000004d2", "rw-r-----", "3  0 2 7"]);
    assert_says(lines[8], &["removed semaphore set ", "(key 0x000004d2, 3 semaphores)"]);
    assert_eq!(lines[9], "No objects in the kernel's namespace.");
}

#[test]
fn queues_of_the_kernel_are_created_shown_and_removed() {
    let script = "
        id=$($Q --kernel create msg --key 0x4d2 --mode 0640)
        $Q --kernel create msg --key 0x4d2 --capacity 9 --json
        ipcs -q | grep -c 0x000004d2
        other=$($Q --kernel create msg --capacity 4K)
        $Q --kernel stat msg:key:0x4d2 msg:$other --json
        $Q --kernel ls --long
        $Q --kernel rm msg:$id msg:$other
        $Q --kernel ls
    ";
    let Some(said) = on_empty_tables(script) else { return };
    let lines: Vec<&str> = said.lines().collect();
    let found: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(
        (found["created"].as_bool(), found["capacity"].as_u64(), found["class"].as_str()),
        (Some(false), Some(16384), Some("msg"))
    );
    let value: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
    let (queue, other) = (&value["msg"][0], &value["msg"][1]);
    assert_eq!((lines[1], other["capacity"].as_u64(), other["mode"].as_u64()), ("1", Some(4096), Some(0o600)));
    assert_eq!(
        (queue["mode"].as_u64(), queue["key"]["number"].as_i64(), queue["messages"].as_u64()),
        (Some(0o640), Some(1234), Some(0))
    );
    assert!(["oldest", "types", "waiters"].iter().all(|field| queue[field].is_null()), "{queue}");
    assert_eq!(lines[3], "Message queues in the kernel's namespace");
    assert_says(lines[4], &["MESSAGES  BYTES  CAPACITY  OLDEST  TYPE:COUNT  WAITING  STATUS  LSPID  LRPID"]);
    assert_says(lines[7], &["removed message queue ", "(key 0x000004d2, 0 messages)"]);
    assert_eq!(lines[9], "No objects in the kernel's namespace.");
}

#[test]
fn a_command_holds_the_semaphore_while_it_runs() {
    let script = "
        id=$($Q --kernel create sem --values 1)
        code=0; $Q --kernel sem op $id 0:-1 -- sh -c \"$Q --kernel sem get $id; exit 7\" || code=$?
        echo $code $($Q --kernel sem get $id)
        code=0; $Q --kernel sem op $id 0:-2n -- echo never 2>/dev/null || code=$?
        echo $code
        code=0; $Q --kernel sem op $id 0:-1 -- /no/such/program 2>/dev/null || code=$?
        echo $code $($Q --kernel sem get $id)
        code=0; $Q --kernel sem op $id 0:-1 -- sh -c 'kill -9 $$' || code=$?
        echo $code $($Q --kernel sem get $id)
    ";
    let Some(said) = on_empty_tables(script) else { return };
    assert_eq!(said.lines().collect::<Vec<_>>(), ["0", "7 1", "124", "127 1", "137 1"]);
}

#[test]
fn the_answer_says_what_the_kernel_does_not_list() {
    let script = "
        id=$($Q --kernel create sem --values 2)
        $Q --kernel sem op $id 0:-3 --timeout 60 >/dev/null 2>&1 & waiter=$!
        until $Q --kernel stat sem:$id --json | grep -q '\"ncnt\":1'; do kill -0 $waiter; done
        $Q --kernel why sem:$id
        $Q --kernel stat sem:$id | grep waiting
        $Q --kernel why $waiter
        $Q --kernel rm sem:$id >/dev/null
        code=0; wait $waiter || code=$?
        echo $code
    ";
    let Some(said) = on_empty_tables(script) else { return };
    assert_says(
        &said,
        &[
            "semaphore 0 has the value 2; 1 waiting for more, 0 waiting for zero; last changed by pid ",
            "The kernel does not list blocked processes",
        ],
    );
    assert_says(&said, &["waiting    1 (the kernel does not list the processes)"]);
    assert_eq!((said.matches("The kernel does not list").count(), said.lines().last()), (2, Some("1")));
}

#[test]
fn messages_pass_through_queues_of_the_kernel() {
    let script = "
        id=$($Q --kernel create msg --capacity 100)
        $Q --kernel msg send $id hello --type 7
        printf 'a\\nb\\n' | $Q --kernel msg send $id --lines
        $Q --kernel msg peek $id --json
        $Q --kernel msg recv $id --line
        $Q --kernel msg recv $id --follow --no-wait --line
        code=0; $Q --kernel msg recv $id --no-wait 2>/dev/null || code=$?
        echo $code
        code=0; $Q --kernel msg recv $id --timeout 5 2>&1 || code=$?
        echo $code
        $Q --kernel msg send $id x
        $Q --kernel why msg:$id
        $Q --kernel rm msg:$id
    ";
    let Some(said) = on_empty_tables(script) else { return };
    let lines: Vec<&str> = said.lines().collect();
    let value: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    let hello = serde_json::json!({"type": 7, "length": 5, "text": "hello", "base64": null, "sender": null, "sent": null});
    assert_eq!((&value["messages"][0], value["messages"].as_array().unwrap().len()), (&hello, 3));
    assert_eq!(lines[1..5], ["hello", "a", "b", "124"]);
    assert_says(lines[5], &["the kernel's queues have no timeout (EOPNOTSUPP)"]);
    assert_eq!(lines[6], "1");
    assert_says(lines[7], &["has 1 message, 1 of 100 bytes; last sender: pid ", "(it has exited); last receiver: pid "]);
    assert_eq!(lines[8], "The kernel neither lists nor counts the processes that are blocked at a queue.");
    assert_says(lines[9], &["removed message queue ", "1 message)"]);
}
