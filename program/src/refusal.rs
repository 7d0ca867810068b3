//! Why a program cannot be intercepted, and what follows.

use crate::file::describe;
use rustix::io::Errno;

/// Why a program cannot run with the drop-in. The parts of the message `cannot execute PATH: REASON
/// (ERRNO); HINT`.
#[derive(Debug)]
pub struct Refusal {
    /// The reason: a clause with the subject "it", or the system's message.
    pub reason: String,
    /// The error of execve(2), if it would fail.
    pub errno: Option<Errno>,
    /// A hint for the user.
    pub remedy: Option<String>,
    /// What happens if the program runs anyway.
    pub effect: Effect,
}

/// What happens to a program that cannot be intercepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// It cannot run at all.
    Fails,
    /// It runs without the drop-in, and passes the environment to its children.
    Bypassed,
    /// Its loader fails if `LD_PRELOAD` names the drop-in.
    Hindered,
}

impl Refusal {
    /// See [`Effect::Fails`].
    pub(crate) fn new(reason: impl Into<String>, errno: Errno) -> Refusal {
        Refusal { reason: reason.into(), errno: Some(errno), remedy: None, effect: Effect::Fails }
    }

    /// Returns the refusal of a program for which a system call fails.
    pub(crate) fn system(errno: Errno) -> Refusal {
        Refusal::new(describe(errno), errno)
    }

    /// See [`Effect::Bypassed`].
    pub(crate) fn bypassed(reason: impl Into<String>) -> Refusal {
        Refusal { reason: reason.into(), errno: None, remedy: None, effect: Effect::Bypassed }
    }

    /// See [`Effect::Hindered`].
    pub(crate) fn hindered(reason: impl Into<String>) -> Refusal {
        Refusal { effect: Effect::Hindered, ..Refusal::bypassed(reason) }
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Refusal {
        self.remedy = Some(remedy.into());
        self
    }
}
