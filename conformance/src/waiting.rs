//! Calls that wait, of whatever kind, and signals that interrupt them.

use crate::{Agent, Outcome};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::BufRead;
use std::time::Duration;

/// The system calls in which who waits for an object sleeps, in the kernel or in Quintet.
const SLEEPING: [i64; 6] =
    [libc::SYS_semop, libc::SYS_semtimedop, libc::SYS_msgsnd, libc::SYS_msgrcv, libc::SYS_futex, libc::SYS_futex_waitv];

/// Signals.
impl Agent {
    /// Installs a handler that counts.
    pub fn handle(&self, signal: i32, restart: bool) {
        self.ask_done(format_args!("handle {signal} {}", if restart { "restart" } else { "plain" })).expect("sigaction");
    }

    /// Has a signal ignored.
    pub fn ignore(&self, signal: i32) {
        self.ask_done(format_args!("ignore {signal}")).expect("signal");
    }

    /// How often the handler has run.
    pub fn handled(&self) -> i32 {
        self.ask_number("handled").expect("a number")
    }
}

/// Calls that wait.
impl Agent {
    /// Has it perform a command whose answer is taken later.
    pub(crate) fn start(&self, command: &str) {
        self.send(&format!("begin {command}"));
        self.busy.set(true);
        let mut line = String::new();
        self.control.borrow_mut().read_line(&mut line).expect("an agent that lives");
        assert_eq!(line, "begin\n", "{command}");
    }

    /// Whether the call that was started has ended.
    pub fn has_answered(&self) -> bool {
        self.answers_within(Duration::ZERO)
    }

    /// Whether the call that was started ends before `patience` does.
    pub(crate) fn answers_within(&self, patience: Duration) -> bool {
        let control = self.control.borrow();
        let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: i64::from(patience.subsec_nanos()) };
        let mut fds = [PollFd::new(control.get_ref(), PollFlags::IN)];
        !control.buffer().is_empty() || poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0)
    }

    /// Waits for the end of the call that was started.
    pub fn answer(&self) -> Outcome<()> {
        self.answer_in_words().map(|rest| assert_eq!(rest, ""))
    }

    /// What the call that was started gave, as the agent says it.
    pub(crate) fn answer_in_words(&self) -> Outcome<String> {
        let outcome = self.receive("the call that was started");
        self.busy.set(false);
        outcome
    }

    /// Whether its first thread sleeps.
    pub fn sleeps(&self) -> bool {
        self.thread_state(self.pid) == 'S'
    }

    /// The state of a thread as `/proc` shows it; `X` if it is gone.
    pub fn thread_state(&self, tid: i32) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/task/{tid}/stat", self.pid)).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, fields)| fields.chars().next()).unwrap_or('X')
    }

    /// Whether a thread sleeps in the system call of this number.
    pub(crate) fn sleeps_in(&self, tid: i32, call: i64) -> bool {
        let told = std::fs::read_to_string(format!("/proc/{}/task/{tid}/syscall", self.pid)).unwrap_or_default();
        told.split(' ').next().and_then(|number| number.parse().ok()) == Some(call) && self.thread_state(tid) == 'S'
    }

    /// Whether it sleeps in one of the calls that may wait, or as they do in Quintet.
    pub(crate) fn sleeps_in_a_call(&self) -> bool {
        let told = std::fs::read_to_string(format!("/proc/{}/syscall", self.pid)).unwrap_or_default();
        let number = told.split(' ').next().and_then(|number| number.parse().ok());
        number.is_some_and(|number| SLEEPING.contains(&number))
    }

    /// Waits for the end of the call of a thread that was started.
    pub fn join(&self, tid: i32) -> Outcome<()> {
        self.ask_done(format_args!("join {tid}"))
    }
}
