//! Operations by name, and the plans for them: kill at each instruction, stop at each, kill the
//! process that repairs.
//!
//! Every instruction is covered, though not every one is killed. A killed process leaves what other
//! processes can see: shared memory and kernel state. Its registers and private memory are gone.
//! Two instructions leave the same state if there is no system call between them and no byte of
//! shared memory differs. One of them represents all. This is measured:
//! [`SharedMemory`](crate::support::SharedMemory) compares all shared mappings after each step. As
//! a check, a process is also killed at every n-th of the other instructions. An instruction that
//! copies many bytes is interrupted after 1, 2, 4, 8 and so on rounds.
//!
//! A *stopped* process keeps what it has read before, so for it the same places are only a sample.
//! The sample contains each state that other processes can see.
//!
//! # Safety
//!
//! The raw calls redirect this process's own output and end its own children.
#![allow(unsafe_code)]

mod kill;
mod stop;

use crate::support::{Place, Scenario, Stepper, Stretch, kill, names, reap};
use std::cell::{Cell, RefCell};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An operation that can be killed at each of its instructions.
pub struct Operation {
    /// Its name, preceded by the module.
    pub name: &'static str,
    /// Runs the operation under a plan.
    pub run: fn(&Run),
}

/// What to do with an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// The plan of unit tests: kill after some of the visible stores and at a sample of all
    /// instructions, and stop at one.
    Sample(usize),
    /// Kill the process.
    Kill(Selection),
    /// Kill the process after a signal has aborted its restartable sequence.
    KillBroken(Selection),
    /// Stop the process.
    Stop(Selection),
    /// Kill the process at this many points with a lock held; then kill the process that repairs.
    Recover(usize, Selection),
}

/// Selects instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Selection {
    /// One instruction of each group that leaves the same state, and every n-th of the other
    /// instructions.
    Distinct(usize),
    /// Every n-th instruction.
    Every(usize),
}

impl Selection {
    /// Returns the selected places and the number of distinct states. The last place is always
    /// selected.
    fn of(self, stretches: &[Stretch]) -> (Vec<Place>, usize) {
        let all: Vec<_> = stretches.iter().zip(0..).flat_map(|(found, stretch)| found.places(stretch)).collect();
        let last = all.len() - 1;
        // Every n-th, with a shift, so that loops are not always hit at the same instruction.
        let sampled = |nth, every| nth % every == nth / every % every;
        let chosen = |nth, distinct| match self {
            Selection::Distinct(every) => distinct || sampled(nth, every),
            Selection::Every(every) => sampled(nth, every) || nth == last,
        };
        let distinct = all.iter().filter(|(_, distinct)| *distinct).count();
        let chosen = all.into_iter().enumerate().filter(|(nth, (_, distinct))| chosen(*nth, *distinct));
        (chosen.map(|(_, (place, _))| place).collect(), distinct)
    }
}

/// The result of a plan.
#[derive(Clone, Default, Debug)]
pub struct Report {
    /// Instructions found in the operation.
    pub instructions: usize,
    /// System calls in the operation.
    pub calls: usize,
    /// Number of distinct states that a kill may leave.
    pub distinct: usize,
    /// Number of kills or stops.
    pub runs: usize,
    /// Runs that did not reach their place, because the operation took another path.
    pub elsewhere: usize,
    /// Runs with a lock held.
    pub with_lock: usize,
    /// Violations, each with its place.
    pub violations: Vec<String>,
    /// The longest time until the next operation has succeeded, in microseconds.
    pub longest: u32,
}

/// One operation under one plan.
pub struct Run<'a> {
    /// The name of the operation.
    pub name: &'a str,
    /// The plan.
    pub plan: Plan,
    directory: &'a Path,
    number: Cell<usize>,
    stepper: RefCell<Stepper>,
    /// Collects the output of a violation. Without it, the first violation panics.
    log: Option<std::fs::File>,
    /// The result so far.
    pub report: RefCell<Report>,
}

impl<'a> Run<'a> {
    /// Creates a run in an empty directory. With a log, violations are collected.
    pub fn new(name: &'a str, plan: Plan, directory: &'a Path, log: Option<std::fs::File>) -> Run<'a> {
        Run { name, plan, directory, number: Cell::default(), stepper: RefCell::default(), log, report: RefCell::default() }
    }

    /// Returns a path that has not been used.
    pub fn fresh(&self) -> PathBuf {
        self.number.set(self.number.get() + 1);
        self.directory.join(self.number.get().to_string())
    }

    /// Returns the directory of the run. Some operations change its mode.
    pub fn directory(&self) -> &Path {
        self.directory
    }

    /// Returns `true` if the run leaves out what takes a minute. `cargo xtask crash` runs it.
    pub fn is_short(&self) -> bool {
        matches!(self.plan, Plan::Sample(_))
    }

    /// Executes the plan for a scenario.
    pub fn execute_plan(&self, scenario: &Scenario<'_>) {
        self.stepper.borrow_mut().aborts_rseq = matches!(self.plan, Plan::KillBroken(_));
        match self.plan {
            Plan::Sample(thinning) => self.sample(scenario, thinning),
            Plan::Kill(selection) | Plan::KillBroken(selection) => self.kill_each(scenario, None, selection),
            Plan::Stop(selection) => self.stop_each(scenario, selection),
            Plan::Recover(max_points, selection) => {
                for kill_point in kill_points(&self.stretches(scenario, None), max_points) {
                    self.kill_each(scenario, Some(kill_point), selection);
                }
            }
        }
    }

    fn sample(&self, scenario: &Scenario<'_>, thinning: usize) {
        if !scenario.stores {
            return scenario.kill_at_points(self, thinning);
        }
        // A deterministic operation needs only one process for all its stretches.
        let found =
            if scenario.deterministic { self.stretches_in_one_pass(scenario, None) } else { self.stretches(scenario, None) };
        let (points, _) = Selection::Distinct(usize::MAX).of(&found);
        let every = thinning * if scenario.deterministic { 1 } else { 2 }.max(points.len().div_ceil(scenario.max_points));
        points.iter().step_by(every).for_each(|place| self.kill_at(scenario, None, *place));
        let (places, _) = Selection::Every(1).of(&found);
        let some = |n: usize| places.iter().skip(places.len() / (2 * n)).step_by(places.len() / n + 1);
        some(4).for_each(|place| self.kill_at(scenario, None, *place));
        self.kill_at(scenario, None, places[places.len() - 1]);
        let repairs = WITH_RECOVERY.contains(&self.name);
        for kill_point in kill_points(&found, 1) {
            if scenario.forked_child.is_none() {
                self.stop_at(scenario, kill_point, Duration::ZERO);
            }
            if repairs {
                let (places, _) = Selection::Every(1).of(&self.stretches_in_one_pass(scenario, Some(kill_point)));
                self.kill_at(scenario, Some(kill_point), places[places.len() / 2]);
            }
        }
    }

    /// Executes one run of many.
    fn one(&self, place: &str, body: impl FnOnce()) {
        self.report.borrow_mut().runs += 1;
        self.guarded(place, body);
    }

    /// Executes `body`. Records a violation if it panics.
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

/// Places after stores: those with a lock held, or all if there are none.
fn kill_points(stretches: &[Stretch], max_points: usize) -> Vec<Place> {
    let all: Vec<_> = stretches.iter().zip(0..).flat_map(|(found, stretch)| found.points(stretch)).collect();
    let any = all.iter().any(|(_, held)| *held);
    let from: Vec<Place> = all.into_iter().filter(|(_, held)| *held || !any).map(|(place, _)| place).collect();
    let step = from.len().div_ceil(max_points).max(1);
    from.into_iter().skip(step / 2).step_by(step).collect()
}

/// Ends the processes that a failed run has left.
fn end_children() {
    for _ in 0..3 {
        let own = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        for pid in own.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            kill(pid, libc::SIGKILL);
            reap(pid);
        }
    }
}

/// Lists the operations of a module by name. Each one is a unit test, too.
macro_rules! operations {
    ($module:literal: $($name:ident)*) => {
        /// The operations of this module.
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

/// Runs an operation as a unit test.
#[cfg(test)]
pub fn sample(name: &str, run: fn(&Run)) {
    crate::support::alone(name, |directory| {
        let every = std::env::var("QUINTET_CRASH_EVERY").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
        run(&Run::new(name, Plan::Sample(every), directory, None));
    });
}

/// For these operations a unit test also kills the process that repairs. Tracing that process takes
/// a second or more.
const WITH_RECOVERY: [&str; 6] = [
    "operations::segments::share::test::create_in_private",
    "operations::segments::share::test::remove",
    "operations::sets::operate::test::one_with_undo",
    "operations::sets::operate::test::several_under_the_lock_with_undo",
    "operations::queues::pass::test::sending_a_small_one",
    "operations::queues::pass::test::receiving_one_of_several_blocks",
];
