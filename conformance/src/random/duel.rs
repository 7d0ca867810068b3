//! The kernel against Quintet.

use super::{Figures, Program, Stage};
use crate::Subject;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// So many programs before a difference are looked at, if the difference does not show without them.
const HISTORY: usize = 20;

/// Two stages: on one the kernel, on the other whom it judges.
pub struct Duel {
    subject: Subject,
    kernel: Stage,
    other: Stage,
    /// The last programs.
    history: RefCell<Vec<Program>>,
}

/// A program of which the kernel and the subject tell different things.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Whom the kernel has judged.
    pub subject: Subject,
    /// The program, after those that were run before it in the same namespaces.
    pub programs: Vec<Program>,
    /// What the kernel told of each of the program's steps, then of the end.
    pub kernel: Vec<String>,
    /// What the subject told.
    pub other: Vec<String>,
    /// Whether it was found again in fresh namespaces.
    pub reproduced: bool,
}

/// Keeps the calling thread, and the agents that it will make, to one processor. Since they act in turn, that is more than twice as fast.
pub fn keep_to_one_processor(nth: usize) {
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let processors: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    let mut one = CpuSet::new();
    one.set(processors[nth % processors.len()]);
    // Slower without.
    let _ = sched_setaffinity(None, &one);
}

impl Duel {
    /// Fresh namespaces of the kernel and of `subject`.
    ///
    /// # Errors
    ///
    /// As [`Stage::new`].
    pub fn new(subject: Subject) -> Result<Duel, String> {
        Ok(Duel { subject, kernel: Stage::new(Subject::Kernel)?, other: Stage::new(subject)?, history: RefCell::default() })
    }

    /// What has been run, as the kernel's side saw it.
    pub fn figures(&self) -> Figures {
        self.kernel.figures()
    }

    /// Runs a program on both.
    ///
    /// # Errors
    ///
    /// The difference; after it the duel is not fit for another program.
    pub fn fight(&self, program: &Program) -> Result<(), Box<Difference>> {
        let kernel = told(&self.kernel, program, self.subject, &[]);
        let other = told(&self.other, program, self.subject, &kernel);
        let mut history = self.history.borrow_mut();
        history.push(program.clone());
        if history.len() > HISTORY {
            history.remove(0);
        }
        match kernel == other {
            true => Ok(()),
            false => {
                let programs = history.clone();
                Err(Box::new(Difference { subject: self.subject, programs, kernel, other, reproduced: false }))
            }
        }
    }
}

/// What a stage tells; of a process that dies or hangs on the way, that.
fn told(stage: &Stage, program: &Program, judged: Subject, known: &[String]) -> Vec<String> {
    catch_unwind(AssertUnwindSafe(|| stage.run(program, judged, known))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        // Process ids differ from run to run.
        vec![text.chars().filter(|c| !c.is_ascii_digit()).collect()]
    })
}

/// The first difference that programs show in fresh namespaces.
pub(super) fn fresh(subject: Subject, programs: &[Program]) -> Option<Box<Difference>> {
    let duel = Duel::new(subject).expect("as before");
    programs.iter().find_map(|program| duel.fight(program).err()).map(|mut difference| {
        difference.reproduced = true;
        difference
    })
}
