//! Operations by name, and what is done with them: killed at each instruction, stopped at each, killed while it is made good.
//!
//! # Safety
//!
//! The raw calls redirect this process's own output, and end its own children.
#![allow(unsafe_code)]

mod kill;
mod stop;

use crate::support::{Scenario, Stepper, kill, names, reap};
use std::cell::{Cell, RefCell};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Something that a process does, at each instruction of which it can be killed.
pub struct Operation {
    /// What it is called, with its mechanism before it.
    pub name: &'static str,
    /// Runs it as it is told.
    pub run: fn(&Run),
}

/// What is done with an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// What tests have time for: killed after every so many of the stores that others see, then at a sample of all instructions, and stopped at one.
    Sample(usize),
    /// Killed at every so many instructions.
    Kill(usize),
    /// The same, but restartable sequences have been broken off.
    KillBroken(usize),
    /// Stopped at every so many instructions.
    Stop(usize),
    /// Killed at so many of the points at which a lock is held; then its successor at every so many instructions.
    Recover(usize, usize),
}

/// What came of it.
#[derive(Clone, Default, Debug)]
pub struct Report {
    /// What was found in the operation.
    pub instructions: usize,
    /// System calls in it.
    pub calls: usize,
    /// Kills, or stops.
    pub runs: usize,
    /// How many of them were not where they should have been, because the operation went another way.
    pub elsewhere: usize,
    /// How many of them with a lock held.
    pub with_lock: usize,
    /// What is wrong, each with its place.
    pub violations: Vec<String>,
    /// The longest time until the next operation had succeeded, in microseconds.
    pub longest: u32,
}

/// One operation under one plan.
pub struct Run<'a> {
    /// The operation's name.
    pub name: &'a str,
    /// What is done with it.
    pub plan: Plan,
    directory: &'a Path,
    number: Cell<usize>,
    stepper: RefCell<Stepper>,
    /// Where the output of what goes wrong is collected; in a test it goes wrong at once.
    log: Option<std::fs::File>,
    /// What came of it so far.
    pub report: RefCell<Report>,
}

impl<'a> Run<'a> {
    /// In a directory of its own. Violations are collected if there is a log, which the output goes to.
    pub fn new(name: &'a str, plan: Plan, directory: &'a Path, log: Option<std::fs::File>) -> Run<'a> {
        Run { name, plan, directory, number: Cell::default(), stepper: RefCell::default(), log, report: RefCell::default() }
    }

    /// A directory that nobody has used.
    pub fn fresh(&self) -> PathBuf {
        self.number.set(self.number.get() + 1);
        self.directory.join(self.number.get().to_string())
    }

    /// The whole directory, for who needs further rights in it.
    pub fn directory(&self) -> &Path {
        self.directory
    }

    /// Whether what takes a minute is left out: `cargo xtask crash` has it.
    pub fn is_short(&self) -> bool {
        matches!(self.plan, Plan::Sample(_))
    }

    /// Does the plan to a scenario.
    pub fn carry_out(&self, scenario: &Scenario<'_>) {
        self.stepper.borrow_mut().breaks_off = matches!(self.plan, Plan::KillBroken(_));
        match self.plan {
            Plan::Sample(thinned) => self.sample(scenario, thinned),
            Plan::Kill(every) | Plan::KillBroken(every) => self.kill_each(scenario, None, every),
            Plan::Stop(every) => self.stop_each(scenario, every),
            Plan::Recover(deaths, every) => {
                for death in self.deaths(scenario, deaths) {
                    self.kill_each(scenario, Some(death), every);
                }
            }
        }
    }

    fn sample(&self, scenario: &Scenario<'_>, thinned: usize) {
        if !scenario.stores {
            return scenario.kill_at_points(self, thinned);
        }
        let points = self.points(scenario);
        let every = thinned * if scenario.steady { 1 } else { 2 }.max(points.len().div_ceil(scenario.most));
        points.iter().step_by(every).for_each(|place| self.kill_at(scenario, None, *place));
        if points.len() > MANY {
            return;
        }
        let places = self.places(scenario, None);
        let some = |n: usize| places.iter().skip(places.len() / (2 * n)).step_by(places.len() / n + 1);
        some(4).for_each(|place| self.kill_at(scenario, None, *place));
        self.kill_at(scenario, None, places[places.len() - 1]);
        let repairs = RECOVERED.contains(&self.name);
        for death in self.deaths(scenario, 1) {
            if scenario.newborn.is_none() {
                self.stop_at(scenario, death, Duration::ZERO);
            }
            if repairs {
                let places = self.places(scenario, Some(death));
                self.kill_at(scenario, Some(death), places[places.len() / 2]);
            }
        }
    }

    /// Runs one of many. If something is wrong, it is written down, and the next one follows.
    fn one(&self, place: &str, body: impl FnOnce()) {
        self.report.borrow_mut().runs += 1;
        let Some(log) = &self.log else { return body() };
        log.set_len(0).unwrap();
        if catch_unwind(AssertUnwindSafe(body)).is_ok() {
            return;
        }
        // SAFETY: see the module.
        unsafe { libc::lseek(log.as_raw_fd(), 0, libc::SEEK_SET) };
        let mut bytes = Vec::new();
        let _ = std::io::Read::read_to_end(&mut &*log, &mut bytes);
        let text = String::from_utf8_lossy(&bytes).replace('\0', "");
        self.report.borrow_mut().violations.push(format!("{} at {place}:\n{text}", self.name));
        end_children();
        for name in names(self.directory) {
            let _ = std::fs::remove_dir_all(self.directory.join(name));
        }
    }
}

/// What a failed run has left running.
fn end_children() {
    for _ in 0..3 {
        let own = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        for pid in own.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            kill(pid, libc::SIGKILL);
            reap(pid);
        }
    }
}

/// The operations of a module by name; and each is a test.
macro_rules! operations {
    ($module:literal: $($name:ident)*) => {
        /// What can be killed here.
        pub const ALL: &[crate::campaign::Operation] = &[
            $(crate::campaign::Operation { name: concat!($module, "::", stringify!($name)), run: $name },)*
        ];

        #[cfg(test)]
        mod test {
            $(#[test]
            fn $name() {
                crate::campaign::sample(concat!("operations::", $module, "::test::", stringify!($name)), super::$name);
            })*
        }
    };
}
pub(crate) use operations;

/// What a test does.
#[cfg(test)]
pub fn sample(name: &str, run: fn(&Run)) {
    crate::support::alone(name, |directory| {
        let every = std::env::var("QUINTET_CRASH_EVERY").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
        run(&Run::new(name, Plan::Sample(every), directory, None));
    });
}

/// In a test, an operation that stores more often is killed after stores only.
const MANY: usize = 150;

/// In a test, whoever repairs after these is killed as well: to find his instructions takes a second or more.
const RECOVERED: [&str; 6] = [
    "operations::segments::share::test::create_in_private",
    "operations::segments::share::test::remove",
    "operations::sets::operate::test::one_with_undo",
    "operations::sets::operate::test::several_under_the_lock_with_undo",
    "operations::queues::pass::test::sending_a_small_one",
    "operations::queues::pass::test::receiving_one_of_several_blocks",
];
