//! Performs calls over queues, and tells what they gave.

use super::super::stage::name;
use super::super::troupe::{GLANCE, Given, PATIENCE, Troupe, Waits, done, received, told};
use super::{Call, REGISTERS};
use crate::world::comes_about;
use crate::{Agent, COPY, EXCEPT, Errno, Message, MsgFlags, NOERROR, Outcome, Queue, TRY};
use std::collections::BTreeMap;

/// A program's queues.
pub struct Queues {
    registers: [i32; REGISTERS],
    /// The identifiers so far, in order of appearance.
    pub ids: Vec<i32>,
    given: Given,
}

/// What the tester sees of a queue.
pub type State = Outcome<(Queue, Vec<Message>)>;

impl Queues {
    pub fn new() -> Queues {
        Queues { registers: [-1; REGISTERS], ids: Vec::new(), given: Given::default() }
    }

    /// Whether a call would let others go on in an order that the kernel does not determine; then, whether it is to be made all the same.
    pub fn in_any_order(&self, troupe: &Troupe<'_>, call: Call) -> Option<bool> {
        let (id, bold) = match call {
            Call::Receive { register, bold, .. }
            | Call::Set { register, bold, .. }
            | Call::SetCapacity { register, bold, .. } => (self.registers[register], bold),
            _ => return None,
        };
        let waiting: Vec<Waits> = waiting_in(troupe, id).collect();
        if waiting.len() < 2 {
            return None;
        }
        let Some(Ok((queue, messages))) = troupe.janitor.survey(&[], &[], &[id]).queues.pop() else { return None };
        let (cbytes, qnum, qbytes) = match call {
            Call::Receive { size, mtype, flags, .. } => {
                let taken = taken(&messages, size, mtype, flags)?;
                (queue.cbytes - taken.text.len() as u64, queue.qnum - 1, queue.qbytes)
            }
            Call::Set { qbytes, .. } | Call::SetCapacity { qbytes, .. } => (queue.cbytes, queue.qnum, qbytes),
            _ => return None,
        };
        let goes_on = |waits: &&Waits| match waits {
            Waits::Room(_, len) => *len as u64 + cbytes <= qbytes && qnum < qbytes,
            Waits::Message(_) => !matches!(call, Call::Receive { .. }),
            Waits::Set(_) => false,
        };
        (waiting.iter().filter(goes_on).count() > 1).then_some(bold)
    }

    pub fn act(&mut self, troupe: &mut Troupe<'_>, who: usize, call: Call) -> String {
        match call {
            Call::Get { register, key, flags } => self.get(troupe.agent(who), register, key, flags),
            Call::Send { register, mtype, text, flags } => {
                let (id, bytes) = (self.registers[register], text.bytes());
                operate(troupe, who, Waits::Room(id, bytes.len()), |agent| agent.start_msgsnd(id, mtype, &bytes, flags))
            }
            Call::Receive { register, size, mtype, flags, .. } => {
                let id = self.registers[register];
                operate(troupe, who, Waits::Message(id), |agent| agent.start_msgrcv(id, size, mtype, flags))
            }
            Call::Set { register, uid, gid, mode, qbytes, .. } => {
                self.set(troupe, who, self.registers[register], (uid, gid, mode), qbytes)
            }
            Call::SetCapacity { register, .. } if self.given.has(&troupe.processes[&who], self.registers[register]) => {
                "has been given this".to_owned()
            }
            call => self.ask(troupe, troupe.agent(who), call),
        }
    }

    /// Where all wait or are dead, the tester goes on, without waiting.
    pub fn act_for_all(&self, troupe: &Troupe<'_>, call: Call) -> String {
        match call {
            Call::Send { .. } | Call::Receive { .. } | Call::SetCapacity { .. } | Call::Remove { .. } => {
                format!("(the tester instead) {}", self.ask(troupe, troupe.janitor, call))
            }
            _ => "nobody can".to_owned(),
        }
    }

    /// The calls that change nothing of the scene, and never wait.
    fn ask(&self, troupe: &Troupe<'_>, agent: &Agent, call: Call) -> String {
        let id = |register: usize| self.registers[register];
        match call {
            Call::Send { register, mtype, text, flags } => done(agent.msgsnd(id(register), mtype, &text.bytes(), flags | TRY)),
            Call::Receive { register, size, mtype, flags, .. } => received(agent.msgrcv(id(register), size, mtype, flags | TRY)),
            Call::SetCapacity { register, qbytes, .. } => done(agent.msg_set_capacity(id(register), qbytes)),
            Call::Stat { register } => agent.msg_stat(id(register)).map_or_else(name, |q| self.tell(troupe, &q)),
            Call::StatIndex { register, any } => self.stat_index(troupe, agent, id(register), any),
            Call::Remove { register } => done(agent.msg_remove(id(register))),
            Call::Limits => agent.msg_limits().map_or_else(name, |l| format!("{} {} {}", l.msgmax, l.msgmnb, l.msgmni)),
            Call::Usage => agent
                .msg_usage()
                .map_or_else(name, |u| format!("{} queues, {} messages, {} bytes", u.queues, u.messages, u.bytes)),
            other => unreachable!("{other:?} changes the scene"),
        }
    }

    fn get(&mut self, agent: &Agent, register: usize, key: i32, flags: i32) -> String {
        agent.msgget(key, flags).map_or_else(name, |id| {
            self.registers[register] = id;
            if !self.ids.contains(&id) {
                self.ids.push(id);
            }
            self.number(id)
        })
    }

    fn set(&mut self, troupe: &Troupe<'_>, who: usize, id: i32, (uid, gid, mode): (u32, u32, u32), qbytes: u64) -> String {
        let process = &troupe.processes[&who];
        if self.given.has(process, id) {
            return "has been given this".to_owned();
        }
        process.agent.msg_set(id, uid, gid, mode, qbytes).map_or_else(name, |()| {
            self.given.note(id, uid);
            "done".to_owned()
        })
    }

    /// All queues of the program that are there, in order of appearance.
    pub fn list(&self, troupe: &Troupe<'_>, seen: &[State]) -> String {
        let each = |state: &State| match state {
            Ok((queue, messages)) => Some(self.tell_all(troupe, queue, messages)),
            Err(Errno::INVAL) => None,
            Err(e) => panic!("the tester cannot look at a queue: {e}"),
        };
        seen.iter().filter_map(each).collect()
    }

    /// By index: of a stale identifier it is only known that its index leads elsewhere or nowhere, because
    /// subjects choose indexes differently.
    fn stat_index(&self, troupe: &Troupe<'_>, agent: &Agent, id: i32, any: bool) -> String {
        let index = id & 0x7fff;
        match agent.msg_stat_any(index) {
            Ok(q) if q.id == id => {}
            Ok(_) | Err(Errno::INVAL) => return "elsewhere".to_owned(),
            Err(e) => return format!("at its index: {}", name(e)),
        }
        let outcome = if any { agent.msg_stat_any(index) } else { agent.msg_stat_index(index) };
        outcome.map_or_else(name, |q| self.tell(troupe, &q))
    }

    fn number(&self, id: i32) -> String {
        self.ids.iter().position(|known| *known == id).map_or("unknown".to_owned(), |n| format!("#{n}"))
    }

    /// Every field of `msqid_ds`, in words that mean the same for every subject.
    fn tell(&self, troupe: &Troupe<'_>, q: &Queue) -> String {
        let (time, process) = (|t| troupe.time(t), |pid| troupe.process(pid));
        let sequence = if q.seq == (q.id as u32 >> 15) & 0xffff { "" } else { " sequence wrong" };
        let who = format!("key {} uid {} gid {} cuid {} cgid {} mode {:o}", q.key, q.uid, q.gid, q.cuid, q.cgid, q.mode);
        let times = format!("stime {} rtime {} ctime {}", time(q.stime), time(q.rtime), time(q.ctime));
        let holds = format!("cbytes {} qnum {} qbytes {}", q.cbytes, q.qnum, q.qbytes);
        let pids = format!("lspid {} lrpid {}", process(q.lspid), process(q.lrpid));
        format!("{}{sequence} {who} {times} {holds} {pids}", self.number(q.id))
    }

    fn tell_all(&self, troupe: &Troupe<'_>, q: &Queue, messages: &[Message]) -> String {
        let each: Vec<String> = messages.iter().map(told).collect();
        format!("\n        queue {} [{}]", self.tell(troupe, q), each.join(" "))
    }
}

/// Those who wait in a queue.
fn waiting_in(troupe: &Troupe<'_>, id: i32) -> impl Iterator<Item = Waits> {
    troupe.processes.values().filter_map(|process| process.waits).filter(move |waits| waits.queue() == Some(id))
}

/// Makes a call that may wait, until it has answered, or waits.
fn operate(troupe: &mut Troupe<'_>, who: usize, waits: Waits, start: impl FnOnce(&Agent)) -> String {
    let (agent, world) = (troupe.agent(who), troupe.world);
    let already = troupe.waiting(|other| other.queue() == waits.queue()).len();
    start(agent);
    let counted = || waits.queue().is_none_or(|id| world.subject.is_kernel() || world.msg_waiting(id) > already);
    let settled = comes_about(PATIENCE, || agent.answers_within(GLANCE) || (agent.sleeps_in_a_call() && counted()));
    if agent.has_answered() {
        return waits.answer(agent);
    }
    troupe.waits(who, waits);
    if settled { "waits".to_owned() } else { "neither answers nor waits".to_owned() }
}

/// Takes the answers of those who waited in a queue. `true`: somebody has answered or is about to do something, which may lead to more.
pub fn take_answers(troupe: &mut Troupe<'_>, ended: &mut BTreeMap<usize, String>) -> bool {
    let mut restless = false;
    for who in troupe.waiting(|waits| waits.queue().is_some()) {
        let agent = troupe.agent(who);
        // Who sleeps after that and has not answered before, waits: he does not sleep between the two.
        let sleeps = agent.sleeps_in_a_call();
        if agent.has_answered() {
            ended.insert(who, troupe.answer(who));
            restless = true;
        } else if !sleeps {
            restless = true;
        }
    }
    restless
}

/// What holds of any order: no queue has more in it than it takes unless that has been lowered, and nobody waits for room that is there.
pub fn tell_what_holds(troupe: &Troupe<'_>, states: &[State]) -> String {
    let in_vain = states.iter().filter_map(|state| state.as_ref().ok()).any(|(queue, messages)| {
        let sum: usize = messages.iter().map(|message| message.text.len()).sum();
        let fits = |len: usize| len as u64 + queue.cbytes <= queue.qbytes && queue.qnum < queue.qbytes;
        let wrong = queue.holds() != (messages.len() as u64, sum as u64);
        wrong || waiting_in(troupe, queue.id).any(|waits| matches!(waits, Waits::Room(_, len) if fits(len)))
    });
    format!("in any order; {}", if in_vain { "but somebody waits for room that is there" } else { "nobody waits in vain" })
}

/// Where all wait or are dead, the tester receives what was only to be looked at: else nothing would happen from there on.
pub fn for_all(call: Call) -> Call {
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
