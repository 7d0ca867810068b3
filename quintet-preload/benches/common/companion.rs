//! A second process of this program, which executes commands line by line. It runs unmodified, with
//! or without the library.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A process that this one has started. It ends when its standard input is closed.
pub struct Companion {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Companion {
    /// Starts the process with these arguments, either with the library (its path and its
    /// namespace) or on the kernel. Returns when the process reports that it is ready.
    pub fn start(args: &[&str], preload: Option<&(PathBuf, PathBuf)>) -> Companion {
        let mut command = Command::new(std::env::current_exe().expect("this program's path"));
        command.args(args).env_remove("LD_PRELOAD");
        if let Some((library, namespace)) = preload {
            command.env("LD_PRELOAD", library).env("QUINTET_NAMESPACE", namespace);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("this program runs");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut companion = Companion { child, stdin, stdout };
        assert_eq!(companion.hear(), "ready");
        companion
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn send(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().expect("open until dropped"), "{line}").expect("the companion listens");
    }

    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("the companion answers");
        line.trim_end().into()
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        self.stdin = None;
        if std::thread::panicking() {
            // The process may be waiting for something that will not come.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// The main loop of a companion: reports that it is ready, then answers each line. It ends with its
/// parent.
pub fn answer_lines(mut answer: impl FnMut(&str) -> String) {
    // SAFETY: numbers only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    println!("ready");
    std::io::stdin().lines().map_while(Result::ok).for_each(|line| println!("{}", answer(&line)));
}

/// Returns the monotonic time in nanoseconds, which is the same in all processes.
pub fn now() -> u64 {
    // SAFETY: zeroes are a valid `timespec`.
    let mut now: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: a local of the right type.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Reports whether another process sleeps.
pub struct Watch(std::fs::File);

impl Watch {
    pub fn of(companion: &Companion) -> Watch {
        Watch(std::fs::File::open(format!("/proc/{}/stat", companion.pid())).expect("it lives"))
    }

    pub fn sleeps(&self) -> bool {
        let mut text = [0; 128];
        let len = self.0.read_at(&mut text, 0).unwrap_or(0);
        let after = text[..len].iter().rposition(|byte| *byte == b')').map_or(len, |at| at + 2);
        text[..len].get(after) == Some(&b'S')
    }
}
