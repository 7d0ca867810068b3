//! Shrinks a program that shows a difference.

use super::compare::{Difference, reproduce};
use super::executor::endings;
use super::program::{LimitProfile, Program, User};
use std::fmt;

impl Difference {
    /// Removes what is not needed, as long as a difference shows in fresh namespaces.
    pub fn shrink(self) -> Difference {
        let alone = self.programs.len() - 1;
        let Some(mut best) = reproduce(self.subject, &self.programs[alone..]).or_else(|| reproduce(self.subject, &self.programs))
        else {
            return self;
        };
        loop {
            let before = best.programs.clone();
            best = without_programs(best);
            for which in 0..best.programs.len() {
                best = without_steps(best, which);
                best = with_simpler_processes(best, which);
                best = with_default_limits(best, which);
            }
            if best.programs == before {
                return *best;
            }
        }
    }
}

type BestSoFar = Box<Difference>;

/// Returns the difference that the changed programs show, or `best` if there is none.
fn attempt(best: BestSoFar, change: impl FnOnce(&mut Vec<Program>)) -> Result<BestSoFar, BestSoFar> {
    let mut programs = best.programs.clone();
    change(&mut programs);
    if programs == best.programs || programs.is_empty() {
        return Err(best);
    }
    reproduce(best.subject, &programs).ok_or(best)
}

fn without_programs(mut best: BestSoFar) -> BestSoFar {
    let mut at = 0;
    while at + 1 < best.programs.len() {
        match attempt(best, |programs| drop(programs.remove(at))) {
            Ok(fewer) => best = fewer,
            Err(same) => (best, at) = (same, at + 1),
        }
    }
    best
}

/// Removes parts of a program: halves, then quarters, down to single steps.
fn without_steps(mut best: BestSoFar, which: usize) -> BestSoFar {
    let steps = |best: &BestSoFar| best.programs.get(which).map_or(0, |p| p.steps.len());
    let mut piece = steps(&best).div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        while at < steps(&best) {
            let end = (at + piece).min(steps(&best));
            match attempt(best, |programs| drop(programs[which].steps.drain(at..end))) {
                Ok(fewer) => best = fewer,
                Err(same) => (best, at) = (same, end),
            }
        }
        piece /= 2;
    }
    best
}

/// Removes processes at the end of the list, and turns the other ones into the tester.
fn with_simpler_processes(mut best: BestSoFar, which: usize) -> BestSoFar {
    let processes = best.programs.get(which).map_or(0, |p| p.processes.len());
    for slot in (0..processes).rev() {
        let fewer = attempt(best, |programs| {
            if let Some(p) = programs.get_mut(which).filter(|p| slot > 0 && slot + 1 == p.processes.len()) {
                p.processes.pop();
            }
        });
        let plainer = fewer.or_else(|best| {
            attempt(best, |programs| {
                if let Some(user) = programs.get_mut(which).and_then(|p| p.processes.get_mut(slot)) {
                    *user = User::Tester;
                }
            })
        });
        best = plainer.unwrap_or_else(|same| same);
    }
    best
}

fn with_default_limits(best: BestSoFar, which: usize) -> BestSoFar {
    let changes: [fn(&mut Program); 2] =
        [|program| program.limit_profile = LimitProfile::Default, |program| program.watched = false];
    changes.into_iter().fold(best, |best, change| {
        let changed = attempt(best, |programs| programs.get_mut(which).into_iter().for_each(change));
        changed.unwrap_or_else(|same| same)
    })
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((program, before)) = self.programs.split_last() else { return Ok(()) };
        match self.reproduced {
            true => before.iter().try_for_each(|p| write_without_results(f, p))?,
            false => writeln!(f, "  (not shrunk: fresh namespaces show no difference)")?,
        }
        write!(f, "{program}")?;
        let steps = program.steps.iter().map(ToString::to_string).chain(endings());
        let nothing = String::from("nothing");
        for (i, step) in steps.enumerate() {
            let (kernel, other) = (self.kernel.get(i).unwrap_or(&nothing), self.actual.get(i).unwrap_or(&nothing));
            match kernel == other {
                true => writeln!(f, "  {step}: {kernel}")?,
                false => writeln!(f, "* {step}\n      kernel:  {kernel}\n      {:?}: {other}", self.subject)?,
            }
            if kernel != other {
                return writeln!(f, "  (the rest is not compared)");
            }
        }
        Ok(())
    }
}

/// Writes a program that must run before.
fn write_without_results(f: &mut fmt::Formatter<'_>, program: &Program) -> fmt::Result {
    write!(f, "{program}")?;
    program.steps.iter().try_for_each(|step| writeln!(f, "  {step}"))?;
    writeln!(f, "  (all processes exit, and all objects are removed)")
}
