//! Executes the steps of a program. Reports the result of each, which blocked calls have returned,
//! and the state of all objects.

use super::format::errno;
use super::process_pool::{ProcessPool, TIMEOUT};
use super::program::{Call, LimitProfile, PROCESSES, Program, Step};
use super::queues::{self, Queues};
use super::segments::Segments;
use super::sets::Sets;
use crate::world::becomes_true;
use crate::{Agent, Subject, World};
use std::collections::BTreeMap;

/// One execution of a program.
pub(super) struct Executor<'a> {
    pub pool: ProcessPool<'a>,
    /// The subject that is compared with the kernel.
    subject: Subject,
    limit_profile: LimitProfile,
    watched: bool,
    segments: Segments,
    sets: Sets,
    queues: Queues,
    /// `true` after a call without a result that the kernel defines. Nothing is compared after it.
    stop_comparing: bool,
}

impl<'a> Executor<'a> {
    pub fn new(world: &'a World, janitor: &'a Agent, program: &Program, subject: Subject) -> Executor<'a> {
        Executor {
            pool: ProcessPool::new(world, janitor, program),
            subject,
            limit_profile: program.limit_profile,
            watched: program.watched,
            segments: Segments::new(),
            sets: Sets::new(),
            queues: Queues::new(),
            stop_comparing: false,
        }
    }

    /// Executes a step and returns all its results. After an exit, `next` reports the consequences
    /// if it is a call that must show them.
    pub fn perform(&mut self, step: Step, next: Option<Call>) -> String {
        if self.stop_comparing {
            return "not compared".to_owned();
        }
        self.pool.counters.calls += 1;
        let (actor, call) = match (self.actor(step.slot, step.call), step.call) {
            (None, Call::Queues(call)) => (None, Call::Queues(queues::as_tester(call))),
            actor_and_call => actor_and_call,
        };
        if let Call::Queues(call) = call {
            match self.queues.is_racy(&self.pool, call) {
                Some(false) => return "would let several calls proceed in any order".to_owned(),
                Some(true) => self.stop_comparing = true,
                None => {}
            }
        }
        let exits = self.pool.counters.exits + self.pool.counters.execs;
        let result = match actor {
            None => self.perform_as_tester(call),
            Some(slot) if slot == step.slot => self.perform_as(slot, call),
            Some(slot) => format!("(P{slot} instead) {}", self.perform_as(slot, call)),
        };
        let exit = self.pool.counters.exits + self.pool.counters.execs > exits;
        let observe = match call {
            Call::Sets(_) | Call::Queues(_) => false,
            _ => self.watched || (exit && self.pool.several_users),
        };
        if exit && !observe && next.is_some_and(reports_exits) {
            return format!("{result}, not observed");
        }
        self.settle(&result, observe, exit)
    }

    /// Ends a process that is still there, and returns the consequences.
    pub fn end(&mut self, slot: usize) -> String {
        if !self.pool.processes.contains_key(&slot) {
            return "absent".to_owned();
        }
        self.pool.counters.calls += u64::from(!self.stop_comparing);
        let result = self.pool.end_at_program_end(slot);
        self.settle(&result, self.watched || self.pool.several_users, true)
    }

    /// Returns the segments after all processes are reaped, and what remains after all objects are
    /// removed.
    pub fn clean(&mut self) -> [String; 2] {
        let (segments, sets, queues) = (&self.segments.ids, &self.sets.ids, &self.queues.ids);
        let observed = self.pool.janitor.snapshot(segments, &[], &[]);
        let left = self.pool.janitor.clear(segments, sets, queues).unwrap_or_else(errno);
        [self.segments.list(&self.pool, &observed.segments), left]
    }

    /// Returns the process that executes a call. A blocked process cannot, so the next one does. A
    /// blocked process can still be killed or interrupted.
    fn actor(&self, slot: usize, call: Call) -> Option<usize> {
        match call {
            Call::Kill { .. } => self.pool.processes.contains_key(&slot).then_some(slot),
            Call::Interrupt => self.pool.first_from(slot, |process| process.waits.is_some()),
            _ => self.pool.first_from(slot, |process| process.waits.is_none()),
        }
    }

    fn perform_as(&mut self, slot: usize, call: Call) -> String {
        let pool = &mut self.pool;
        match call {
            Call::Segments(call) => self.segments.perform(pool, slot, call),
            Call::Sets(call) => self.sets.perform(pool, slot, call),
            Call::Queues(call) => self.queues.perform(pool, slot, call),
            Call::Interrupt => pool.interrupt(slot),
            Call::Fork { child } => pool.fork(slot, child, true),
            Call::Vfork { child } => pool.fork(slot, child, false),
            // Known differences: `shm_rmid_forced` treats the creator's exec as its exit, and the
            // library does not notice an exec.
            Call::Exec if self.limit_profile == LimitProfile::Forced => "not with shm_rmid_forced".to_owned(),
            Call::Exec if self.subject == Subject::Library && pool.processes[&slot].undo => "not in the library".to_owned(),
            Call::Exec => pool.exec(slot),
            Call::FailingExec => errno(pool.agent(slot).exec_missing()),
            Call::CloseFrom => {
                pool.agent(slot).close_from(3);
                "closed".to_owned()
            }
            Call::Become { user } => pool.become_user(slot, user),
            Call::Exit => pool.end(slot, |agent| agent.exit(0)),
            Call::ExitImmediately => pool.end(slot, |agent| agent.exit_immediately(0)),
            Call::Kill { signal } => pool.kill(slot, signal),
        }
    }

    /// Executes a call as the tester, when all processes are blocked or have exited.
    fn perform_as_tester(&self, call: Call) -> String {
        match call {
            Call::Sets(call) => self.sets.perform_as_tester(&self.pool, call),
            Call::Queues(call) => self.queues.perform_as_tester(&self.pool, call),
            _ => "no process can".to_owned(),
        }
    }

    /// Reads the answers of all calls that have returned. Reports them and the state of all
    /// objects.
    fn settle(&mut self, result: &str, observe: bool, exit: bool) -> String {
        let mut ended = BTreeMap::new();
        // On a busy machine a process that was woken may wait for a processor.
        let settled = becomes_true(TIMEOUT, || !queues::take_answers(&mut self.pool, &mut ended));
        let segments = if observe { self.segments.ids.as_slice() } else { &[] };
        let observed = self.pool.janitor.snapshot(segments, &self.sets.ids, &self.queues.ids);
        if self.stop_comparing {
            return queues::invariants(&self.pool, &observed.queues);
        }
        self.sets.take_answers(&mut self.pool, &observed.sets, &mut ended);
        if observe || (exit && self.segments.ids.is_empty()) {
            self.pool.mark_observed();
        }
        let unsettled = if settled { "" } else { ", and a call neither returns nor blocks" };
        let answers: String = ended.iter().map(|(slot, what)| format!(", P{slot}: {what}")).collect();
        let (segments, sets) = (self.segments.list(&self.pool, &observed.segments), self.sets.list(&self.pool, &observed.sets));
        format!("{result}{answers}{unsettled}{segments}{sets}{}", self.queues.list(&self.pool, &observed.queues))
    }
}

/// Returns `true` if a call must report the effects of an exit as if they were immediate. A call
/// that changes a set need not (`docs/semantics.md`).
fn reports_exits(call: Call) -> bool {
    match call {
        Call::Segments(_) | Call::Queues(_) => true,
        Call::Sets(call) => call.is_query(),
        _ => false,
    }
}

/// The labels of the results after the steps.
pub(super) fn endings() -> Vec<String> {
    let last = ["(the segments after all exits)", "(what remains)"];
    (0..PROCESSES).map(|slot| format!("(P{slot} ends)")).chain(last.map(str::to_owned)).collect()
}
