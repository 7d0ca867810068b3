//! Compares a subject with the kernel.

use super::counters::Counters;
use super::program::Program;
use super::runner::Runner;
use crate::Subject;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Number of earlier programs to keep. If a difference does not show in fresh namespaces, these
/// programs are run before it.
const HISTORY: usize = 20;

/// Two runners: one on the kernel, one on the subject.
pub struct Comparison {
    subject: Subject,
    kernel: Runner,
    subject_runner: Runner,
    /// The last programs.
    history: RefCell<Vec<Program>>,
}

/// A program for which the kernel and the subject report different results.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The subject that was compared.
    pub subject: Subject,
    /// The program, preceded by the programs that ran before it in the same namespaces.
    pub programs: Vec<Program>,
    /// The kernel's result of each step, then of the end.
    pub kernel: Vec<String>,
    /// The subject's results.
    pub actual: Vec<String>,
    /// `true` if the difference was found again in fresh namespaces.
    pub reproduced: bool,
}

/// Binds the calling thread, and agents that it starts later, to one processor. They run in turn,
/// so this is more than twice as fast.
pub fn keep_to_one_processor(nth: usize) {
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let processors: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    let mut one = CpuSet::new();
    one.set(processors[nth % processors.len()]);
    // Without it the run is only slower.
    let _ = sched_setaffinity(None, &one);
}

impl Comparison {
    /// Creates fresh namespaces for the kernel and for `subject`.
    ///
    /// # Errors
    ///
    /// As [`Runner::new`].
    pub fn new(subject: Subject) -> Result<Comparison, String> {
        Ok(Comparison {
            subject,
            kernel: Runner::new(Subject::Kernel)?,
            subject_runner: Runner::new(subject)?,
            history: RefCell::default(),
        })
    }

    /// Returns the counts of what has been run, as the kernel's runner saw it.
    pub fn counters(&self) -> Counters {
        self.kernel.counters()
    }

    /// Runs a program on both.
    ///
    /// # Errors
    ///
    /// The difference. After one the comparison cannot run another program.
    pub fn run(&self, program: &Program) -> Result<(), Box<Difference>> {
        let kernel = results(&self.kernel, program, self.subject, &[]);
        let actual = results(&self.subject_runner, program, self.subject, &kernel);
        let mut history = self.history.borrow_mut();
        history.push(program.clone());
        if history.len() > HISTORY {
            history.remove(0);
        }
        match kernel == actual {
            true => Ok(()),
            false => {
                let programs = history.clone();
                Err(Box::new(Difference { subject: self.subject, programs, kernel, actual, reproduced: false }))
            }
        }
    }
}

/// Returns the results of a runner. If a process dies or hangs on the way, returns the panic
/// message.
fn results(runner: &Runner, program: &Program, subject: Subject, expected: &[String]) -> Vec<String> {
    catch_unwind(AssertUnwindSafe(|| runner.run(program, subject, expected))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        // Process ids differ between runs.
        vec![text.chars().filter(|c| !c.is_ascii_digit()).collect()]
    })
}

/// Returns the first difference that the programs show in fresh namespaces.
pub(super) fn reproduce(subject: Subject, programs: &[Program]) -> Option<Box<Difference>> {
    let comparison = Comparison::new(subject).expect("the subject was available before");
    programs.iter().find_map(|program| comparison.run(program).err()).map(|mut difference| {
        difference.reproduced = true;
        difference
    })
}
