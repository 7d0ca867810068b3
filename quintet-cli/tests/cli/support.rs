//! A namespace of a test's own, and the tool on it.

use assert_cmd::Command;
use quintet::{Kind, Namespace};
use serde_json::Value;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};
use tempfile::TempDir;

/// The tool, without what the environment of whoever runs the tests says.
pub fn quintet() -> Command {
    let mut command = Command::new(program());
    for name in ["QUINTET_NAMESPACE", "NO_COLOR", "LD_PRELOAD"] {
        command.env_remove(name);
    }
    command.timeout(std::time::Duration::from_secs(60));
    command
}

pub fn program() -> PathBuf {
    assert_cmd::cargo::cargo_bin!("quintet").to_owned()
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this process, and so each one it starts, ignores a signal.
pub fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() >> (signal - 1) & 1 != 0
}

/// A process that is ended with the test.
pub struct Running {
    pub child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    pub fn start(mut command: std::process::Command) -> Running {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The next line that it says.
    pub fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    /// Gives it a line to read.
    pub fn go(&mut self) {
        writeln!(self.child.stdin.as_mut().unwrap()).unwrap();
    }

    /// How it ends.
    pub fn code(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a process sleeps.
pub fn until_asleep(pid: i32) {
    loop {
        match state(pid) {
            b'S' => return,
            b'Z' | b'X' => panic!("process {pid} has ended"),
            _ => std::thread::yield_now(),
        }
    }
}

/// The letter with which `ps` shows what a process does.
pub fn state(pid: i32) -> u8 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.as_bytes()[0]
}

/// A namespace in a temporary directory.
pub struct Ns {
    pub dir: TempDir,
    pub ns: Namespace,
}

impl Ns {
    pub fn new() -> Ns {
        let dir = tempfile::tempdir().unwrap();
        let ns = Namespace::create(dir.path().join("ns"), Kind::Private).unwrap();
        Ns { dir, ns }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("ns")
    }

    /// The tool on this namespace.
    pub fn quintet(&self, args: &[&str]) -> Command {
        let mut command = quintet();
        command.arg("--namespace").arg(self.path()).args(args);
        command
    }

    /// Runs a command that must succeed, and reads its JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        parsed(self.quintet(args).arg("--json"), args[0])
    }

    /// Makes a segment, and returns its identifier.
    pub fn segment(&self, args: &[&str]) -> i32 {
        text(self.quintet(&["create"]).args(args)).trim().parse().unwrap()
    }

    /// Makes a semaphore set, and returns its identifier.
    pub fn set(&self, args: &[&str]) -> String {
        text(self.quintet(&["create", "sem"]).args(args)).trim().to_owned()
    }

    /// Makes a message queue, and returns its identifier.
    pub fn queue(&self, args: &[&str]) -> String {
        text(self.quintet(&["create", "msg"]).args(args)).trim().to_owned()
    }

    /// Sends a message.
    pub fn send(&self, args: &[&str]) {
        assert_eq!(text(self.quintet(&["msg", "send"]).args(args)), "");
    }

    /// What there is in a queue: each message's type and text.
    pub fn peek(&self, queue: &str) -> Vec<(i64, String)> {
        let value = self.json(&["msg", "peek", queue]);
        let messages = value["messages"].as_array().unwrap().iter();
        messages.map(|m| (m["type"].as_i64().unwrap(), m["text"].as_str().unwrap().to_owned())).collect()
    }

    /// `quintet msg` with these arguments, as a process that runs.
    pub fn msg(&self, args: &[&str]) -> Running {
        let mut command = std::process::Command::new(program());
        command.arg("--namespace").arg(self.path()).arg("msg").args(args);
        Running::start(command)
    }

    /// The same, when it waits.
    pub fn waiting_msg(&self, args: &[&str]) -> Running {
        let running = self.msg(args);
        self.until_waiting(running.pid());
        running
    }

    /// `quintet sem op` with these arguments, as a process that runs. Forgotten ones end some day.
    pub fn op(&self, args: &[&str]) -> Running {
        let mut command = std::process::Command::new(program());
        command.arg("--namespace").arg(self.path()).args(["sem", "op", "--timeout", "60"]).args(args);
        Running::start(command)
    }

    /// The same, when it waits.
    pub fn waiting(&self, args: &[&str]) -> Running {
        let running = self.op(args);
        self.until_waiting(running.pid());
        running
    }

    /// Waits until a process waits for a semaphore or at a queue, and sleeps.
    pub fn until_waiting(&self, pid: i32) {
        let waits = |listing: &Value| {
            let objects = ["sem", "msg"].map(|class| listing[class].as_array().unwrap().clone()).concat();
            let mut waiters = objects.iter().flat_map(|object| object["waiters"].as_array().unwrap());
            waiters.any(|waiter| waiter["pid"] == pid)
        };
        while !waits(&self.json(&["ls"])) {
            assert_ne!(state(pid), b'Z', "process {pid} has ended");
        }
        until_asleep(pid);
    }

    /// A shell that does `ops` and runs `script` meanwhile, when it has said its pid. `$Q` in the script is the tool on this namespace.
    pub fn holding(&self, set: &str, ops: &str, script: &str) -> (Running, i32) {
        let script = format!("Q='{} --namespace {}'; echo $$; {script}", utf8(&program()), utf8(&self.path()));
        let mut running = self.op(&[set, ops, "--", "sh", "-c", &script]);
        let shell = running.line().parse().unwrap();
        (running, shell)
    }

    /// A file in the test's directory.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

/// The JSON that a command prints, checked for its envelope.
pub fn parsed(command: &mut Command, name: &str) -> Value {
    let value: Value = serde_json::from_str(&text(command)).unwrap();
    assert_eq!(value["quintet"], 1);
    assert!(value["command"].as_str().unwrap().starts_with(name), "{value}");
    value
}

/// What a command prints that must succeed.
pub fn text(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a command says on standard error that must end with `code`, and prints nothing.
pub fn refusal(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    String::from_utf8(output.stderr).unwrap()
}

/// Asserts that each part is in the text.
pub fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "'{part}' is missing in: {text}");
    }
}

pub fn utf8(path: &Path) -> &str {
    path.to_str().unwrap()
}
