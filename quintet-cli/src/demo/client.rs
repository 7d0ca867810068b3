//! A client of the demo as a child process, in step with us by lines: it says what it does, pauses
//! with a line `.`, and goes on when it gets a line.

use super::clients::PAUSE;
use super::stage::Stage;
use crate::failure::{Failure, reason};
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
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| Failure::new(format!("cannot start the {name}: {}", reason(&e))))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(input), Some(output)) => Ok(Client { name, child, input: Some(input), output: BufReader::new(output) }),
            _ => Err(Failure::new(format!("cannot talk to the {name}"))),
        }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line; `None` when the client pauses or has ended.
    pub fn line(&mut self) -> Result<Option<String>, Failure> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        read.map_err(|e| Failure::new(format!("cannot hear the {}: {}", self.name, reason(&e))))?;
        let line = line.trim_end();
        Ok((!line.is_empty() && line != PAUSE).then(|| line.to_owned()))
    }

    /// Shows what the client says until it pauses or ends, and returns it.
    pub fn listen(&mut self, stage: &mut Stage) -> Result<Vec<String>, Failure> {
        let mut lines = Vec::new();
        while let Some(line) = self.line()? {
            stage.say(self.name, &line)?;
            lines.push(line);
        }
        Ok(lines)
    }

    /// Lets the client go on.
    pub fn go(&mut self) -> Result<(), Failure> {
        match self.input.as_mut().map(|input| input.write_all(b"\n")) {
            Some(Err(e)) => Err(Failure::new(format!("the {} has ended early: {}", self.name, reason(&e)))),
            _ => Ok(()),
        }
    }

    /// Ends the client by a signal that it can do nothing about.
    pub fn kill(mut self) -> Result<(), Failure> {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.map(drop).map_err(|e| Failure::new(format!("cannot kill the {}: {}", self.name, reason(&e))))
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Lets the client come to its end, and makes sure that it ends well.
    pub fn finish(mut self, stage: &mut Stage) -> Result<Vec<String>, Failure> {
        self.input = None;
        let lines = self.listen(stage)?;
        let status = self.child.wait().map_err(|e| Failure::new(format!("cannot wait for the {}: {}", self.name, reason(&e))))?;
        if status.success() { Ok(lines) } else { Err(Failure::new(format!("the {} has failed ({status})", self.name))) }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Only if something went wrong is it still there.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The word after the word `key` in what a client has said, as a number.
pub fn number(lines: &[String], key: &str) -> Result<i64, Failure> {
    let after = |line: &String| {
        let mut words = line.split(' ').skip_while(|word| *word != key);
        words.nth(1)?.parse().ok()
    };
    lines.iter().rev().find_map(after).ok_or_else(|| Failure::new(format!("a client of the demo did not tell '{key}'")))
}
