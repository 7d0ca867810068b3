//! Random programs of several processes, run on the kernel and on Quintet, every result compared.
//!
//! A [`Program`], over segments, semaphore sets, message queues or all of them together, is [generated](Program::generate) from a number. A [`Stage`] runs it on a
//! subject and tells each call's result in words that mean the same on every subject: identifiers are numbered as they appear, processes go by
//! their place in the program, times are "never" or "set". [`Duel`] runs programs on two stages, and where they tell
//! different things it looks for the shortest program that still does.
//!
//! What happens when is fixed by states, not by time: after each step whoever was made to wait sleeps and is counted, and
//! whoever waits no longer has answered.

mod duel;
mod figures;
mod generate;
pub mod queues;
mod scene;
pub mod segments;
pub mod sets;
mod shrink;
mod stage;
pub mod stop;
mod troupe;

pub use duel::{Difference, Duel, keep_to_one_processor};
pub use figures::Figures;
pub use stage::Stage;

use crate::{NOBODY, STRANGER};
use std::fmt;

/// A program has at most so many processes, the forked ones included.
pub const PROCESSES: usize = 6;

/// Who a process is at its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum User {
    /// Who runs the tests; root if there are to be several users.
    Tester,
    /// 65534, in its own group.
    Nobody,
    /// 12345, in its own group.
    Stranger,
    /// 7, in nobody's group and in the stranger's.
    Member,
}

impl User {
    /// Its uid, gid and supplementary groups.
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
pub enum Regime {
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

impl Regime {
    /// The limit that it changes, its value, and the default.
    pub(crate) fn limit(self) -> Option<(&'static str, i128, i128)> {
        let unlimited = i128::from(u64::MAX - (1 << 24));
        match self {
            Regime::Default => None,
            Regime::FewSegments => Some(("shmmni", 3, 4096)),
            Regime::FewPages => Some(("shmall", 5, unlimited)),
            Regime::SmallSegments => Some(("shmmax", 4096, unlimited)),
            Regime::Forced => Some(("shm_rmid_forced", 1, 0)),
            Regime::FewSets => Some(("semmni", 3, 32000)),
            Regime::FewSemaphores => Some(("semmns", 6, 1_024_000_000)),
            Regime::SmallSets => Some(("semmsl", 2, 32000)),
            Regime::FewOperations => Some(("semopm", 2, 500)),
            Regime::FewQueues => Some(("msgmni", 3, 32000)),
            Regime::ShortMessages => Some(("msgmax", 8, 8192)),
            Regime::SmallQueues => Some(("msgmnb", 12, 16384)),
        }
    }
}

/// What a program is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum About {
    /// Shared memory.
    Segments,
    /// Semaphores.
    Sets,
    /// Message queues.
    Queues,
    /// The three together.
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
            _ => Err(format!("programs are not about '{text}', but about segments, sets, queues or all")),
        }
    }
}

/// Some calls by some processes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// The limits.
    pub regime: Regime,
    /// Whether all segments are looked at after each step that may have changed one. If not, what the dead have left is first seen by whoever comes next.
    pub watched: bool,
    /// The processes that are there at the start.
    pub cast: Vec<User>,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

/// A call by a process. If that is not there (any more), or waits in a call, by the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Which process, 0..[`PROCESSES`].
    pub who: usize,
    /// What it does.
    pub call: Call,
}

/// What a process does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Call {
    Segments(segments::Call),
    Sets(sets::Call),
    Queues(queues::Call),
    /// A signal, which is handled, to one that waits.
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
    ExitAtOnce,
    /// Also of one that waits.
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

/// Who takes part, and under which limits; the steps are told with their results.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.regime != Regime::Default {
            writeln!(f, "  limits: {:?}", self.regime)?;
        }
        if self.watched {
            writeln!(f, "  all segments are looked at after each step")?;
        }
        self.cast.iter().enumerate().try_for_each(|(who, user)| writeln!(f, "  P{who} is {user:?}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P{} ", self.who)?;
        match self.call {
            Call::Segments(call) => write!(f, "{call}"),
            Call::Sets(call) => write!(f, "{call}"),
            Call::Queues(call) => write!(f, "{call}"),
            call => write!(f, "{call:?}"),
        }
    }
}
