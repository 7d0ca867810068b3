//! Runs programs over queues on a subject, and tells what each step gave, who answered, and what all queues are then.

use super::super::stage::name;
use super::super::troupe::{GLANCE, PATIENCE, Troupe};
use super::super::{Call as AnyCall, PROCESSES, Program, Step};
use super::{Call, REGISTERS};
use crate::world::PATIENCE as LONG_PATIENCE;
use crate::world::comes_about;
use crate::{Agent, COPY, EXCEPT, Errno, Message, MsgFlags, NOERROR, Outcome, Queue, TRY, World};
use libc::{SIGKILL, SYS_msgrcv, SYS_msgsnd};
use std::collections::BTreeMap;
use std::time::Instant;

/// What each step of `program` gave, then each death at the end, then what is left. `known` is what the kernel told: others are given
/// time to come to it. At the first difference the rest is left out.
pub fn run(world: &World, janitor: &Agent, program: &Program, known: &[String]) -> Vec<String> {
    let mut scene = Scene {
        troupe: Troupe::new(world, janitor, program),
        janitor,
        registers: [-1; REGISTERS],
        queues: Vec::new(),
        anything: false,
    };
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
    for id in scene.queues {
        let _ = janitor.msg_remove(id);
    }
    told.push(
        janitor.msg_usage().map_or_else(name, |u| format!("{} left, {} messages, {} bytes", u.queues, u.messages, u.bytes)),
    );
    told
}

/// What is told after the steps.
pub fn endings() -> Vec<String> {
    (0..PROCESSES).map(|who| format!("(P{who} is killed)")).chain(["(what is left then)".to_owned()]).collect()
}

/// What the tester sees of a queue.
type State = Outcome<(Queue, Vec<Message>)>;

/// Where a call waits, and for what.
#[derive(Clone, Copy)]
struct Waits {
    id: i32,
    wants: Wants,
}

#[derive(Clone, Copy)]
enum Wants {
    /// Room for so many bytes.
    Room(usize),
    Message,
}

/// A program's run.
struct Scene<'a> {
    troupe: Troupe<'a, Waits>,
    janitor: &'a Agent,
    registers: [i32; REGISTERS],
    /// The identifiers so far, in order of appearance.
    queues: Vec<i32>,
    /// Whether the kernel may have done one thing or another: then there is nothing more to be compared.
    anything: bool,
}

impl Scene<'_> {
    /// A step, and all that it led to.
    fn perform(&mut self, step: Step, known: Option<&String>) -> String {
        self.troupe.death = false;
        let AnyCall::Queues(call) = step.call else { return "not about queues".to_owned() };
        if self.anything && !matches!(call, Call::Kill { .. }) {
            return "not compared".to_owned();
        }
        let call = if self.actor(step.who, call).is_none() { for_all(call) } else { call };
        let result = match self.in_any_order(call) {
            Some(false) => "would let several go on in any order".to_owned(),
            Some(true) => {
                self.anything = true;
                self.make(step.who, call)
            }
            None => self.make(step.who, call),
        };
        let (mut ended, end) = (BTreeMap::new(), Instant::now() + PATIENCE);
        let mut told = self.settle(&result, &mut ended);
        if !self.troupe.world.subject.is_kernel() {
            while known.is_some_and(|known| *known != told) && Instant::now() < end {
                std::thread::yield_now();
                told = self.settle(&result, &mut ended);
            }
        }
        if self.troupe.death && !self.troupe.world.subject.is_kernel() {
            self.troupe.world.sweep();
            told = self.settle(&result, &mut ended);
        }
        told
    }

    fn make(&mut self, who: usize, call: Call) -> String {
        match self.actor(who, call) {
            None => self.act_for_all(call),
            Some(actor) if actor == who => self.act(who, call),
            Some(actor) => format!("(P{actor} instead) {}", self.act(actor, call)),
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

    /// Whether a call would let others go on in an order that the kernel does not determine; then, whether it is to be made all the same.
    fn in_any_order(&self, call: Call) -> Option<bool> {
        let (id, bold) = match call {
            Call::Receive { register, bold, .. }
            | Call::Set { register, bold, .. }
            | Call::SetCapacity { register, bold, .. } => (self.registers[register], bold),
            _ => return None,
        };
        let Some(Ok((queue, messages))) = self.janitor.survey_queues(&[id]).pop() else { return None };
        let (cbytes, qnum, qbytes) = match call {
            Call::Receive { size, mtype, flags, .. } => {
                let taken = taken(&messages, size, mtype, flags)?;
                (queue.cbytes - taken.text.len() as u64, queue.qnum - 1, queue.qbytes)
            }
            Call::Set { qbytes, .. } | Call::SetCapacity { qbytes, .. } => (queue.cbytes, queue.qnum, qbytes),
            _ => return None,
        };
        let waiting: Vec<Wants> = self.waiting_in(id).map(|waits| waits.wants).collect();
        let fits = |wants: &&Wants| matches!(wants, Wants::Room(len) if *len as u64 + cbytes <= qbytes && qnum < qbytes);
        let looks = |wants: &&Wants| matches!(wants, Wants::Message) && !matches!(call, Call::Receive { .. });
        let go_on = waiting.iter().filter(fits).count() + waiting.iter().filter(looks).count();
        (go_on > 1).then_some(bold)
    }

    fn act(&mut self, who: usize, call: Call) -> String {
        match call {
            Call::Get { register, key, flags } => self.get(who, register, key, flags),
            Call::Send { register, mtype, text, flags } => {
                let (id, bytes) = (self.registers[register], text.bytes());
                let waits = Waits { id, wants: Wants::Room(bytes.len()) };
                self.operate(who, waits, |agent| agent.start_msgsnd(id, mtype, &bytes, flags))
            }
            Call::Receive { register, size, mtype, flags, .. } => {
                let id = self.registers[register];
                self.operate(who, Waits { id, wants: Wants::Message }, |agent| agent.start_msgrcv(id, size, mtype, flags))
            }
            Call::Set { register, uid, gid, mode, qbytes, .. } => {
                self.set(who, self.registers[register], (uid, gid, mode), qbytes)
            }
            Call::SetCapacity { register, .. } if self.troupe.has_been_given(who, self.registers[register]) => {
                "has been given this".to_owned()
            }
            Call::Interrupt => {
                let wants = self.troupe.processes[&who].waits.expect("looked for before").wants;
                match self.troupe.interrupt(who) {
                    Some(agent) => format!("interrupted: {}", answer(agent, wants)),
                    None => "not interrupted".to_owned(),
                }
            }
            Call::Fork { child } => self.troupe.fork(who, child, Agent::fork),
            Call::Vfork { child } => self.troupe.fork(who, child, Agent::vfork),
            Call::Exec => self.troupe.exec(who),
            Call::Become { user } => self.troupe.become_user(who, user),
            Call::Exit => self.troupe.end(who, |agent| agent.exit(0)),
            Call::ExitAtOnce => self.troupe.end(who, |agent| agent.exit_at_once(0)),
            Call::Kill { signal } => self.troupe.kill(who, signal),
            call => self.ask(self.troupe.agent(who), call),
        }
    }

    /// Where all wait or are dead, the tester goes on, without waiting.
    fn act_for_all(&self, call: Call) -> String {
        match call {
            Call::Send { .. } | Call::Receive { .. } | Call::SetCapacity { .. } | Call::Remove { .. } => {
                format!("(the tester instead) {}", self.ask(self.janitor, call))
            }
            _ => "nobody can".to_owned(),
        }
    }

    /// The calls that change nothing of the scene, and never wait.
    fn ask(&self, agent: &Agent, call: Call) -> String {
        let id = |register: usize| self.registers[register];
        match call {
            Call::Send { register, mtype, text, flags } => done(agent.msgsnd(id(register), mtype, &text.bytes(), flags | TRY)),
            Call::Receive { register, size, mtype, flags, .. } => received(agent.msgrcv(id(register), size, mtype, flags | TRY)),
            Call::SetCapacity { register, qbytes, .. } => done(agent.msg_set_capacity(id(register), qbytes)),
            Call::Stat { register } => agent.msg_stat(id(register)).map_or_else(name, |q| self.tell(&q)),
            Call::StatIndex { register, any } => self.stat_index(agent, id(register), any),
            Call::Remove { register } => done(agent.msg_remove(id(register))),
            Call::Limits => agent.msg_limits().map_or_else(name, |l| format!("{} {} {}", l.msgmax, l.msgmnb, l.msgmni)),
            Call::Usage => agent
                .msg_usage()
                .map_or_else(name, |u| format!("{} queues, {} messages, {} bytes", u.queues, u.messages, u.bytes)),
            Call::FailingExec => name(agent.exec_missing()),
            other => unreachable!("{other:?} changes the scene"),
        }
    }

    fn get(&mut self, who: usize, register: usize, key: i32, flags: i32) -> String {
        let outcome = self.troupe.agent(who).msgget(key, flags);
        outcome.map_or_else(name, |id| {
            self.registers[register] = id;
            if !self.queues.contains(&id) {
                self.queues.push(id);
            }
            self.number(id)
        })
    }

    /// Makes a call that may wait, until it has answered, or waits.
    fn operate(&mut self, who: usize, waits: Waits, start: impl FnOnce(&Agent)) -> String {
        let (agent, world) = (self.troupe.agent(who), self.troupe.world);
        let before = world.msg_waiting(waits.id);
        start(agent);
        let settled = comes_about(LONG_PATIENCE, || {
            agent.answers_within(GLANCE) || world.is_queued(agent, agent.pid, waits.id, before, waits.wants.system_call())
        });
        if agent.has_answered() {
            return answer(agent, waits.wants);
        }
        self.troupe.waits(who, Some(waits));
        if settled { "waits".to_owned() } else { "neither answers nor waits".to_owned() }
    }

    fn set(&mut self, who: usize, id: i32, (uid, gid, mode): (u32, u32, u32), qbytes: u64) -> String {
        if self.troupe.has_been_given(who, id) {
            return "has been given this".to_owned();
        }
        self.troupe.agent(who).msg_set(id, uid, gid, mode, qbytes).map_or_else(name, |()| {
            self.troupe.give(id, uid);
            "done".to_owned()
        })
    }

    /// Those who wait in a queue.
    fn waiting_in(&self, id: i32) -> impl Iterator<Item = Waits> {
        self.troupe.processes.values().filter_map(|process| process.waits).filter(move |waits| waits.id == id)
    }

    /// Takes the answers of all who wait no longer, and tells of them and of all queues.
    fn settle(&mut self, result: &str, ended: &mut BTreeMap<usize, String>) -> String {
        // On a busy machine somebody who has been woken may have to wait for a processor.
        let settled = comes_about(LONG_PATIENCE, || !self.take_answers(ended));
        let states = self.janitor.survey_queues(&self.queues);
        if self.anything {
            return self.tell_what_holds(&states);
        }
        let restless = if settled { "" } else { ", and somebody neither waits nor answers" };
        let answers: String = ended.iter().map(|(who, what)| format!(", P{who}: {what}")).collect();
        let queues: String = states
            .iter()
            .filter_map(|state| match state {
                Ok((queue, messages)) => Some(self.tell_all(queue, messages)),
                Err(Errno::INVAL) => None,
                Err(e) => panic!("the tester cannot look at a queue: {e}"),
            })
            .collect();
        format!("{result}{answers}{restless}{queues}")
    }

    /// Takes the answers of those who waited. `true`: somebody has answered or is about to do something, which may lead to more.
    fn take_answers(&mut self, ended: &mut BTreeMap<usize, String>) -> bool {
        let waiting: Vec<(usize, Waits)> =
            self.troupe.processes.iter().filter_map(|(who, process)| Some((*who, process.waits?))).collect();
        let mut restless = false;
        for (who, waits) in waiting {
            let agent = self.troupe.agent(who);
            // Who sleeps after that and has not answered before, waits: he does not sleep between the two.
            let sleeps = match self.troupe.world.subject.is_kernel() {
                true => agent.sleeps_in(agent.pid, waits.wants.system_call()),
                false => agent.sleeps(),
            };
            if agent.has_answered() {
                ended.insert(who, answer(agent, waits.wants));
                self.troupe.waits(who, None);
                restless = true;
            } else if !sleeps {
                restless = true;
            }
        }
        restless
    }

    /// What holds of any order: no queue has more in it than it takes unless that has been lowered, and nobody waits for room that is there.
    fn tell_what_holds(&self, states: &[State]) -> String {
        let in_vain = states.iter().filter_map(|state| state.as_ref().ok()).any(|(queue, messages)| {
            let sum: usize = messages.iter().map(|message| message.text.len()).sum();
            let fits = |len: usize| len as u64 + queue.cbytes <= queue.qbytes && queue.qnum < queue.qbytes;
            let wrong = queue.holds() != (messages.len() as u64, sum as u64);
            wrong || self.waiting_in(queue.id).any(|waits| matches!(waits.wants, Wants::Room(len) if fits(len)))
        });
        format!("in any order; {}", if in_vain { "but somebody waits for room that is there" } else { "nobody waits in vain" })
    }

    /// By index: of a stale identifier it is only known that its index leads elsewhere or nowhere, because
    /// subjects choose indexes differently.
    fn stat_index(&self, agent: &Agent, id: i32, any: bool) -> String {
        let index = id & 0x7fff;
        match agent.msg_stat_any(index) {
            Ok(q) if q.id == id => {}
            Ok(_) | Err(Errno::INVAL) => return "elsewhere".to_owned(),
            Err(e) => return format!("at its index: {}", name(e)),
        }
        let outcome = if any { agent.msg_stat_any(index) } else { agent.msg_stat_index(index) };
        outcome.map_or_else(name, |q| self.tell(&q))
    }

    fn number(&self, id: i32) -> String {
        self.queues.iter().position(|known| *known == id).map_or("unknown".to_owned(), |n| format!("#{n}"))
    }

    /// Every field of `msqid_ds`, in words that mean the same for every subject.
    fn tell(&self, q: &Queue) -> String {
        let (time, process) = (|t| self.troupe.time(t), |pid| self.troupe.process(pid));
        let sequence = if q.seq == (q.id as u32 >> 15) & 0xffff { "" } else { " sequence wrong" };
        let who = format!("key {} uid {} gid {} cuid {} cgid {} mode {:o}", q.key, q.uid, q.gid, q.cuid, q.cgid, q.mode);
        let times = format!("stime {} rtime {} ctime {}", time(q.stime), time(q.rtime), time(q.ctime));
        let holds = format!("cbytes {} qnum {} qbytes {}", q.cbytes, q.qnum, q.qbytes);
        let pids = format!("lspid {} lrpid {}", process(q.lspid), process(q.lrpid));
        format!("{}{sequence} {who} {times} {holds} {pids}", self.number(q.id))
    }

    fn tell_all(&self, q: &Queue, messages: &[Message]) -> String {
        let each: Vec<String> = messages.iter().map(told).collect();
        format!("\n        {} [{}]", self.tell(q), each.join(" "))
    }
}

impl Wants {
    fn system_call(self) -> i64 {
        match self {
            Wants::Room(_) => SYS_msgsnd,
            Wants::Message => SYS_msgrcv,
        }
    }
}

/// Where all wait or are dead, the tester receives what was only to be looked at: else nothing would happen from there on.
fn for_all(call: Call) -> Call {
    match call {
        Call::Stat { register } | Call::StatIndex { register, .. } | Call::Set { register, .. } => {
            Call::Receive { register, size: 8192, mtype: 0, flags: TRY, bold: false }
        }
        call => call,
    }
}

/// The message that a call takes out of a queue with these, if one.
fn taken(messages: &[Message], size: usize, mtype: i64, flags: MsgFlags) -> Option<&Message> {
    if flags.contains(COPY) {
        return None;
    }
    let found = match mtype {
        0 => messages.first(),
        1.. if flags.contains(EXCEPT) => messages.iter().find(|m| m.mtype != mtype),
        1.. => messages.iter().find(|m| m.mtype == mtype),
        _ => messages.iter().filter(|m| m.mtype <= mtype.checked_neg().unwrap_or(i64::MAX)).min_by_key(|m| m.mtype),
    };
    found.filter(|m| m.text.len() <= size || flags.contains(NOERROR))
}

/// What a call that was begun has answered.
fn answer(agent: &Agent, wants: Wants) -> String {
    match wants {
        Wants::Room(_) => done(agent.answer()),
        Wants::Message => received(agent.answer_message()),
    }
}

fn done(outcome: Outcome<()>) -> String {
    outcome.map_or_else(name, |()| "done".to_owned())
}

fn received(outcome: Outcome<Message>) -> String {
    outcome.map_or_else(name, |message| told(&message))
}

/// A message's type, its length, and its bytes: all if they are few, or a sum in which each counts.
fn told(message: &Message) -> String {
    let bytes = match message.text.len() {
        0..=20 => format!("{:?}", message.text),
        _ => format!("{:08x}", message.text.iter().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)))),
    };
    format!("{}:{}:{bytes}", message.mtype, message.text.len())
}
