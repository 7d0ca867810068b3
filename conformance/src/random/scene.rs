//! Performs the steps of a program, and tells what each gave, who answered, and what all objects are then.

use super::queues::{self, Queues};
use super::segments::Segments;
use super::sets::Sets;
use super::stage::name;
use super::troupe::{PATIENCE, Troupe};
use super::{Call, PROCESSES, Program, Regime, Step};
use crate::world::comes_about;
use crate::{Agent, Subject, World};
use std::collections::BTreeMap;

/// A program's run.
pub(super) struct Scene<'a> {
    pub troupe: Troupe<'a>,
    /// Who is compared with the kernel.
    judged: Subject,
    regime: Regime,
    watched: bool,
    segments: Segments,
    sets: Sets,
    queues: Queues,
    /// Whether the kernel may have done one thing or another: then there is nothing more to be compared.
    anything: bool,
}

impl<'a> Scene<'a> {
    pub fn new(world: &'a World, janitor: &'a Agent, program: &Program, judged: Subject) -> Scene<'a> {
        Scene {
            troupe: Troupe::new(world, janitor, program),
            judged,
            regime: program.regime,
            watched: program.watched,
            segments: Segments::new(),
            sets: Sets::new(),
            queues: Queues::new(),
            anything: false,
        }
    }

    /// A step, and all that it led to. What a death has led to is left to be seen by `next` if that must tell it.
    pub fn perform(&mut self, step: Step, next: Option<Call>) -> String {
        if self.anything {
            return "not compared".to_owned();
        }
        self.troupe.figures.calls += 1;
        let (actor, call) = match (self.actor(step.who, step.call), step.call) {
            (None, Call::Queues(call)) => (None, Call::Queues(queues::for_all(call))),
            actor_and_call => actor_and_call,
        };
        if let Call::Queues(call) = call {
            match self.queues.in_any_order(&self.troupe, call) {
                Some(false) => return "would let several go on in any order".to_owned(),
                Some(true) => self.anything = true,
                None => {}
            }
        }
        let deaths = self.troupe.figures.deaths + self.troupe.figures.execs;
        let result = match actor {
            None => self.act_for_all(call),
            Some(who) if who == step.who => self.act(who, call),
            Some(who) => format!("(P{who} instead) {}", self.act(who, call)),
        };
        let death = self.troupe.figures.deaths + self.troupe.figures.execs > deaths;
        let look = match call {
            Call::Sets(_) | Call::Queues(_) => false,
            _ => self.watched || (death && self.troupe.several),
        };
        if death && !look && next.is_some_and(tells_of_deaths) {
            return format!("{result}, nobody has looked");
        }
        self.settle(&result, look, death)
    }

    /// Lets a process go that is there at the end, and tells what that led to.
    pub fn end(&mut self, who: usize) -> String {
        if !self.troupe.processes.contains_key(&who) {
            return "absent".to_owned();
        }
        self.troupe.figures.calls += u64::from(!self.anything);
        let result = self.troupe.end_of_the_program(who);
        self.settle(&result, self.watched || self.troupe.several, true)
    }

    /// The segments after all have been reaped, and what is left when all objects have been removed.
    pub fn clean(&mut self) -> [String; 2] {
        let (segments, sets, queues) = (&self.segments.ids, &self.sets.ids, &self.queues.ids);
        let seen = self.troupe.janitor.survey(segments, &[], &[]);
        let left = self.troupe.janitor.clear(segments, sets, queues).unwrap_or_else(name);
        [self.segments.list(&self.troupe, &seen.segments), left]
    }

    /// Who performs a call: who waits cannot, so that the next does it for him. But he can be killed and interrupted.
    fn actor(&self, who: usize, call: Call) -> Option<usize> {
        match call {
            Call::Kill { .. } => self.troupe.processes.contains_key(&who).then_some(who),
            Call::Interrupt => self.troupe.first_from(who, |process| process.waits.is_some()),
            _ => self.troupe.first_from(who, |process| process.waits.is_none()),
        }
    }

    fn act(&mut self, who: usize, call: Call) -> String {
        let troupe = &mut self.troupe;
        match call {
            Call::Segments(call) => self.segments.act(troupe, who, call),
            Call::Sets(call) => self.sets.act(troupe, who, call),
            Call::Queues(call) => self.queues.act(troupe, who, call),
            Call::Interrupt => troupe.interrupt(who),
            Call::Fork { child } => troupe.fork(who, child, true),
            Call::Vfork { child } => troupe.fork(who, child, false),
            // Known differences: the creator's exec is taken for its end; the library is not told of it.
            Call::Exec if self.regime == Regime::Forced => "not with shm_rmid_forced".to_owned(),
            Call::Exec if self.judged == Subject::Library && troupe.processes[&who].undo => "not in the library".to_owned(),
            Call::Exec => troupe.exec(who),
            Call::FailingExec => name(troupe.agent(who).exec_missing()),
            Call::CloseFrom => {
                troupe.agent(who).close_from(3);
                "closed".to_owned()
            }
            Call::Become { user } => troupe.become_user(who, user),
            Call::Exit => troupe.end(who, |agent| agent.exit(0)),
            Call::ExitAtOnce => troupe.end(who, |agent| agent.exit_at_once(0)),
            Call::Kill { signal } => troupe.kill(who, signal),
        }
    }

    /// Where all wait or are dead.
    fn act_for_all(&self, call: Call) -> String {
        match call {
            Call::Sets(call) => self.sets.act_for_all(&self.troupe, call),
            Call::Queues(call) => self.queues.act_for_all(&self.troupe, call),
            _ => "nobody can".to_owned(),
        }
    }

    /// Takes the answers of all who wait no longer, and tells of them and of all objects.
    fn settle(&mut self, result: &str, look: bool, death: bool) -> String {
        let mut ended = BTreeMap::new();
        // On a busy machine somebody who has been woken may have to wait for a processor.
        let settled = comes_about(PATIENCE, || !queues::take_answers(&mut self.troupe, &mut ended));
        let segments = if look { self.segments.ids.as_slice() } else { &[] };
        let seen = self.troupe.janitor.survey(segments, &self.sets.ids, &self.queues.ids);
        if self.anything {
            return queues::tell_what_holds(&self.troupe, &seen.queues);
        }
        self.sets.take_answers(&mut self.troupe, &seen.sets, &mut ended);
        if look || (death && self.segments.ids.is_empty()) {
            self.troupe.all_seen();
        }
        let restless = if settled { "" } else { ", and somebody neither waits nor answers" };
        let answers: String = ended.iter().map(|(who, what)| format!(", P{who}: {what}")).collect();
        let (segments, sets) = (self.segments.list(&self.troupe, &seen.segments), self.sets.list(&self.troupe, &seen.sets));
        format!("{result}{answers}{restless}{segments}{sets}{}", self.queues.list(&self.troupe, &seen.queues))
    }
}

/// Whether a call tells what the dead have left as if they had left it at once. Who changes a set need not (`docs/semantics.md`).
fn tells_of_deaths(call: Call) -> bool {
    match call {
        Call::Segments(_) | Call::Queues(_) => true,
        Call::Sets(call) => call.only_asks(),
        _ => false,
    }
}

/// What is told after the steps.
pub(super) fn endings() -> Vec<String> {
    let last = ["(the segments after all have died)", "(what is left then)"];
    (0..PROCESSES).map(|who| format!("(P{who} ends)")).chain(last.map(str::to_owned)).collect()
}
