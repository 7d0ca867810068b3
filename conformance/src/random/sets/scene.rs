//! Runs programs over sets on a subject, and tells what each step gave, who answered, and what all sets are then.

use super::super::stage::name;
use super::super::troupe::{GLANCE, PATIENCE, Troupe};
use super::super::{Call as AnyCall, PROCESSES, Program, Step, User};
use super::{Call, Question, REGISTERS, SEMAPHORES};
use crate::world::comes_about;
use crate::{Agent, Errno, Look, Outcome, SemOp, Set, Subject, UNDO, World, op};
use libc::SIGKILL;
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

/// What each step of `program` gave, then each death at the end, then what is left. `known` is what the kernel told: after a
/// death others are given time to come to it. At the first difference the rest is left out.
pub fn run(world: &World, janitor: &Agent, program: &Program, judged: Subject, known: &[String]) -> Vec<String> {
    let mut scene = Scene::new(world, janitor, program, judged);
    let ends = (0..PROCESSES).map(|who| Step { who, call: Call::Kill { signal: SIGKILL }.into() });
    let mut told = Vec::new();
    for (i, step) in program.steps.iter().copied().chain(ends).enumerate() {
        told.push(scene.perform(step, known.get(i)));
        if known.get(i).is_some_and(|known| *known != told[i]) {
            break;
        }
    }
    drop(scene.troupe);
    world.await_deaths();
    for (id, ..) in scene.sets {
        let _ = janitor.sem_remove(id);
    }
    told.push(janitor.sem_usage().map_or_else(name, |u| format!("{} left, {} semaphores", u.sets, u.semaphores)));
    told
}

/// What is told after the steps.
pub fn endings() -> Vec<String> {
    (0..PROCESSES).map(|who| format!("(P{who} is killed)")).chain(["(what is left then)".to_owned()]).collect()
}

/// A program's run.
struct Scene<'a> {
    /// Each may wait in a set.
    troupe: Troupe<'a, i32>,
    janitor: &'a Agent,
    judged: Subject,
    registers: [i32; REGISTERS],
    /// The sets so far, in order of appearance: identifier and number of semaphores.
    sets: Vec<(i32, usize)>,
    /// Sets in which a call with `SEM_UNDO` has failed. A known difference: the kernel's notes for undoing are made before, and at
    /// the end of the process it sets otime, whatever they say.
    noted: HashSet<i32>,
}

impl<'a> Scene<'a> {
    fn new(world: &'a World, janitor: &'a Agent, program: &Program, judged: Subject) -> Scene<'a> {
        Scene {
            troupe: Troupe::new(world, janitor, program),
            janitor,
            judged,
            registers: [-1; REGISTERS],
            sets: Vec::new(),
            noted: HashSet::new(),
        }
    }

    /// A step, and all that it led to.
    fn perform(&mut self, step: Step, known: Option<&String>) -> String {
        self.troupe.death = false;
        let AnyCall::Sets(call) = step.call else { return "not about sets".to_owned() };
        let result = match self.actor(step.who, call) {
            None => self.act_for_all(call),
            Some(who) if who == step.who => self.act(who, call),
            Some(who) => format!("(P{who} instead) {}", self.act(who, call)),
        };
        if !result.ends_with("done") {
            self.note(step);
        }
        let (mut ended, end) = (BTreeMap::new(), Instant::now() + PATIENCE);
        let mut told = self.settle(&result, &mut ended);
        if self.troupe.death && !self.troupe.world.subject.is_kernel() {
            while known.is_some_and(|known| *known != told) && Instant::now() < end {
                std::thread::yield_now();
                told = self.settle(&result, &mut ended);
            }
            // What has been undone and cannot be seen, where a value cannot become less than 0.
            self.troupe.world.sweep();
            told = self.settle(&result, &mut ended);
        }
        told
    }

    /// A known difference: who waits for zero and has no right to alter is not counted, and noted nowhere. Asked by a call that
    /// fails in any case.
    fn may_not_alter(&self, who: usize, id: i32) -> bool {
        let process = &self.troupe.processes[&who];
        process.user != User::Tester && process.agent.semop(id, &[op(0, i16::MAX), op(0, 1)]) == Err(Errno::ACCES)
    }

    fn note(&mut self, step: Step) {
        if let AnyCall::Sets(Call::Operate { register, ops } | Call::Try { register, ops } | Call::InThread { register, ops }) =
            step.call
            && ops.list().iter().any(|op| op.flags.contains(UNDO))
        {
            self.noted.insert(self.registers[register]);
        }
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
        match call {
            Call::Operate { register, ops } | Call::Try { register, ops } | Call::InThread { register, ops }
                if ops.list().iter().all(|op| op.op == 0) && self.may_not_alter(who, self.registers[register]) =>
            {
                "would wait for zero with no right to alter".to_owned()
            }
            Call::Get { register, key, nsems, flags } => self.get(who, register, (key, nsems, flags)),
            Call::Operate { register, ops } => self.operate(who, self.registers[register], ops.list()),
            Call::Set { register, uid, gid, mode } => self.set(who, self.registers[register], (uid, gid, mode)),
            Call::Interrupt => match self.troupe.interrupt(who) {
                Some(agent) => format!("interrupted: {}", done(agent.answer())),
                None => "not interrupted".to_owned(),
            },
            Call::Fork { child } => self.troupe.fork(who, child, Agent::fork),
            Call::Vfork { child } => self.troupe.fork(who, child, Agent::vfork),
            // A known difference: the library is not told of it.
            Call::Exec if self.judged == Subject::Library => "not in the library".to_owned(),
            Call::Exec => self.troupe.exec(who),
            Call::Become { user } => self.troupe.become_user(who, user),
            Call::Exit => self.troupe.end(who, |agent| agent.exit(0)),
            Call::ExitAtOnce => self.troupe.end(who, |agent| agent.exit_at_once(0)),
            Call::Kill { signal } => self.troupe.kill(who, signal),
            call => self.ask(self.troupe.agent(who), call),
        }
    }

    /// Where all wait or are dead, the tester goes on, but does nothing that he would have to undo.
    fn act_for_all(&self, call: Call) -> String {
        match call {
            Call::SetValue { .. } | Call::SetAll { .. } | Call::Remove { .. } => {
                format!("(the tester instead) {}", self.ask(self.janitor, call))
            }
            _ => "nobody can".to_owned(),
        }
    }

    /// The calls that change nothing of the scene, and never wait.
    fn ask(&self, agent: &Agent, call: Call) -> String {
        let id = |register: usize| self.registers[register];
        let number = |outcome: Outcome<i32>| outcome.map_or_else(name, |n| n.to_string());
        match call {
            Call::Try { register, ops } => done(agent.semtimedop(id(register), ops.list(), Duration::ZERO)),
            Call::InThread { register, ops } => done(agent.semop_in_a_thread(id(register), ops.list())),
            Call::SetValue { register, num, value } => done(agent.setval(id(register), num, value)),
            Call::SetAll { register, values } => {
                let nsems = self.sets.iter().find(|(set, _)| *set == id(register)).map_or(1, |(_, nsems)| *nsems);
                done(agent.setall(id(register), &values[..nsems]))
            }
            Call::Ask { register, num, question } => match question {
                Question::Value => number(agent.getval(id(register), num)),
                Question::Pid => agent.getpid(id(register), num).map_or_else(name, |pid| self.troupe.process(pid)),
                Question::Ncnt => number(agent.getncnt(id(register), num)),
                Question::Zcnt => number(agent.getzcnt(id(register), num)),
            },
            Call::GetAll { register } => agent.getall(id(register)).map_or_else(name, |values| format!("{values:?}")),
            Call::Stat { register } => agent.sem_stat(id(register)).map_or_else(name, |s| self.tell(&s)),
            Call::StatIndex { register, any } => self.stat_index(agent, id(register), any),
            Call::Remove { register } => done(agent.sem_remove(id(register))),
            Call::Limits => {
                agent.sem_limits().map_or_else(name, |l| format!("{} {} {} {}", l.semmsl, l.semmns, l.semopm, l.semmni))
            }
            Call::Usage => agent.sem_usage().map_or_else(name, |u| format!("{} sets, {} semaphores", u.sets, u.semaphores)),
            Call::FailingExec => name(agent.exec_missing()),
            other => unreachable!("{other:?} changes the scene"),
        }
    }

    fn get(&mut self, who: usize, register: usize, (key, nsems, flags): (i32, i32, i32)) -> String {
        let outcome = self.troupe.agent(who).semget(key, nsems, flags);
        outcome.map_or_else(name, |id| {
            self.registers[register] = id;
            if !self.sets.iter().any(|(known, _)| *known == id) {
                // An identifier is first seen when its set is created, so the number is the set's.
                self.sets.push((id, (nsems as usize).min(SEMAPHORES)));
            }
            self.number(id)
        })
    }

    /// Makes a call that may wait, until it has answered, or sleeps and is counted.
    fn operate(&mut self, who: usize, id: i32, ops: &[SemOp]) -> String {
        let agent = self.troupe.agent(who);
        let already = self.waiting_in(id).len();
        agent.start_semop(id, ops, None);
        let settled = comes_about(PATIENCE, || agent.answers_within(GLANCE) || (agent.sleeps() && self.counted(id) > already));
        if agent.has_answered() {
            return done(agent.answer());
        }
        self.troupe.waits(who, Some(id));
        if settled { "waits".to_owned() } else { "neither answers nor waits".to_owned() }
    }

    fn set(&mut self, who: usize, id: i32, (uid, gid, mode): (u32, u32, u32)) -> String {
        if self.troupe.has_been_given(who, id) {
            return "has been given this".to_owned();
        }
        self.troupe.agent(who).sem_set(id, uid, gid, mode).map_or_else(name, |()| {
            self.troupe.give(id, uid);
            "done".to_owned()
        })
    }

    /// Those who wait in a set.
    fn waiting_in(&self, id: i32) -> Vec<usize> {
        self.troupe.processes.iter().filter(|(_, process)| process.waits == Some(id)).map(|(who, _)| *who).collect()
    }

    /// How many the subject says wait in a set; none in one that is not there.
    fn counted(&self, id: i32) -> usize {
        self.janitor.look(id).map_or(0, |look| look.waiting() as usize)
    }

    /// Takes the answers of all who wait no longer, and tells of them and of all sets.
    fn settle(&mut self, result: &str, ended: &mut BTreeMap<usize, String>) -> String {
        let seen = self.janitor.survey(self.sets.iter().map(|(id, _)| *id));
        let states: Vec<(i32, Outcome<(Set, Look)>)> = self.sets.iter().map(|(id, _)| *id).zip(seen).collect();
        for (id, state) in &states {
            let counted = match state {
                Ok((_, look)) => look.waiting() as usize,
                Err(Errno::INVAL) => 0,
                Err(e) => panic!("the tester cannot look at a set: {e}"),
            };
            self.take_answers(*id, counted, ended);
        }
        let answers: String = ended.iter().map(|(who, what)| format!(", P{who}: {what}")).collect();
        let sets: String =
            states.iter().filter_map(|(_, state)| state.as_ref().ok()).map(|(s, look)| self.tell_all(s, look)).collect();
        format!("{result}{answers}{sets}")
    }

    /// Of all who wait in a set but `counted` the answers are on their way.
    fn take_answers(&mut self, id: i32, counted: usize, ended: &mut BTreeMap<usize, String>) {
        let waiting = self.waiting_in(id);
        let has_ended = |who: &usize| self.troupe.agent(*who).has_answered();
        // The look is several calls, and what a dead process has to give back may come in between: then it is looked again.
        let settled = comes_about(PATIENCE, || {
            let silent = waiting.iter().filter(|who| !has_ended(who)).count();
            silent <= counted || silent <= self.counted(id)
        });
        if !settled {
            let silent = waiting
                .iter()
                .filter(|who| !has_ended(who))
                .map(|who| (*who, "may be one who waits and is not counted".to_owned()));
            ended.extend(silent);
        }
        let answered: Vec<usize> = waiting.iter().copied().filter(has_ended).collect();
        for who in answered {
            let outcome = self.troupe.agent(who).answer();
            ended.insert(who, done(outcome));
            self.troupe.waits(who, None);
        }
    }

    /// By index: of a stale identifier it is only known that its index leads elsewhere or nowhere, because
    /// subjects choose indexes differently.
    fn stat_index(&self, agent: &Agent, id: i32, any: bool) -> String {
        let index = id & 0x7fff;
        match agent.sem_stat_any(index) {
            Ok(s) if s.id == id => {}
            Ok(_) | Err(Errno::INVAL) => return "elsewhere".to_owned(),
            Err(e) => return format!("at its index: {}", name(e)),
        }
        let outcome = if any { agent.sem_stat_any(index) } else { agent.sem_stat_index(index) };
        outcome.map_or_else(name, |s| self.tell(&s))
    }

    fn number(&self, id: i32) -> String {
        self.sets.iter().position(|(known, _)| *known == id).map_or("unknown".to_owned(), |n| format!("#{n}"))
    }

    /// Every field of `semid_ds`, in words that mean the same for every subject.
    fn tell(&self, s: &Set) -> String {
        let sequence = if s.seq == (s.id as u32 >> 15) & 0xffff { "" } else { " sequence wrong" };
        let who = format!("key {} uid {} gid {} cuid {} cgid {} mode {:o}", s.key, s.uid, s.gid, s.cuid, s.cgid, s.mode);
        let otime = if self.noted.contains(&s.id) { "noted" } else { self.troupe.time(s.otime) };
        let times = format!("otime {otime} ctime {}", self.troupe.time(s.ctime));
        format!("{}{sequence} {who} {times} nsems {}", self.number(s.id), s.nsems)
    }

    fn tell_all(&self, s: &Set, look: &Look) -> String {
        let pids: Vec<String> = look.pids.iter().map(|pid| self.troupe.process(*pid)).collect();
        let semaphores = format!("{:?} by {} ncnt {:?} zcnt {:?}", look.values, pids.join(" "), look.ncnt, look.zcnt);
        format!("\n        {} {semaphores}", self.tell(s))
    }
}

fn done(outcome: Outcome<()>) -> String {
    outcome.map_or_else(name, |()| "done".to_owned())
}
