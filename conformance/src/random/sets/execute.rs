//! Executes calls on sets and reports the results.

use super::super::format::{done, errno};
use super::super::process_pool::{Grants, POLL_INTERVAL, ProcessPool, TIMEOUT, Waits};
use super::super::program::User;
use super::call::{Call, Question, REGISTERS, SEMAPHORES};
use crate::world::becomes_true;
use crate::{Agent, Errno, Outcome, SemOp, Semaphores, Set, UNDO, op};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// The sets of a program.
pub struct Sets {
    registers: [i32; REGISTERS],
    /// Identifiers in order of appearance.
    pub ids: Vec<i32>,
    /// Numbers of semaphores.
    sizes: Vec<usize>,
    /// Sets on which a call with `SEM_UNDO` has failed. A known difference: the kernel allocates
    /// the undo structure first, and sets `otime` when the process exits, even if there is nothing
    /// to undo.
    failed_undo: HashSet<i32>,
    grants: Grants,
}

impl Sets {
    pub fn new() -> Sets {
        let failed_undo = HashSet::new();
        Sets { registers: [-1; REGISTERS], ids: Vec::new(), sizes: Vec::new(), failed_undo, grants: Grants::default() }
    }

    pub fn perform(&mut self, pool: &mut ProcessPool<'_>, slot: usize, call: Call) -> String {
        match call {
            Call::Operate { register, ops } | Call::Try { register, ops } | Call::InThread { register, ops } => {
                let (id, list) = (self.registers[register], ops.list());
                if list.iter().all(|op| op.op == 0) && may_not_alter(pool, slot, id) {
                    return "would wait for zero without permission to alter".to_owned();
                }
                let text = match call {
                    Call::Operate { .. } => self.operate(pool, slot, id, list),
                    call => self.ask(pool, pool.agent(slot), call),
                };
                if list.iter().any(|op| op.flags.contains(UNDO)) {
                    pool.process_mut(slot).undo = true;
                    if text != "done" {
                        self.failed_undo.insert(id);
                    }
                }
                text
            }
            Call::Get { register, key, nsems, flags } => self.get(pool.agent(slot), register, (key, nsems, flags)),
            Call::Set { register, uid, gid, mode } => self.set(pool, slot, self.registers[register], (uid, gid, mode)),
            call => self.ask(pool, pool.agent(slot), call),
        }
    }

    /// Executes a call as the tester when all processes are blocked or have exited. Leaves out
    /// calls with `SEM_UNDO`.
    pub fn perform_as_tester(&self, pool: &ProcessPool<'_>, call: Call) -> String {
        match call {
            Call::SetValue { .. } | Call::SetAll { .. } | Call::Remove { .. } => {
                format!("(the tester instead) {}", self.ask(pool, pool.janitor, call))
            }
            _ => "no process can".to_owned(),
        }
    }

    /// Makes a call that changes no bookkeeping and never blocks.
    fn ask(&self, pool: &ProcessPool<'_>, agent: &Agent, call: Call) -> String {
        let id = |register: usize| self.registers[register];
        let number = |outcome: Outcome<i32>| outcome.map_or_else(errno, |n| n.to_string());
        match call {
            Call::Try { register, ops } => done(agent.semtimedop(id(register), ops.list(), Duration::ZERO)),
            Call::InThread { register, ops } => done(agent.semop_in_a_thread(id(register), ops.list())),
            Call::SetValue { register, num, value } => done(agent.setval(id(register), num, value)),
            Call::SetAll { register, values } => done(agent.setall(id(register), &values[..self.size(id(register))])),
            Call::Ask { register, num, question } => match question {
                Question::Value => number(agent.getval(id(register), num)),
                Question::Pid => agent.getpid(id(register), num).map_or_else(errno, |pid| pool.process(pid)),
                Question::Ncnt => number(agent.getncnt(id(register), num)),
                Question::Zcnt => number(agent.getzcnt(id(register), num)),
            },
            Call::GetAll { register } => agent.getall(id(register)).map_or_else(errno, |values| format!("{values:?}")),
            Call::Stat { register } => agent.sem_stat(id(register)).map_or_else(errno, |s| self.describe(pool, &s)),
            Call::StatIndex { register, any } => self.stat_index(pool, agent, id(register), any),
            Call::Remove { register } => done(agent.sem_remove(id(register))),
            Call::Limits => {
                agent.sem_limits().map_or_else(errno, |l| format!("{} {} {} {}", l.semmsl, l.semmns, l.semopm, l.semmni))
            }
            Call::Usage => agent.sem_usage().map_or_else(errno, |u| format!("{} sets, {} semaphores", u.sets, u.semaphores)),
            other => unreachable!("{other:?} changes the executor"),
        }
    }

    fn get(&mut self, agent: &Agent, register: usize, (key, nsems, flags): (i32, i32, i32)) -> String {
        agent.semget(key, nsems, flags).map_or_else(errno, |id| {
            self.registers[register] = id;
            if !self.ids.contains(&id) {
                // An identifier first appears when its set is created, so this is the size of the
                // set.
                self.ids.push(id);
                self.sizes.push((nsems as usize).min(SEMAPHORES));
            }
            self.number(id)
        })
    }

    fn size(&self, id: i32) -> usize {
        self.ids.iter().zip(&self.sizes).find(|(known, _)| **known == id).map_or(1, |(_, size)| *size)
    }

    /// Starts a call and returns when it has returned, or sleeps and is counted.
    fn operate(&self, pool: &mut ProcessPool<'_>, slot: usize, id: i32, ops: &[SemOp]) -> String {
        let agent = pool.agent(slot);
        let already = pool.waiting(|waits| waits == Waits::Set(id)).len();
        agent.start_semop(id, ops, None);
        let counted = || pool.janitor.semaphores(id).map_or(0, |state| state.waiting() as usize);
        let settled =
            becomes_true(TIMEOUT, || agent.answers_within(POLL_INTERVAL) || (agent.sleeps_in_a_call() && counted() > already));
        if agent.has_answered() {
            return done(agent.answer());
        }
        pool.waits(slot, Waits::Set(id));
        if settled { "blocks".to_owned() } else { "neither returns nor blocks".to_owned() }
    }

    fn set(&mut self, pool: &ProcessPool<'_>, slot: usize, id: i32, (uid, gid, mode): (u32, u32, u32)) -> String {
        let process = &pool.processes[&slot];
        if self.grants.has(process, id) {
            return "was made its owner".to_owned();
        }
        process.agent.sem_set(id, uid, gid, mode).map_or_else(errno, |()| {
            self.grants.note(id, uid);
            "done".to_owned()
        })
    }

    /// Reads the answers of all calls that have returned. A call that was blocked in a set and is
    /// no longer counted there has an answer on its way.
    pub fn take_answers(
        &self,
        pool: &mut ProcessPool<'_>,
        observed: &[Outcome<(Set, Semaphores)>],
        ended: &mut BTreeMap<usize, String>,
    ) {
        for (id, state) in self.ids.iter().zip(observed) {
            let counted = match state {
                Ok((_, state)) => state.waiting() as usize,
                Err(Errno::INVAL) => 0,
                Err(e) => panic!("the tester cannot read a set: {e}"),
            };
            let waiting = pool.waiting(|waits| waits == Waits::Set(*id));
            let has_ended = |slot: &usize| pool.agent(*slot).has_answered();
            let unanswered = || waiting.iter().filter(|slot| !has_ended(slot)).count();
            if !becomes_true(TIMEOUT, || unanswered() <= counted) {
                let unanswered = waiting.iter().filter(|slot| !has_ended(slot));
                ended.extend(unanswered.map(|slot| (*slot, "no answer, and the set does not count it".to_owned())));
            }
            let answered: Vec<usize> = waiting.iter().copied().filter(has_ended).collect();
            ended.extend(answered.into_iter().map(|slot| (slot, pool.answer(slot))));
        }
    }

    /// Lists all sets of the program that still exist, in order of appearance.
    pub fn list(&self, pool: &ProcessPool<'_>, observed: &[Outcome<(Set, Semaphores)>]) -> String {
        observed.iter().filter_map(|state| state.as_ref().ok()).map(|(set, state)| self.describe_all(pool, set, state)).collect()
    }

    /// Reads by index. For a stale identifier it reports only "elsewhere", because subjects choose
    /// indexes differently.
    fn stat_index(&self, pool: &ProcessPool<'_>, agent: &Agent, id: i32, any: bool) -> String {
        let index = id & 0x7fff;
        match agent.sem_stat_any(index) {
            Ok(s) if s.id == id => {}
            Ok(_) | Err(Errno::INVAL) => return "elsewhere".to_owned(),
            Err(e) => return format!("by index: {}", errno(e)),
        }
        let outcome = if any { agent.sem_stat_any(index) } else { agent.sem_stat_index(index) };
        outcome.map_or_else(errno, |s| self.describe(pool, &s))
    }

    fn number(&self, id: i32) -> String {
        self.ids.iter().position(|known| *known == id).map_or("unknown".to_owned(), |n| format!("#{n}"))
    }

    /// Formats every field of `semid_ds` as text that means the same on every subject.
    fn describe(&self, pool: &ProcessPool<'_>, s: &Set) -> String {
        let sequence = if s.seq == (s.id as u32 >> 15) & 0xffff { "" } else { " sequence wrong" };
        let slot = format!("key {} uid {} gid {} cuid {} cgid {} mode {:o}", s.key, s.uid, s.gid, s.cuid, s.cgid, s.mode);
        let otime = if self.failed_undo.contains(&s.id) { "not compared" } else { pool.time(s.otime) };
        let times = format!("otime {otime} ctime {}", pool.time(s.ctime));
        format!("{}{sequence} {slot} {times} nsems {}", self.number(s.id), s.nsems)
    }

    fn describe_all(&self, pool: &ProcessPool<'_>, s: &Set, state: &Semaphores) -> String {
        let pids: Vec<String> = state.pids.iter().map(|pid| pool.process(*pid)).collect();
        let semaphores = format!("{:?} by {} ncnt {:?} zcnt {:?}", state.values, pids.join(" "), state.ncnt, state.zcnt);
        format!("\n        set {} {semaphores}", self.describe(pool, s))
    }
}

/// Returns `true` if the process may not alter the set. A known difference: such a process that
/// waits for zero is not counted. Asks by a call that fails in any case.
fn may_not_alter(pool: &ProcessPool<'_>, slot: usize, id: i32) -> bool {
    let process = &pool.processes[&slot];
    process.user != User::Tester && process.agent.semop(id, &[op(0, i16::MAX), op(0, 1)]) == Err(Errno::ACCES)
}
