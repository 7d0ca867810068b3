//! From a program that shows a difference to the shortest that still does.

use super::duel::{Difference, fresh};
use super::scene::endings;
use super::{Program, Regime, User};
use std::fmt;

impl Difference {
    /// Leaves out what is not needed, as long as there is a difference in fresh namespaces.
    pub fn shrink(self) -> Difference {
        let alone = self.programs.len() - 1;
        let Some(mut best) = fresh(self.subject, &self.programs[alone..]).or_else(|| fresh(self.subject, &self.programs)) else {
            return self;
        };
        loop {
            let before = best.programs.clone();
            best = without_programs(best);
            for which in 0..best.programs.len() {
                best = without_steps(best, which);
                best = with_simpler_cast(best, which);
                best = with_default_limits(best, which);
            }
            if best.programs == before {
                return *best;
            }
        }
    }
}

type Best = Box<Difference>;

/// `best`, or what programs changed by `change` show, if that is a difference too.
fn attempt(best: Best, change: impl FnOnce(&mut Vec<Program>)) -> Result<Best, Best> {
    let mut programs = best.programs.clone();
    change(&mut programs);
    if programs == best.programs || programs.is_empty() {
        return Err(best);
    }
    fresh(best.subject, &programs).ok_or(best)
}

fn without_programs(mut best: Best) -> Best {
    let mut at = 0;
    while at + 1 < best.programs.len() {
        match attempt(best, |programs| drop(programs.remove(at))) {
            Ok(fewer) => best = fewer,
            Err(same) => (best, at) = (same, at + 1),
        }
    }
    best
}

/// Leaves out pieces of a program: half of it, a quarter, and so on to single steps.
fn without_steps(mut best: Best, which: usize) -> Best {
    let steps = |best: &Best| best.programs.get(which).map_or(0, |p| p.steps.len());
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

/// Lets processes at the end of the cast go, and the others be the tester.
fn with_simpler_cast(mut best: Best, which: usize) -> Best {
    let cast = best.programs.get(which).map_or(0, |p| p.cast.len());
    for who in (0..cast).rev() {
        let fewer = attempt(best, |programs| {
            if let Some(p) = programs.get_mut(which).filter(|p| who > 0 && who + 1 == p.cast.len()) {
                p.cast.pop();
            }
        });
        let plainer = fewer.or_else(|best| {
            attempt(best, |programs| {
                if let Some(user) = programs.get_mut(which).and_then(|p| p.cast.get_mut(who)) {
                    *user = User::Tester;
                }
            })
        });
        best = plainer.unwrap_or_else(|same| same);
    }
    best
}

fn with_default_limits(best: Best, which: usize) -> Best {
    let changes: [fn(&mut Program); 2] = [|program| program.regime = Regime::Default, |program| program.watched = false];
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
            false => writeln!(f, "  (not shrunk: in fresh namespaces there is no difference)")?,
        }
        write!(f, "{program}")?;
        let steps = program.steps.iter().map(ToString::to_string).chain(endings());
        let nothing = String::from("nothing");
        for (i, step) in steps.enumerate() {
            let (kernel, other) = (self.kernel.get(i).unwrap_or(&nothing), self.other.get(i).unwrap_or(&nothing));
            match kernel == other {
                true => writeln!(f, "  {step}: {kernel}")?,
                false => writeln!(f, "* {step}\n      kernel:  {kernel}\n      {:?}: {other}", self.subject)?,
            }
            if kernel != other {
                return writeln!(f, "  (nothing more is told)");
            }
        }
        Ok(())
    }
}

/// A program that must have been run before.
fn write_without_results(f: &mut fmt::Formatter<'_>, program: &Program) -> fmt::Result {
    write!(f, "{program}")?;
    program.steps.iter().try_for_each(|step| writeln!(f, "  {step}"))?;
    writeln!(f, "  (all die, and what they have made is removed)")
}
