//! Programs: processes, limits and steps.

use super::{queues, segments, sets};
use crate::{NOBODY, STRANGER};
use std::fmt;

/// Maximal number of processes of a program, including forked ones.
pub const PROCESSES: usize = 6;

/// The user of a process at its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum User {
    /// The user that runs the tests: root if there are several users.
    Tester,
    /// User 65534 in its own group.
    Nobody,
    /// User 12345 in its own group.
    Stranger,
    /// User 7 in the groups of the two users above.
    Member,
}

impl User {
    /// Returns the user id, the group id and the supplementary groups.
    pub(crate) fn ids(self) -> Option<(u32, u32, &'static [u32])> {
        match self {
            User::Tester => None,
            User::Nobody => Some((NOBODY, NOBODY, &[])),
            User::Stranger => Some((STRANGER, STRANGER, &[])),
            User::Member => Some((7, NOBODY, &[STRANGER])),
        }
    }
}

/// The limits under which a program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LimitProfile {
    /// The system's defaults.
    Default,
    /// `shmmni` 3.
    FewSegments,
    /// `shmall` 5.
    FewPages,
    /// `shmmax` 4096.
    SmallSegments,
    /// `shm_rmid_forced`.
    Forced,
    /// `semmni` 3.
    FewSets,
    /// `semmns` 6.
    FewSemaphores,
    /// `semmsl` 2.
    SmallSets,
    /// `semopm` 2.
    FewOperations,
    /// `msgmni` 3.
    FewQueues,
    /// `msgmax` 8.
    ShortMessages,
    /// `msgmnb` 12.
    SmallQueues,
}

impl LimitProfile {
    /// Returns the limit that it changes, its value, and the default.
    pub(crate) fn limit(self) -> Option<(&'static str, i128, i128)> {
        let unlimited = i128::from(u64::MAX - (1 << 24));
        match self {
            LimitProfile::Default => None,
            LimitProfile::FewSegments => Some(("shmmni", 3, 4096)),
            LimitProfile::FewPages => Some(("shmall", 5, unlimited)),
            LimitProfile::SmallSegments => Some(("shmmax", 4096, unlimited)),
            LimitProfile::Forced => Some(("shm_rmid_forced", 1, 0)),
            LimitProfile::FewSets => Some(("semmni", 3, 32000)),
            LimitProfile::FewSemaphores => Some(("semmns", 6, 1_024_000_000)),
            LimitProfile::SmallSets => Some(("semmsl", 2, 32000)),
            LimitProfile::FewOperations => Some(("semopm", 2, 500)),
            LimitProfile::FewQueues => Some(("msgmni", 3, 32000)),
            LimitProfile::ShortMessages => Some(("msgmax", 8, 8192)),
            LimitProfile::SmallQueues => Some(("msgmnb", 12, 16384)),
        }
    }
}

/// The objects that a program uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum About {
    /// Shared memory segments.
    Segments,
    /// Semaphore sets.
    Sets,
    /// Message queues.
    Queues,
    /// All three.
    All,
}

impl std::str::FromStr for About {
    type Err = String;

    fn from_str(text: &str) -> Result<About, String> {
        match text {
            "segments" => Ok(About::Segments),
            "sets" => Ok(About::Sets),
            "queues" => Ok(About::Queues),
            "all" => Ok(About::All),
            _ => Err(format!("invalid value '{text}' for --about: use segments, sets, queues or all")),
        }
    }
}

/// Calls by several processes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// The limits.
    pub limit_profile: LimitProfile,
    /// If `true`, all segments are read after each step that may have changed one. If `false`, the
    /// next call is the first to notice what an exited process left.
    pub watched: bool,
    /// The users of the processes that exist at the start.
    pub processes: Vec<User>,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

/// A call by a process. If that process does not exist or is blocked, the next one makes the call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The slot of the process, below [`PROCESSES`].
    pub slot: usize,
    /// The call.
    pub call: Call,
}

/// What a process does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Call {
    Segments(segments::Call),
    Sets(sets::Call),
    Queues(queues::Call),
    /// A signal with a handler, sent to a blocked process.
    Interrupt,
    Fork {
        child: usize,
    },
    Vfork {
        child: usize,
    },
    Exec,
    FailingExec,
    Exit,
    ExitImmediately,
    /// May hit a blocked process.
    Kill {
        signal: i32,
    },
    CloseFrom,
    /// The tester becomes another user for good.
    Become {
        user: User,
    },
}

impl From<segments::Call> for Call {
    fn from(call: segments::Call) -> Call {
        Call::Segments(call)
    }
}

impl From<sets::Call> for Call {
    fn from(call: sets::Call) -> Call {
        Call::Sets(call)
    }
}

impl From<queues::Call> for Call {
    fn from(call: queues::Call) -> Call {
        Call::Queues(call)
    }
}

/// Writes users and limits. The steps are written with their results.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.limit_profile != LimitProfile::Default {
            writeln!(f, "  limits: {:?}", self.limit_profile)?;
        }
        if self.watched {
            writeln!(f, "  all segments are read after each step")?;
        }
        self.processes.iter().enumerate().try_for_each(|(slot, user)| writeln!(f, "  P{slot} is {user:?}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P{} ", self.slot)?;
        match self.call {
            Call::Segments(call) => write!(f, "{call}"),
            Call::Sets(call) => write!(f, "{call}"),
            Call::Queues(call) => write!(f, "{call}"),
            call => write!(f, "{call:?}"),
        }
    }
}
