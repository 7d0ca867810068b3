//! The kernel against Quintet.

use super::{Program, Regime, Stage};
use crate::Subject;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Two stages: on one the kernel, on the other whom it judges.
pub struct Duel {
    subject: Subject,
    kernel: Stage,
    other: Stage,
}

/// A program of which the kernel and the subject tell different things.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Whom the kernel has judged.
    pub subject: Subject,
    /// The shortest such program that was found.
    pub program: Program,
    /// What the kernel told of each step, then of the end.
    pub kernel: Vec<String>,
    /// What the subject told.
    pub other: Vec<String>,
    /// Whether it was found again in fresh namespaces.
    pub reproduced: bool,
}

impl Duel {
    /// Fresh namespaces of the kernel and of `subject`.
    ///
    /// # Errors
    ///
    /// As [`Stage::new`].
    pub fn new(subject: Subject) -> Result<Duel, String> {
        Ok(Duel { subject, kernel: Stage::new(Subject::Kernel)?, other: Stage::new(subject)? })
    }

    /// Runs a program on both. After a difference the duel is not fit for another program.
    pub fn fight(&self, program: &Program) -> Result<(), Difference> {
        let (kernel, other) = (told(&self.kernel, program), told(&self.other, program));
        match kernel == other {
            true => Ok(()),
            false => Err(Difference { subject: self.subject, program: program.clone(), kernel, other, reproduced: false }),
        }
    }
}

/// What a stage tells; of a process that dies or hangs on the way, that.
fn told(stage: &Stage, program: &Program) -> Vec<String> {
    catch_unwind(AssertUnwindSafe(|| stage.run(program))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        // Process ids differ from run to run.
        vec![text.chars().filter(|c| !c.is_ascii_digit()).collect()]
    })
}

/// A program's difference in fresh namespaces.
fn fresh(subject: Subject, program: &Program) -> Option<Difference> {
    let found = Duel::new(subject).expect("as before").fight(program).err();
    found.map(|difference| Difference { reproduced: true, ..difference })
}

impl Difference {
    /// Leaves out what is not needed, as long as there is a difference in fresh namespaces.
    pub fn shrink(self) -> Difference {
        let Some(mut best) = fresh(self.subject, &self.program) else { return self };
        loop {
            let before = best.program.clone();
            best = without_steps(best);
            best = with_simpler_cast(best);
            best = with_default_limits(best);
            if best.program == before {
                return best;
            }
        }
    }
}

/// Leaves out pieces of the program: half of it, a quarter, and so on to single steps.
fn without_steps(mut best: Difference) -> Difference {
    let mut piece = best.program.steps.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < best.program.steps.len() {
            let mut program = best.program.clone();
            let end = (at + piece).min(program.steps.len());
            program.steps.drain(at..end);
            match fresh(best.subject, &program) {
                Some(smaller) => best = smaller,
                None => at = end,
            }
        }
        piece /= 2;
    }
    best
}

/// Lets processes at the end of the cast go, and the others be the tester.
fn with_simpler_cast(mut best: Difference) -> Difference {
    for who in (0..best.program.cast.len()).rev() {
        let (mut fewer, mut plainer) = (best.program.clone(), best.program.clone());
        if who + 1 == fewer.cast.len() && who > 0 {
            fewer.cast.pop();
        }
        plainer.cast[who] = super::User::Tester;
        for program in [fewer, plainer] {
            if program != best.program
                && let Some(simpler) = fresh(best.subject, &program)
            {
                best = simpler;
                break;
            }
        }
    }
    best
}

fn with_default_limits(best: Difference) -> Difference {
    let program = Program { regime: Regime::Default, ..best.program.clone() };
    fresh(best.subject, &program).unwrap_or(best)
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.program)?;
        if !self.reproduced {
            writeln!(f, "  (not shrunk: in fresh namespaces there is no difference)")?;
        }
        let ends = ["(the segments at the end)", "(the segments after all have died)", "(what is left then)"];
        let steps = self.program.steps.iter().map(ToString::to_string).chain(ends.map(str::to_owned));
        let nothing = String::from("nothing");
        for (i, step) in steps.enumerate() {
            let (kernel, other) = (self.kernel.get(i).unwrap_or(&nothing), self.other.get(i).unwrap_or(&nothing));
            match kernel == other {
                true => writeln!(f, "  {step}: {kernel}")?,
                false => writeln!(f, "* {step}\n      kernel:  {kernel}\n      {:?}: {other}", self.subject)?,
            }
        }
        Ok(())
    }
}
