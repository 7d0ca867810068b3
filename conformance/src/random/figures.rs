//! What has been run, counted.

use std::fmt;
use std::ops::{AddAssign, Sub};

/// Of one program or many.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Figures {
    /// Programs run to their end.
    pub programs: u64,
    /// Calls whose results were compared, those at a program's end included.
    pub calls: u64,
    /// Calls that waited.
    pub waits: u64,
    /// Those of them that were served or refused at last.
    pub answered: u64,
    /// Those that a handler interrupted; the others ended with their process.
    pub interrupted: u64,
    /// Processes forked in the course of programs.
    pub forks: u64,
    /// New images.
    pub execs: u64,
    /// Deaths, those at a program's end included.
    pub deaths: u64,
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Figures) {
        self.programs += other.programs;
        self.calls += other.calls;
        self.waits += other.waits;
        self.answered += other.answered;
        self.interrupted += other.interrupted;
        self.forks += other.forks;
        self.execs += other.execs;
        self.deaths += other.deaths;
    }
}

impl Sub for Figures {
    type Output = Figures;

    fn sub(self, other: Figures) -> Figures {
        Figures {
            programs: self.programs - other.programs,
            calls: self.calls - other.calls,
            waits: self.waits - other.waits,
            answered: self.answered - other.answered,
            interrupted: self.interrupted - other.interrupted,
            forks: self.forks - other.forks,
            execs: self.execs - other.execs,
            deaths: self.deaths - other.deaths,
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { programs, calls, waits, answered, interrupted, forks, execs, deaths } = self;
        write!(f, "{programs} programs, {calls} calls, {waits} waits ({answered} answered, {interrupted} interrupted), ")?;
        write!(f, "{forks} forks, {execs} execs, {deaths} deaths")
    }
}
