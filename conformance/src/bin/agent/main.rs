//! The agent: a process that makes calls on command. A command and an answer are one line each.
//!
//! The control connection is a Unix socket on descriptor 0, so the agent may close all other
//! descriptors. An answer is `ok` and values, or `err` and an errno. When the connection closes,
//! the agent exits. A command after the word `begin` has two answers: `begin` before the call, and
//! the usual answer after it.
//!
//! - `agent libc` makes calls through libc's functions, which a preloaded library may intercept.
//! - `agent library DIRECTORY KIND` makes calls through the methods of `quintet::Namespace`.
//! - `--unshare` before these creates an IPC namespace, and a user namespace if needed.
//! - `--unshare-if-permitted` creates an IPC namespace only if that needs no user namespace.

mod c;
mod c_msg;
mod c_sem;
mod calls;
mod memory;
mod msg;
mod process;
mod sem;
mod threads;

use calls::Interface;

/// The values of an answer, or an errno.
type Answer = Result<String, i32>;

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == "--unshare") {
        args.remove(0);
        let errno = process::unshare_and_exec(&args);
        reply(&Err(errno));
        return;
    }
    if args.first().is_some_and(|a| a == "--unshare-if-permitted") {
        args.remove(0);
        process::unshare_ipc();
    }
    let Some(interface) = Interface::of(&args) else {
        eprintln!("usage: agent [--unshare | --aside] (libc | library DIRECTORY private|shared)");
        std::process::exit(2);
    };
    c::default_signals();
    memory::reserve_pad();
    let agent = Agent { interface, args };
    reply(&Ok(std::process::id().to_string()));
    agent.serve();
}

/// The state of the agent between commands.
struct Agent {
    interface: Interface,
    args: Vec<String>,
}

impl Agent {
    fn serve(&self) {
        while let Some(line) = read_line() {
            let mut words: Vec<&str> = line.split_ascii_whitespace().collect();
            if words.first() == Some(&"begin") {
                words.remove(0);
                c::write_control(b"begin\n");
            }
            let Some((verb, args)) = words.split_first() else { continue };
            let answer = self.perform(verb, args);
            if answer != Err(process::FORKED) {
                reply(&answer);
            }
        }
    }

    fn perform(&self, verb: &str, args: &[&str]) -> Answer {
        match verb {
            "snapshot" => self.snapshot(args),
            "clear" => self.clear(args),
            verb => self.perform_one(verb, args),
        }
    }

    /// Returns the state of segments, sets and queues. Each argument is a list of identifiers, or
    /// `-`.
    fn snapshot(&self, args: &[&str]) -> Answer {
        let see = |(verb, ids): (&str, &&str)| match *ids {
            "-" => Ok(String::new()),
            ids => self.perform_one(verb, &[ids]),
        };
        let parts = ["shm_snapshot", "sem_snapshot", "msg_snapshot"].into_iter().zip(args).map(see);
        parts.collect::<Result<Vec<_>, _>>().map(|parts| parts.join("/"))
    }

    /// Removes segments, sets and queues. Returns what remains, without the highest index in use.
    fn clear(&self, args: &[&str]) -> Answer {
        for (verb, ids) in ["rm", "sem_rm", "msg_rm"].into_iter().zip(args) {
            for id in ids.split(',').filter(|id| *id != "-") {
                let _ = self.perform_one(verb, &[id]);
            }
        }
        let left = |verb| self.perform_one(verb, &[]).map(|text| text.split(' ').skip(1).take(2).collect::<Vec<_>>().join(" "));
        Ok(format!("segments {} sets {} queues {}", left("shm_info")?, left("sem_usage")?, left("msg_usage")?))
    }

    fn perform_one(&self, verb: &str, args: &[&str]) -> Answer {
        let answer = calls::perform(&self.interface, verb, args)
            .or_else(|| sem::perform(&self.interface, verb, args))
            .or_else(|| msg::perform(&self.interface, verb, args))
            .or_else(|| memory::perform(verb, args))
            .or_else(|| process::perform(&self.args, verb, args));
        answer.unwrap_or_else(|| {
            eprintln!("agent: no such command: {verb}");
            Err(libc::ENOTSUP)
        })
    }
}

/// Reads the next command without its newline. Returns `None` when the connection is closed.
fn read_line() -> Option<String> {
    let mut line = Vec::new();
    let mut piece = [0; 512];
    while line.last() != Some(&b'\n') {
        let n = c::read_control(&mut piece)?;
        line.extend_from_slice(&piece[..n]);
    }
    line.pop();
    String::from_utf8(line).ok()
}

fn reply(answer: &Answer) {
    let line = match answer {
        Ok(values) if values.is_empty() => "ok\n".to_owned(),
        Ok(values) => format!("ok {values}\n"),
        Err(errno) => format!("err {errno}\n"),
    };
    c::write_control(line.as_bytes());
}

/// Parses a number in a command. Commands come from the controller in the same crate, so an invalid
/// one is a bug there.
fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse().unwrap_or_else(|_| panic!("not a number: {word}"))
}
