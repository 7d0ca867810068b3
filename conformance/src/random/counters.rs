//! Counts of what has been run.

use std::fmt;
use std::ops::{AddAssign, Sub};

/// Counts for one program or many.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Programs run to the end.
    pub programs: u64,
    /// Calls with compared results, including those at the end of a program.
    pub calls: u64,
    /// Calls that blocked.
    pub waits: u64,
    /// Blocked calls that succeeded or failed later.
    pub answered: u64,
    /// Blocked calls that a signal handler interrupted. The remaining ones ended with their
    /// process.
    pub interrupted: u64,
    /// Forks within programs.
    pub forks: u64,
    /// Execs within programs.
    pub execs: u64,
    /// Exits, including those at the end of a program.
    pub exits: u64,
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Counters) {
        self.programs += other.programs;
        self.calls += other.calls;
        self.waits += other.waits;
        self.answered += other.answered;
        self.interrupted += other.interrupted;
        self.forks += other.forks;
        self.execs += other.execs;
        self.exits += other.exits;
    }
}

impl Sub for Counters {
    type Output = Counters;

    fn sub(self, other: Counters) -> Counters {
        Counters {
            programs: self.programs - other.programs,
            calls: self.calls - other.calls,
            waits: self.waits - other.waits,
            answered: self.answered - other.answered,
            interrupted: self.interrupted - other.interrupted,
            forks: self.forks - other.forks,
            execs: self.execs - other.execs,
            exits: self.exits - other.exits,
        }
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counters { programs, calls, waits, answered, interrupted, forks, execs, exits } = self;
        write!(f, "{programs} programs, {calls} calls, {waits} waits ({answered} answered, {interrupted} interrupted), ")?;
        write!(f, "{forks} forks, {execs} execs, {exits} exits")
    }
}
