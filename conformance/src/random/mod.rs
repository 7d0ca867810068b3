//! Random programs of several processes, run on the kernel and on Quintet, every result compared.
//!
//! A [`Program`], over segments, semaphore sets or message queues, is [generated](Program::generate) from a number. A [`Stage`] runs it on a subject and tells each call's
//! result in words that mean the same on every subject: identifiers are numbered as they appear, processes go by
//! their place in the program, times are "never" or "set". [`Duel`] runs programs on two stages, and where they tell
//! different things it looks for the shortest program that still does.

mod duel;
mod generate;
pub mod queues;
pub mod sets;
mod shrink;
mod stage;
mod troupe;

pub use duel::{Difference, Duel};
pub use stage::Stage;

use crate::{NOBODY, STRANGER};
use std::fmt;

/// Identifiers are kept in so many registers, which all processes of a program share.
pub const REGISTERS: usize = 5;
/// Each process keeps so many addresses.
pub const HOLDS: usize = 3;
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
pub enum Mechanism {
    /// Shared memory.
    Segments,
    /// Semaphores.
    Sets,
    /// Message queues.
    Queues,
}

impl std::str::FromStr for Mechanism {
    type Err = String;

    fn from_str(text: &str) -> Result<Mechanism, String> {
        match text {
            "segments" => Ok(Mechanism::Segments),
            "sets" => Ok(Mechanism::Sets),
            "queues" => Ok(Mechanism::Queues),
            _ => Err(format!("programs are not about '{text}', but about segments, sets or queues")),
        }
    }
}

/// Some calls by some processes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// Whether its steps are calls of [`sets`], of [`queues`], or the others.
    pub mechanism: Mechanism,
    /// The limits.
    pub regime: Regime,
    /// The processes that are there at the start.
    pub cast: Vec<User>,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

/// A call by a process; nothing if that is not there (any more).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Which process, 0..[`PROCESSES`].
    pub who: usize,
    /// What it does.
    pub call: Call,
}

/// Where to attach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Where the system chooses.
    Anywhere,
    /// At a page of the pad, and so many bytes further.
    Pad(usize, usize),
}

/// What a process does. `register` holds an identifier, `hold` an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Call {
    Get {
        register: usize,
        key: i32,
        size: u64,
        flags: i32,
    },
    Attach {
        register: usize,
        place: Place,
        flags: i32,
        hold: usize,
    },
    Detach {
        hold: usize,
    },
    DetachPad {
        page: usize,
    },
    Stat {
        register: usize,
    },
    StatIndex {
        register: usize,
        any: bool,
    },
    Set {
        register: usize,
        uid: u32,
        gid: u32,
        mode: u32,
    },
    Remove {
        register: usize,
    },
    Lock {
        register: usize,
    },
    Unlock {
        register: usize,
    },
    Info,
    Usage,
    List,
    Poke {
        hold: usize,
        offset: usize,
        byte: u8,
    },
    Peek {
        hold: usize,
        offset: usize,
    },
    Probe {
        hold: usize,
    },
    /// Unmaps a page of the pad where no segment is.
    Free {
        page: usize,
    },
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
    Kill {
        signal: i32,
    },
    CloseFrom,
    /// The tester becomes another user for good.
    Become {
        user: User,
    },
    /// All that programs over sets do.
    Sets(sets::Call),
    /// All that programs over queues do.
    Queues(queues::Call),
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
        self.cast.iter().enumerate().try_for_each(|(who, user)| writeln!(f, "  P{who} is {user:?}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P{} ", self.who)?;
        match self.call {
            Call::Get { register, key, size, flags } => write!(f, "r{register} = shmget({key}, {size}, {flags:#o})"),
            Call::Attach { register, place, flags, hold } => {
                write!(f, "a{hold} = shmat(r{register}, {place:?}, {flags:#o})")
            }
            Call::Set { register, uid, gid, mode } => write!(f, "IPC_SET(r{register}, {uid}, {gid}, {mode:#o})"),
            Call::Sets(call) => write!(f, "{call}"),
            Call::Queues(call) => write!(f, "{call}"),
            call => write!(f, "{call:?}"),
        }
    }
}
