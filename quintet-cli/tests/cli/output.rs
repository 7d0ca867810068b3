use crate::support::{Ns, assert_says, program, quintet, refusal, text};
use std::process::{Command, Stdio};

#[test]
fn colours_only_where_they_are_wanted() {
    let t = Ns::new();
    t.segment(&["--size", "1"]);
    assert!(!text(&mut t.quintet(&["ls"])).contains('\x1b'));
    assert!(!text(&mut t.quintet(&["ls", "--color", "never"])).contains('\x1b'));
    assert!(!text(t.quintet(&["ls"]).env("CLICOLOR_FORCE", "1")).contains('\x1b'));
    assert!(text(&mut t.quintet(&["ls", "--color", "always"])).contains('\x1b'));
    refusal(&mut t.quintet(&["ls", "--color", "perhaps"]), 2);
}

#[test]
fn a_reader_that_exits_is_no_error() {
    let t = Ns::new();
    t.segment(&["--size", "8M", "--key", "1"]);
    t.set(&["--values", "1", "--key", "1"]);
    for args in [
        &["cat", "key:1"][..],
        &["cat", "key:1", "--hex"],
        &["ls"],
        &["ls", "--json"],
        &["why", "1"],
        &["stat", "sem:key:1"],
        &["sem", "get", "key:1"],
        &["completions", "bash"],
        &["man"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(program()).env("QUINTET_NAMESPACE", t.path()).args(args).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(0), String::new()), "{args:?}");
    }
}

#[test]
fn a_failure_without_a_reader_is_still_a_failure() {
    let t = Ns::new();
    for args in [&["stat", "31000"][..], &["rm", "31000", "--json"], &["doctor", "--", "no-such-program"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status =
            Command::new(program()).env("QUINTET_NAMESPACE", t.path()).args(args).stdout(writer).stderr(Stdio::null()).status();
        assert_eq!(status.unwrap().code(), Some(1), "{args:?}");
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let t = Ns::new();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(program()).arg("--namespace").arg(t.path()).arg("ls").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_says(
        &String::from_utf8(output.stderr).unwrap(),
        &["cannot write to standard output: No space left on device (ENOSPC)"],
    );
}

#[test]
fn errors_are_printed_as_json_too() {
    let t = Ns::new();
    let output = t.quintet(&["cat", "5", "--offset", "0"]).output().unwrap();
    assert_eq!(output.stdout, b"");
    let output = t.quintet(&["create", "--size", "0", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((value["quintet"].as_u64(), value["command"].as_str()), (Some(1), Some("create")));
    assert_eq!((value["error"]["errno"].as_i64(), value["error"]["errno_name"].as_str()), (Some(22), Some("EINVAL")));
    assert_says(value["error"]["message"].as_str().unwrap(), &["at least 1 byte"]);
}

#[test]
fn invalid_command_lines_are_2() {
    refusal(&mut quintet(), 2);
    refusal(quintet().arg("nonsense"), 2);
    refusal(quintet().args(["ls", "--kernel", "--namespace", "/x"]), 2);
    refusal(quintet().args(["--kernel", "ls", "--namespace", "/x"]), 2);
    assert_says(&text(quintet().arg("--version")), &["quintet 0."]);
}

/// Returns the commands in single quotes that a hint tells to run.
fn hinted_commands(text: &str) -> Vec<String> {
    text.split('\'').filter(|part| part.starts_with("quintet ")).map(str::to_owned).collect()
}

#[test]
fn hints_work_when_pasted() {
    let t = Ns::new();
    let (set, queue) = (t.set(&["--values", "0"]), t.queue(&["--capacity", "1"]));
    let long = "x".repeat(9000);
    let path = format!("{}:{}", program().parent().unwrap().display(), std::env::var("PATH").unwrap());
    let cases: [(&[&str], i32); 10] = [
        (&["stat", "31000"], 1),
        (&["stat", &format!("sem:{}", 31000)], 1),
        (&["cat", &format!("sem:{set}")], 1),
        (&["write", &format!("msg:{queue}")], 1),
        (&["sem", "op", &set, "0:-1n"], 124),
        (&["sem", "op", "key:7", "0:1"], 1),
        (&["msg", "send", "31000", "x"], 1),
        (&["msg", "recv", &queue, "--no-wait"], 124),
        (&["msg", "send", &queue, "xx", "--no-wait"], 124),
        (&["msg", "send", &queue, &long], 1),
    ];
    for (args, code) in cases {
        let said = refusal(&mut t.quintet(args), code);
        let commands = hinted_commands(&said);
        assert!(!commands.is_empty(), "{said}");
        for command in commands {
            let names_namespace = command.contains(&format!("--namespace {}", t.path().display()));
            assert!(names_namespace || command.ends_with("--help"), "{command}");
            let status = Command::new("sh").args(["-c", &command]).env("PATH", &path).stdout(Stdio::null()).status();
            assert!(status.unwrap().success(), "{command}");
        }
    }
}
