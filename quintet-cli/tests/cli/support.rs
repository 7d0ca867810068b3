//! A new namespace for each test, and the tool on it.

use assert_cmd::Command;
use quintet::{Kind, Namespace};
use serde_json::Value;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};
use tempfile::TempDir;

/// Returns the tool, without the variables of the environment of the tests.
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

/// Returns `true` if this process ignores a signal. The processes that it starts inherit that.
pub fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() >> (signal - 1) & 1 != 0
}

/// A process that is killed at the end of the test.
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

    /// Returns the next line of its output.
    pub fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    /// Writes a line to its input.
    pub fn go(&mut self) {
        writeln!(self.child.stdin.as_mut().unwrap()).unwrap();
    }

    /// Waits for its exit, and returns the exit code.
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

/// Blocks until a process sleeps.
pub fn until_asleep(pid: i32) {
    loop {
        match state(pid) {
            b'S' => return,
            b'Z' | b'X' => panic!("process {pid} has exited"),
            _ => std::thread::yield_now(),
        }
    }
}

/// Returns the state of a process as the letter that `ps` shows.
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

    /// Returns the tool on this namespace.
    pub fn quintet(&self, args: &[&str]) -> Command {
        let mut command = quintet();
        command.arg("--namespace").arg(self.path()).args(args);
        command
    }

    /// Runs a command that must succeed, and returns its JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        parsed(self.quintet(args).arg("--json"), args[0])
    }

    /// Creates a segment, and returns its identifier.
    pub fn segment(&self, args: &[&str]) -> i32 {
        text(self.quintet(&["create"]).args(args)).trim().parse().unwrap()
    }

    /// Creates a semaphore set, and returns its identifier.
    pub fn set(&self, args: &[&str]) -> String {
        text(self.quintet(&["create", "sem"]).args(args)).trim().to_owned()
    }

    /// Creates a message queue, and returns its identifier.
    pub fn queue(&self, args: &[&str]) -> String {
        text(self.quintet(&["create", "msg"]).args(args)).trim().to_owned()
    }

    /// Sends a message.
    pub fn send(&self, args: &[&str]) {
        assert_eq!(text(self.quintet(&["msg", "send"]).args(args)), "");
    }

    /// Returns the type and the text of each message of a queue.
    pub fn peek(&self, queue: &str) -> Vec<(i64, String)> {
        let value = self.json(&["msg", "peek", queue]);
        let messages = value["messages"].as_array().unwrap().iter();
        messages.map(|m| (m["type"].as_i64().unwrap(), m["text"].as_str().unwrap().to_owned())).collect()
    }

    /// Starts `quintet msg` with these arguments.
    pub fn msg(&self, args: &[&str]) -> Running {
        let mut command = std::process::Command::new(program());
        command.arg("--namespace").arg(self.path()).arg("msg").args(args);
        Running::start(command)
    }

    /// Starts `quintet msg` with these arguments, and waits until it is blocked.
    pub fn waiting_msg(&self, args: &[&str]) -> Running {
        let running = self.msg(args);
        self.until_waiting(running.pid());
        running
    }

    /// Starts `quintet sem op` with these arguments, and with a timeout in case the test fails.
    pub fn op(&self, args: &[&str]) -> Running {
        let mut command = std::process::Command::new(program());
        command.arg("--namespace").arg(self.path()).args(["sem", "op", "--timeout", "60"]).args(args);
        Running::start(command)
    }

    /// Starts `quintet sem op` with these arguments, and waits until it is blocked.
    pub fn waiting(&self, args: &[&str]) -> Running {
        let running = self.op(args);
        self.until_waiting(running.pid());
        running
    }

    /// Blocks until a process is blocked at a set or a queue, and sleeps.
    pub fn until_waiting(&self, pid: i32) {
        let waits = |listing: &Value| {
            let objects = ["sem", "msg"].map(|class| listing[class].as_array().unwrap().clone()).concat();
            let mut waiters = objects.iter().flat_map(|object| object["waiters"].as_array().unwrap());
            waiters.any(|waiter| waiter["pid"] == pid)
        };
        while !waits(&self.json(&["ls"])) {
            assert_ne!(state(pid), b'Z', "process {pid} has exited");
        }
        until_asleep(pid);
    }

    /// Starts a shell that runs `script` under `sem op`, and returns it with the pid of the shell.
    ///
    /// `$Q` in the script is the tool on this namespace.
    pub fn holding(&self, set: &str, ops: &str, script: &str) -> (Running, i32) {
        let script = format!("Q='{} --namespace {}'; echo $$; {script}", utf8(&program()), utf8(&self.path()));
        let mut running = self.op(&[set, ops, "--", "sh", "-c", &script]);
        let shell = running.line().parse().unwrap();
        (running, shell)
    }

    /// Creates a file in the directory of the test.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

/// Returns the JSON output of a command, and checks its envelope.
pub fn parsed(command: &mut Command, name: &str) -> Value {
    let value: Value = serde_json::from_str(&text(command)).unwrap();
    assert_eq!(value["quintet"], 1);
    assert!(value["command"].as_str().unwrap().starts_with(name), "{value}");
    value
}

/// Returns the output of a command that must succeed.
pub fn text(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the standard error of a command that must exit with `code` and print nothing.
pub fn refusal(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    String::from_utf8(output.stderr).unwrap()
}

/// Asserts that the text contains each part.
pub fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "'{part}' is missing in: {text}");
    }
}

pub fn utf8(path: &Path) -> &str {
    path.to_str().unwrap()
}
