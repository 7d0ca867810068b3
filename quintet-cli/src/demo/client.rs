//! A client of the demo as a child process.
//!
//! The protocol is one of lines. The client prints what it does, and pauses with a line `.` until
//! it reads a line.

use super::programs::PAUSE;
use crate::failure::Failure;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub struct Client {
    name: &'static str,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Client {
    pub fn start(name: &'static str, mut command: Command) -> Result<Client, Failure> {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|e| Failure::system(format_args!("start the {name}"), &e))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(input), Some(output)) => Ok(Client { name, child, input: Some(input), output: BufReader::new(output) }),
            _ => Err(Failure::new(format!("cannot start the {name}: it has no pipes"))),
        }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the next line, or `None` if the client pauses or has exited.
    pub fn line(&mut self) -> Result<Option<String>, Failure> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        read.map_err(|e| Failure::system(format_args!("read from the {}", self.name), &e))?;
        let line = line.trim_end();
        Ok((!line.is_empty() && line != PAUSE).then(|| line.to_owned()))
    }

    /// Ends the pause of the client.
    pub fn resume(&mut self) -> Result<(), Failure> {
        match self.input.as_mut().map(|input| input.write_all(b"\n")) {
            Some(Err(e)) => Err(Failure::system(format_args!("resume the {}", self.name), &e)),
            _ => Ok(()),
        }
    }

    /// Ends all pauses of the client, those to come as well.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Kills the client with SIGKILL.
    pub fn kill(mut self) -> Result<(), Failure> {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.map(drop).map_err(|e| Failure::system(format_args!("kill the {}", self.name), &e))
    }

    /// Returns `true` if the client has exited.
    pub fn has_exited(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until the client exits, and checks that it succeeded.
    pub fn wait(mut self) -> Result<(), Failure> {
        let status = self.child.wait().map_err(|e| Failure::system(format_args!("wait for the {}", self.name), &e))?;
        if status.success() { Ok(()) } else { Err(self.failed(&status.to_string())) }
    }

    /// Returns the failure of a demo after this client exited too early.
    pub fn exited_early(&self) -> Failure {
        self.failed("it exited early")
    }

    fn failed(&self, reason: &str) -> Failure {
        Failure::new(format!("cannot continue the demo: the {} failed: {reason}", self.name))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The client still runs only if the demo failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the number that follows the word `key` in the lines of a client. The last line counts.
pub fn number(lines: &[String], key: &str) -> Result<i64, Failure> {
    let after = |line: &String| {
        let mut words = line.split(' ').skip_while(|word| *word != key);
        words.nth(1)?.trim_end_matches([',', ':']).parse().ok()
    };
    let found = lines.iter().rev().find_map(after);
    found.ok_or_else(|| Failure::new(format!("cannot continue the demo: a client printed no number after '{key}'")))
}
