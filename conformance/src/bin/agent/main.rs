//! The agent: a process that makes the calls it is told to, one command a line, one answer a line.
//!
//! Its control connection is descriptor 0, a Unix socket, so that it may close every other. An answer is
//! `ok` and values, or `err` and an errno. At the connection's end the agent exits. After `begin` a command is answered
//! twice: by `begin` when it is about to be performed, then as always.
//!
//! `agent libc` makes the calls through libc's functions, which a preloaded library may carry elsewhere;
//! `agent library DIRECTORY KIND` through the verbs of `quintet::Namespace`;
//! `--unshare` before that gives it an IPC namespace of its own; `--aside` does where that takes no user namespace.

mod c;
mod c_msg;
mod c_sem;
mod calls;
mod memory;
mod msg;
mod process;
mod sem;
mod threads;

use calls::Face;

/// An answer's values, or an errno.
type Answer = Result<String, i32>;

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == "--unshare") {
        args.remove(0);
        let errno = process::unshare_and_exec(&args);
        reply(&Err(errno));
        return;
    }
    if args.first().is_some_and(|a| a == "--aside") {
        args.remove(0);
        process::step_aside();
    }
    let Some(face) = Face::of(&args) else {
        eprintln!("usage: agent [--unshare | --aside] (libc | library DIRECTORY private|shared)");
        std::process::exit(2);
    };
    c::default_signals();
    memory::reserve_pad();
    let agent = Agent { face, args };
    reply(&Ok(std::process::id().to_string()));
    agent.serve();
}

/// What the agent knows between commands.
struct Agent {
    face: Face,
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
            "survey" => self.survey(args),
            "clear" => self.clear(args),
            verb => self.perform_one(verb, args),
        }
    }

    /// Of segments, sets and queues, each in a list of identifiers or `-`, all that is to be seen.
    fn survey(&self, args: &[&str]) -> Answer {
        let see = |(verb, ids): (&str, &&str)| match *ids {
            "-" => Ok(String::new()),
            ids => self.perform_one(verb, &[ids]),
        };
        let parts = ["shm_survey", "sem_survey", "msg_survey"].into_iter().zip(args).map(see);
        parts.collect::<Result<Vec<_>, _>>().map(|parts| parts.join("/"))
    }

    /// Removes segments, sets and queues, and tells what there is then; not the highest index in use.
    fn clear(&self, args: &[&str]) -> Answer {
        for (verb, ids) in ["rm", "sem_rm", "msg_rm"].into_iter().zip(args) {
            for id in ids.split(',').filter(|id| *id != "-") {
                let _ = self.perform_one(verb, &[id]);
            }
        }
        let left = |verb| self.perform_one(verb, &[]).map(|told| told.split(' ').skip(1).take(2).collect::<Vec<_>>().join(" "));
        Ok(format!("segments {} sets {} queues {}", left("shm_info")?, left("sem_usage")?, left("msg_usage")?))
    }

    fn perform_one(&self, verb: &str, args: &[&str]) -> Answer {
        let answer = calls::perform(&self.face, verb, args)
            .or_else(|| sem::perform(&self.face, verb, args))
            .or_else(|| msg::perform(&self.face, verb, args))
            .or_else(|| memory::perform(verb, args))
            .or_else(|| process::perform(&self.args, verb, args));
        answer.unwrap_or_else(|| {
            eprintln!("agent: no such command: {verb}");
            Err(libc::ENOTSUP)
        })
    }
}

/// The next command, without its newline; `None` at the end of the connection.
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

/// The number in a command's word; commands come from the controller of the same crate, so a bad one is its bug.
fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse().unwrap_or_else(|_| panic!("not a number: {word}"))
}
