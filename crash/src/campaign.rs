//! Operations by name, and what is done with them: killed at each instruction, stopped at each, killed while it is made good.
//!
//! Each instruction is stepped through, but not at each is a process killed. What a killed process leaves is what others can see: the memory that it
//! shares, and what the kernel holds. Registers and its own memory go with it. So instructions with no system call between them, and no
//! difference in any byte of that memory, leave the same behind; one of them stands for all. That they do is not left to a list of
//! what is worth a look: [`Shared`](crate::support::Shared) compares all shared mappings after each step. And it is tried: every so many instructions a process is killed all the same.
//! Of an instruction that copies many bytes there are kills after one, two, four, eight rounds, and so on.
//!
//! A process that is *stopped* still has what it read before, so that for it the same places are a sample, though one that has each state that others find.
//!
//! # Safety
//!
//! The raw calls redirect this process's own output, and end its own children.
#![allow(unsafe_code)]

mod kill;
mod stop;

use crate::support::{Place, Scenario, Stepper, Stretch, kill, names, reap};
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
    /// Killed.
    Kill(Which),
    /// The same, but restartable sequences have been broken off.
    KillBroken(Which),
    /// Stopped.
    Stop(Which),
    /// Killed at so many of the points at which a lock is held; then its successor.
    Recover(usize, Which),
}

/// At which instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// At one of those which leave the same behind; and at every so many of the others.
    Distinct(usize),
    /// At every so many.
    Every(usize),
}

impl Which {
    /// The places among all those of an operation, of which these are so many different ones. The last one is always there.
    fn of(self, stretches: &[Stretch]) -> (Vec<Place>, usize) {
        let all: Vec<_> = stretches.iter().zip(0..).flat_map(|(found, stretch)| found.places(stretch)).collect();
        let last = all.len() - 1;
        // Each so many-th, but not always the same ones of what is done so often.
        let sampled = |nth, every| nth % every == nth / every % every;
        let chosen = |nth, distinct| match self {
            Which::Distinct(every) => distinct || sampled(nth, every),
            Which::Every(every) => sampled(nth, every) || nth == last,
        };
        let distinct = all.iter().filter(|(_, distinct)| *distinct).count();
        let chosen = all.into_iter().enumerate().filter(|(nth, (_, distinct))| chosen(*nth, *distinct));
        (chosen.map(|(_, (place, _))| place).collect(), distinct)
    }
}

/// What came of it.
#[derive(Clone, Default, Debug)]
pub struct Report {
    /// What was found in the operation.
    pub instructions: usize,
    /// System calls in it.
    pub calls: usize,
    /// How many different things its death may leave behind.
    pub distinct: usize,
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
            Plan::Kill(which) | Plan::KillBroken(which) => self.kill_each(scenario, None, which),
            Plan::Stop(which) => self.stop_each(scenario, which),
            Plan::Recover(most, which) => {
                for death in deaths(&self.stretches(scenario, None), most) {
                    self.kill_each(scenario, Some(death), which);
                }
            }
        }
    }

    fn sample(&self, scenario: &Scenario<'_>, thinned: usize) {
        if !scenario.stores {
            return scenario.kill_at_points(self, thinned);
        }
        let found = self.stretches(scenario, None);
        let (points, _) = Which::Distinct(usize::MAX).of(&found);
        let every = thinned * if scenario.steady { 1 } else { 2 }.max(points.len().div_ceil(scenario.most));
        points.iter().step_by(every).for_each(|place| self.kill_at(scenario, None, *place));
        let (places, _) = Which::Every(1).of(&found);
        let some = |n: usize| places.iter().skip(places.len() / (2 * n)).step_by(places.len() / n + 1);
        some(4).for_each(|place| self.kill_at(scenario, None, *place));
        self.kill_at(scenario, None, places[places.len() - 1]);
        let repairs = RECOVERED.contains(&self.name);
        for death in deaths(&found, 1) {
            if scenario.newborn.is_none() {
                self.stop_at(scenario, death, Duration::ZERO);
            }
            if repairs {
                let (places, _) = Which::Every(1).of(&self.stretches(scenario, Some(death)));
                self.kill_at(scenario, Some(death), places[places.len() / 2]);
            }
        }
    }

    /// Runs one of many.
    fn one(&self, place: &str, body: impl FnOnce()) {
        self.report.borrow_mut().runs += 1;
        self.guarded(place, body);
    }

    /// If something is wrong, it is written down, and the next one follows.
    pub fn guarded(&self, place: &str, body: impl FnOnce()) {
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

/// Places after stores, those with a lock held if there are any.
fn deaths(stretches: &[Stretch], most: usize) -> Vec<Place> {
    let all: Vec<_> = stretches.iter().zip(0..).flat_map(|(found, stretch)| found.points(stretch)).collect();
    let any = all.iter().any(|(_, held)| *held);
    let from: Vec<Place> = all.into_iter().filter(|(_, held)| *held || !any).map(|(place, _)| place).collect();
    let step = from.len().div_ceil(most).max(1);
    from.into_iter().skip(step / 2).step_by(step).collect()
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

/// In a test, whoever repairs after these is killed as well: to find his instructions takes a second or more.
const RECOVERED: [&str; 6] = [
    "operations::segments::share::test::create_in_private",
    "operations::segments::share::test::remove",
    "operations::sets::operate::test::one_with_undo",
    "operations::sets::operate::test::several_under_the_lock_with_undo",
    "operations::queues::pass::test::sending_a_small_one",
    "operations::queues::pass::test::receiving_one_of_several_blocks",
];
