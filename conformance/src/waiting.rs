//! Calls that block, and signals that interrupt them.

use crate::{Agent, Outcome};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::BufRead;
use std::time::Duration;

/// The system calls in which a blocked caller sleeps, in the kernel or in Quintet.
const SLEEPING: [i64; 6] =
    [libc::SYS_semop, libc::SYS_semtimedop, libc::SYS_msgsnd, libc::SYS_msgrcv, libc::SYS_futex, libc::SYS_futex_waitv];

/// Signals.
impl Agent {
    /// Installs a signal handler that counts.
    pub fn handle(&self, signal: i32, restart: bool) {
        self.ask_done(format_args!("handle {signal} {}", if restart { "restart" } else { "plain" })).expect("sigaction");
    }

    /// Ignores a signal.
    pub fn ignore(&self, signal: i32) {
        self.ask_done(format_args!("ignore {signal}")).expect("signal");
    }

    /// Returns how often the signal handler has run.
    pub fn handled(&self) -> i32 {
        self.ask_number("handled").expect("a number")
    }
}

/// Calls that block.
impl Agent {
    /// Starts a command. Its answer is read later.
    pub(crate) fn start(&self, command: &str) {
        self.send(&format!("begin {command}"));
        self.busy.set(true);
        let mut line = String::new();
        self.control.borrow_mut().read_line(&mut line).expect("the agent's reply");
        assert_eq!(line, "begin\n", "{command}");
    }

    /// Returns `true` if the started call has returned.
    pub fn has_answered(&self) -> bool {
        self.answers_within(Duration::ZERO)
    }

    /// Returns `true` if the started call returns before the timeout.
    pub(crate) fn answers_within(&self, timeout: Duration) -> bool {
        let control = self.control.borrow();
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        let mut fds = [PollFd::new(control.get_ref(), PollFlags::IN)];
        !control.buffer().is_empty() || poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0)
    }

    /// Blocks until the started call has returned.
    pub fn answer(&self) -> Outcome<()> {
        self.answer_in_words().map(|rest| assert_eq!(rest, ""))
    }

    /// Returns the answer of the started call as text.
    pub(crate) fn answer_in_words(&self) -> Outcome<String> {
        let outcome = self.receive("the call that was started");
        self.busy.set(false);
        outcome
    }

    /// Returns `true` if the first thread sleeps.
    pub fn sleeps(&self) -> bool {
        self.thread_state(self.pid) == 'S'
    }

    /// Returns the state of a thread as `/proc` shows it, `X` if it does not exist.
    pub fn thread_state(&self, tid: i32) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/task/{tid}/stat", self.pid)).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, fields)| fields.chars().next()).unwrap_or('X')
    }

    /// Returns `true` if a thread sleeps in the system call of this number.
    pub(crate) fn sleeps_in(&self, tid: i32, call: i64) -> bool {
        let answer = std::fs::read_to_string(format!("/proc/{}/task/{tid}/syscall", self.pid)).unwrap_or_default();
        answer.split(' ').next().and_then(|number| number.parse().ok()) == Some(call) && self.thread_state(tid) == 'S'
    }

    /// Returns `true` if the agent sleeps in one of the calls that may block.
    pub(crate) fn sleeps_in_a_call(&self) -> bool {
        let answer = std::fs::read_to_string(format!("/proc/{}/syscall", self.pid)).unwrap_or_default();
        let number = answer.split(' ').next().and_then(|number| number.parse().ok());
        number.is_some_and(|number| SLEEPING.contains(&number))
    }

    /// Blocks until the call of a started thread has returned.
    pub fn join(&self, tid: i32) -> Outcome<()> {
        self.ask_done(format_args!("join {tid}"))
    }
}
