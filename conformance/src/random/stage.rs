//! Runs programs on a subject, and tells what each call gave.

use super::scene::Scene;
use super::{Figures, PROCESSES, Program};
use crate::{Agent, Errno, Subject, World};
use std::cell::Cell;

/// A subject's namespace in which one program after another is run.
pub struct Stage {
    /// Sees and cleans up what the programs leave. (Goes before the world, which waits for it.)
    janitor: Agent,
    world: World,
    figures: Cell<Figures>,
}

impl Stage {
    /// A fresh namespace.
    ///
    /// # Errors
    ///
    /// As [`World::new`].
    pub fn new(subject: Subject) -> Result<Stage, String> {
        let world = World::new(subject)?;
        let janitor = world.lasting_agent();
        Ok(Stage { janitor, world, figures: Cell::default() })
    }

    /// Runs a program; what each step gave, and what is told after them (`endings`). `judged` is who is compared
    /// with the kernel, whose deliberate differences are left out; `known` is what the kernel has told, if it has: at the first difference the rest is left out.
    pub fn run(&self, program: &Program, judged: Subject, known: &[String]) -> Vec<String> {
        let limit = program.regime.limit();
        if let Some((name, value, _)) = limit {
            self.world.set_limit(name, value).expect("the superuser may set limits");
        }
        let told = self.perform(program, judged, known);
        if let Some((name, _, default)) = limit {
            self.world.set_limit(name, default).expect("the superuser may set limits");
        }
        told
    }

    fn perform(&self, program: &Program, judged: Subject, known: &[String]) -> Vec<String> {
        let mut scene = Scene::new(&self.world, &self.janitor, program, judged);
        let mut told = Vec::new();
        for i in 0..program.steps.len() + PROCESSES {
            told.push(match program.steps.get(i) {
                Some(step) => scene.perform(*step, program.steps.get(i + 1).map(|next| next.call)),
                None => scene.end(i - program.steps.len()),
            });
            if known.get(i).is_some_and(|known| *known != told[i]) {
                break;
            }
        }
        scene.troupe.processes.clear();
        self.world.await_deaths();
        told.extend(scene.clean());
        let mut figures = self.figures.get();
        figures += Figures { programs: 1, ..scene.troupe.figures };
        self.figures.set(figures);
        told
    }

    /// What has been run.
    pub fn figures(&self) -> Figures {
        self.figures.get()
    }
}

/// What an errno is called.
pub(super) fn name(e: Errno) -> String {
    format!("{e:?}")
}
