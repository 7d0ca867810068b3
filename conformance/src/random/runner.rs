//! Runs programs on a subject and reports the result of each call.

use super::counters::Counters;
use super::executor::Executor;
use super::program::{PROCESSES, Program};
use crate::{Agent, Subject, World};
use std::cell::Cell;

/// A namespace of a subject that runs one program after another.
pub struct Runner {
    /// Reads and removes what the programs leave. Dropped before the world, which waits for it.
    janitor: Agent,
    world: World,
    counters: Cell<Counters>,
}

impl Runner {
    /// Creates a fresh namespace.
    ///
    /// # Errors
    ///
    /// As [`World::new`].
    pub fn new(subject: Subject) -> Result<Runner, String> {
        let world = World::new(subject)?;
        let janitor = world.lasting_agent();
        Ok(Runner { janitor, world, counters: Cell::default() })
    }

    /// Runs a program. Returns the result of each step and of the end (`endings`). `subject` is
    /// compared with the kernel; its deliberate differences are left out. `expected` holds the
    /// kernel's results, if known: the run stops at the first difference.
    pub fn run(&self, program: &Program, subject: Subject, expected: &[String]) -> Vec<String> {
        let limit = program.limit_profile.limit();
        if let Some((name, value, _)) = limit {
            self.world.set_limit(name, value).expect("the superuser may set limits");
        }
        let results = self.perform(program, subject, expected);
        if let Some((name, _, default)) = limit {
            self.world.set_limit(name, default).expect("the superuser may set limits");
        }
        results
    }

    fn perform(&self, program: &Program, subject: Subject, expected: &[String]) -> Vec<String> {
        let mut executor = Executor::new(&self.world, &self.janitor, program, subject);
        let mut results = Vec::new();
        for i in 0..program.steps.len() + PROCESSES {
            results.push(match program.steps.get(i) {
                Some(step) => executor.perform(*step, program.steps.get(i + 1).map(|next| next.call)),
                None => executor.end(i - program.steps.len()),
            });
            if expected.get(i).is_some_and(|expected| *expected != results[i]) {
                break;
            }
        }
        executor.pool.processes.clear();
        self.world.await_exits();
        results.extend(executor.clean());
        let mut counters = self.counters.get();
        counters += Counters { programs: 1, ..executor.pool.counters };
        self.counters.set(counters);
        results
    }

    /// Returns the counts of what has been run.
    pub fn counters(&self) -> Counters {
        self.counters.get()
    }
}
