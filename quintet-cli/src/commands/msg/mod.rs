//! `quintet msg`: the messages of a queue, for scripts.

mod content;
mod peek;
mod recv;
mod selection;
mod send;
mod watch;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use quintet::{Errno, Id, Namespace};
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
EXAMPLES:
  queue=$(quintet create msg --key 0x4d2)
  quintet msg send $queue 'hello'          one message, of type 1
  quintet msg recv $queue                  take the first one, or wait for it
  ls | quintet msg send $queue --lines     each line is a message
  quintet msg recv $queue --follow --line  print them all, as they come
  quintet msg peek $queue                  look, and take none";

/// Send, receive and look at the messages of a queue
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Send(send::Args),
    #[command(visible_alias = "receive")]
    Recv(recv::Args),
    Peek(peek::Args),
}

impl Args {
    pub fn name(&self) -> &'static str {
        match self.command {
            Command::Send(_) => "msg send",
            Command::Recv(_) => "msg recv",
            Command::Peek(_) => "msg peek",
        }
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    match &args.command {
        Command::Send(args) => send::run(context, args),
        Command::Recv(args) => recv::run(context, args),
        Command::Peek(args) => peek::run(context, args),
    }
}

/// For how long a call may wait.
#[derive(clap::Args)]
struct Patience {
    /// How long to wait at most, for each message: seconds, or with ms, s, m, h [default: without end]
    #[arg(long, value_name = "TIME", value_parser = crate::duration::parse)]
    timeout: Option<Duration>,

    /// Do not wait
    #[arg(long, conflicts_with = "timeout")]
    no_wait: bool,
}

impl Patience {
    /// As the calls take it.
    fn limit(&self) -> Option<Duration> {
        if self.no_wait { Some(Duration::ZERO) } else { self.timeout }
    }

    /// " within 5s", if that is said.
    fn within(&self) -> String {
        let time = self.timeout.filter(|time| !time.is_zero());
        time.map_or(String::new(), |time| format!(" within {time:?}"))
    }

    /// Calls until it is not interrupted by a signal, with what is left of the time; `give_up` is asked after each interruption.
    fn wait<T>(
        &self,
        mut call: impl FnMut(Option<Duration>) -> Result<T, Errno>,
        give_up: impl Fn() -> bool,
    ) -> Result<T, Errno> {
        let (start, limit) = (Instant::now(), self.limit());
        loop {
            match call(limit.map(|limit| limit.saturating_sub(start.elapsed()))) {
                Err(Errno::INTR) if !give_up() => {}
                done => return done,
            }
        }
    }
}

/// A call on queue `id` that failed: "cannot `what`: why".
fn refusal(ns: &Namespace, id: Id, what: &str, errno: Errno) -> Failure {
    let is_there = || ns.msg_stat_index(i32::from(id.index()), true).is_ok_and(|stat| stat.id == id);
    let (why, remedy) = match errno {
        Errno::INVAL if !is_there() => ("it has just been removed (EINVAL)".to_owned(), None),
        Errno::IDRM => ("it was removed meanwhile (EIDRM)".to_owned(), None),
        Errno::ACCES => {
            ("its mode does not grant this (EACCES)".to_owned(), Some(format!("'quintet stat msg:{id}' shows owner and mode")))
        }
        Errno::OPNOTSUPP => (
            "the kernel's queues know no timeout (EOPNOTSUPP)".to_owned(),
            Some("wait without end, or give --no-wait, or use timeout(1)".to_owned()),
        ),
        Errno::NOMEM => (
            "there is no room in memory or in the namespace's file system (ENOMEM)".to_owned(),
            Some("'quintet doctor' tells how much there is".to_owned()),
        ),
        _ => (errno.to_string(), None),
    };
    let failure = Failure::new(format!("cannot {what}: {why}")).errno(errno);
    remedy.into_iter().fold(failure, Failure::remedy)
}

/// A call that would have to wait, or has waited for as long as it may.
fn would_wait(id: Id, what: &str, why: &str, errno: Errno) -> Failure {
    let failure = Failure::new(format!("cannot {what}: {why} ({errno:?})")).errno(errno).exit(Exit::WouldWait);
    failure.remedy(format_args!("'quintet stat msg:{id}' shows what is in it, and who waits"))
}

/// A type, 1 or more.
fn parse_type(text: &str) -> Result<i64, String> {
    match text.parse() {
        Ok(mtype @ 1..) => Ok(mtype),
        _ => Err(format!("'{text}' is no type of a message: give a number from 1 to {}", i64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_begin_at_1() {
        assert_eq!((parse_type("1"), parse_type("9223372036854775807")), (Ok(1), Ok(i64::MAX)));
        for text in ["0", "-1", "9223372036854775808", "", "x", "1.5"] {
            assert!(parse_type(text).unwrap_err().contains("is no type of a message: give a number from 1"), "{text}");
        }
    }

    #[test]
    fn what_is_interrupted_is_called_again_with_the_rest_of_the_time() {
        let patience = Patience { timeout: Some(Duration::from_secs(100)), no_wait: false };
        let mut left = Vec::new();
        let mut call = |time: Option<Duration>| {
            left.push(time.unwrap());
            if left.len() < 3 { Err(Errno::INTR) } else { Ok(7) }
        };
        assert_eq!(patience.wait(&mut call, || false), Ok(7));
        assert!(left.is_sorted_by(|a, b| a >= b) && left[0] <= Duration::from_secs(100), "{left:?}");
        assert_eq!(patience.wait(|_| Err::<(), _>(Errno::INTR), || true), Err(Errno::INTR));
        let patience = Patience { timeout: None, no_wait: true };
        assert_eq!(patience.wait(Ok, || false), Ok(Some(Duration::ZERO)));
    }
}
