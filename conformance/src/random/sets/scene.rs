//! Performs calls over sets, and tells what they gave.

use super::super::User;
use super::super::stage::name;
use super::super::troupe::{GLANCE, Given, PATIENCE, Troupe, Waits, done};
use super::{Call, Question, REGISTERS, SEMAPHORES};
use crate::world::comes_about;
use crate::{Agent, Errno, Look, Outcome, SemOp, Set, UNDO, op};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// A program's sets.
pub struct Sets {
    registers: [i32; REGISTERS],
    /// The identifiers so far, in order of appearance.
    pub ids: Vec<i32>,
    /// Their numbers of semaphores.
    sizes: Vec<usize>,
    /// Sets in which a call with `SEM_UNDO` has failed. A known difference: the kernel's notes for undoing are made before, and at
    /// the end of the process it sets otime, whatever they say.
    noted: HashSet<i32>,
    given: Given,
}

impl Sets {
    pub fn new() -> Sets {
        let noted = HashSet::new();
        Sets { registers: [-1; REGISTERS], ids: Vec::new(), sizes: Vec::new(), noted, given: Given::default() }
    }

    pub fn act(&mut self, troupe: &mut Troupe<'_>, who: usize, call: Call) -> String {
        match call {
            Call::Operate { register, ops } | Call::Try { register, ops } | Call::InThread { register, ops } => {
                let (id, list) = (self.registers[register], ops.list());
                if list.iter().all(|op| op.op == 0) && may_not_alter(troupe, who, id) {
                    return "would wait for zero with no right to alter".to_owned();
                }
                let told = match call {
                    Call::Operate { .. } => self.operate(troupe, who, id, list),
                    call => self.ask(troupe, troupe.agent(who), call),
                };
                if list.iter().any(|op| op.flags.contains(UNDO)) {
                    troupe.process_mut(who).undo = true;
                    if told != "done" {
                        self.noted.insert(id);
                    }
                }
                told
            }
            Call::Get { register, key, nsems, flags } => self.get(troupe.agent(who), register, (key, nsems, flags)),
            Call::Set { register, uid, gid, mode } => self.set(troupe, who, self.registers[register], (uid, gid, mode)),
            call => self.ask(troupe, troupe.agent(who), call),
        }
    }

    /// Where all wait or are dead, the tester goes on, but does nothing that he would have to undo.
    pub fn act_for_all(&self, troupe: &Troupe<'_>, call: Call) -> String {
        match call {
            Call::SetValue { .. } | Call::SetAll { .. } | Call::Remove { .. } => {
                format!("(the tester instead) {}", self.ask(troupe, troupe.janitor, call))
            }
            _ => "nobody can".to_owned(),
        }
    }

    /// The calls that change nothing of the scene, and never wait.
    fn ask(&self, troupe: &Troupe<'_>, agent: &Agent, call: Call) -> String {
        let id = |register: usize| self.registers[register];
        let number = |outcome: Outcome<i32>| outcome.map_or_else(name, |n| n.to_string());
        match call {
            Call::Try { register, ops } => done(agent.semtimedop(id(register), ops.list(), Duration::ZERO)),
            Call::InThread { register, ops } => done(agent.semop_in_a_thread(id(register), ops.list())),
            Call::SetValue { register, num, value } => done(agent.setval(id(register), num, value)),
            Call::SetAll { register, values } => done(agent.setall(id(register), &values[..self.size(id(register))])),
            Call::Ask { register, num, question } => match question {
                Question::Value => number(agent.getval(id(register), num)),
                Question::Pid => agent.getpid(id(register), num).map_or_else(name, |pid| troupe.process(pid)),
                Question::Ncnt => number(agent.getncnt(id(register), num)),
                Question::Zcnt => number(agent.getzcnt(id(register), num)),
            },
            Call::GetAll { register } => agent.getall(id(register)).map_or_else(name, |values| format!("{values:?}")),
            Call::Stat { register } => agent.sem_stat(id(register)).map_or_else(name, |s| self.tell(troupe, &s)),
            Call::StatIndex { register, any } => self.stat_index(troupe, agent, id(register), any),
            Call::Remove { register } => done(agent.sem_remove(id(register))),
            Call::Limits => {
                agent.sem_limits().map_or_else(name, |l| format!("{} {} {} {}", l.semmsl, l.semmns, l.semopm, l.semmni))
            }
            Call::Usage => agent.sem_usage().map_or_else(name, |u| format!("{} sets, {} semaphores", u.sets, u.semaphores)),
            other => unreachable!("{other:?} changes the scene"),
        }
    }

    fn get(&mut self, agent: &Agent, register: usize, (key, nsems, flags): (i32, i32, i32)) -> String {
        agent.semget(key, nsems, flags).map_or_else(name, |id| {
            self.registers[register] = id;
            if !self.ids.contains(&id) {
                // An identifier is first seen when its set is created, so the number is the set's.
                self.ids.push(id);
                self.sizes.push((nsems as usize).min(SEMAPHORES));
            }
            self.number(id)
        })
    }

    fn size(&self, id: i32) -> usize {
        self.ids.iter().zip(&self.sizes).find(|(known, _)| **known == id).map_or(1, |(_, size)| *size)
    }

    /// Makes a call that may wait, until it has answered, or sleeps and is counted.
    fn operate(&self, troupe: &mut Troupe<'_>, who: usize, id: i32, ops: &[SemOp]) -> String {
        let agent = troupe.agent(who);
        let already = troupe.waiting(|waits| waits == Waits::Set(id)).len();
        agent.start_semop(id, ops, None);
        let counted = || troupe.janitor.look(id).map_or(0, |look| look.waiting() as usize);
        let settled = comes_about(PATIENCE, || agent.answers_within(GLANCE) || (agent.sleeps_in_a_call() && counted() > already));
        if agent.has_answered() {
            return done(agent.answer());
        }
        troupe.waits(who, Waits::Set(id));
        if settled { "waits".to_owned() } else { "neither answers nor waits".to_owned() }
    }

    fn set(&mut self, troupe: &Troupe<'_>, who: usize, id: i32, (uid, gid, mode): (u32, u32, u32)) -> String {
        let process = &troupe.processes[&who];
        if self.given.has(process, id) {
            return "has been given this".to_owned();
        }
        process.agent.sem_set(id, uid, gid, mode).map_or_else(name, |()| {
            self.given.note(id, uid);
            "done".to_owned()
        })
    }

    /// Takes the answers of all who wait no longer: of those who wait in a set all but those that it counts have one on its way.
    pub fn take_answers(&self, troupe: &mut Troupe<'_>, seen: &[Outcome<(Set, Look)>], ended: &mut BTreeMap<usize, String>) {
        for (id, state) in self.ids.iter().zip(seen) {
            let counted = match state {
                Ok((_, look)) => look.waiting() as usize,
                Err(Errno::INVAL) => 0,
                Err(e) => panic!("the tester cannot look at a set: {e}"),
            };
            let waiting = troupe.waiting(|waits| waits == Waits::Set(*id));
            let has_ended = |who: &usize| troupe.agent(*who).has_answered();
            let silent = || waiting.iter().filter(|who| !has_ended(who)).count();
            if !comes_about(PATIENCE, || silent() <= counted) {
                let silent = waiting.iter().filter(|who| !has_ended(who));
                ended.extend(silent.map(|who| (*who, "may be one who waits and is not counted".to_owned())));
            }
            let answered: Vec<usize> = waiting.iter().copied().filter(has_ended).collect();
            ended.extend(answered.into_iter().map(|who| (who, troupe.answer(who))));
        }
    }

    /// All sets of the program that are there, in order of appearance.
    pub fn list(&self, troupe: &Troupe<'_>, seen: &[Outcome<(Set, Look)>]) -> String {
        seen.iter().filter_map(|state| state.as_ref().ok()).map(|(set, look)| self.tell_all(troupe, set, look)).collect()
    }

    /// By index: of a stale identifier it is only known that its index leads elsewhere or nowhere, because
    /// subjects choose indexes differently.
    fn stat_index(&self, troupe: &Troupe<'_>, agent: &Agent, id: i32, any: bool) -> String {
        let index = id & 0x7fff;
        match agent.sem_stat_any(index) {
            Ok(s) if s.id == id => {}
            Ok(_) | Err(Errno::INVAL) => return "elsewhere".to_owned(),
            Err(e) => return format!("at its index: {}", name(e)),
        }
        let outcome = if any { agent.sem_stat_any(index) } else { agent.sem_stat_index(index) };
        outcome.map_or_else(name, |s| self.tell(troupe, &s))
    }

    fn number(&self, id: i32) -> String {
        self.ids.iter().position(|known| *known == id).map_or("unknown".to_owned(), |n| format!("#{n}"))
    }

    /// Every field of `semid_ds`, in words that mean the same for every subject.
    fn tell(&self, troupe: &Troupe<'_>, s: &Set) -> String {
        let sequence = if s.seq == (s.id as u32 >> 15) & 0xffff { "" } else { " sequence wrong" };
        let who = format!("key {} uid {} gid {} cuid {} cgid {} mode {:o}", s.key, s.uid, s.gid, s.cuid, s.cgid, s.mode);
        let otime = if self.noted.contains(&s.id) { "noted" } else { troupe.time(s.otime) };
        let times = format!("otime {otime} ctime {}", troupe.time(s.ctime));
        format!("{}{sequence} {who} {times} nsems {}", self.number(s.id), s.nsems)
    }

    fn tell_all(&self, troupe: &Troupe<'_>, s: &Set, look: &Look) -> String {
        let pids: Vec<String> = look.pids.iter().map(|pid| troupe.process(*pid)).collect();
        let semaphores = format!("{:?} by {} ncnt {:?} zcnt {:?}", look.values, pids.join(" "), look.ncnt, look.zcnt);
        format!("\n        set {} {semaphores}", self.tell(troupe, s))
    }
}

/// A known difference: who waits for zero and has no right to alter is not counted, and noted nowhere. Asked by a call that
/// fails in any case.
fn may_not_alter(troupe: &Troupe<'_>, who: usize, id: i32) -> bool {
    let process = &troupe.processes[&who];
    process.user != User::Tester && process.agent.semop(id, &[op(0, i16::MAX), op(0, 1)]) == Err(Errno::ACCES)
}
