//! Executes calls on queues and reports the results.

use super::super::format::{done, errno, message, received};
use super::super::process_pool::{Grants, POLL_INTERVAL, ProcessPool, TIMEOUT, Waits};
use super::call::{Call, REGISTERS};
use crate::world::becomes_true;
use crate::{Agent, COPY, EXCEPT, Errno, Message, MsgFlags, NOERROR, Outcome, Queue, TRY};
use std::collections::BTreeMap;

/// The queues of a program.
pub struct Queues {
    registers: [i32; REGISTERS],
    /// Identifiers in order of appearance.
    pub ids: Vec<i32>,
    grants: Grants,
}

/// The state of a queue as the janitor reads it.
pub type State = Outcome<(Queue, Vec<Message>)>;

impl Queues {
    pub fn new() -> Queues {
        Queues { registers: [-1; REGISTERS], ids: Vec::new(), grants: Grants::default() }
    }

    /// Returns `Some` if a call would let blocked calls proceed in an order that the kernel does
    /// not define. The value says whether to make the call.
    pub fn is_racy(&self, pool: &ProcessPool<'_>, call: Call) -> Option<bool> {
        let (id, racy) = match call {
            Call::Receive { register, racy, .. }
            | Call::Set { register, racy, .. }
            | Call::SetCapacity { register, racy, .. } => (self.registers[register], racy),
            _ => return None,
        };
        let waiting: Vec<Waits> = waiting_in(pool, id).collect();
        if waiting.len() < 2 {
            return None;
        }
        let Some(Ok((queue, messages))) = pool.janitor.snapshot(&[], &[], &[id]).queues.pop() else { return None };
        let (cbytes, qnum, qbytes) = match call {
            Call::Receive { size, mtype, flags, .. } => {
                let taken = taken(&messages, size, mtype, flags)?;
                (queue.cbytes - taken.text.len() as u64, queue.qnum - 1, queue.qbytes)
            }
            Call::Set { qbytes, .. } | Call::SetCapacity { qbytes, .. } => (queue.cbytes, queue.qnum, qbytes),
            _ => return None,
        };
        let can_proceed = |waits: &&Waits| match waits {
            Waits::Room(_, len) => *len as u64 + cbytes <= qbytes && qnum < qbytes,
            Waits::Message(_) => !matches!(call, Call::Receive { .. }),
            Waits::Set(_) => false,
        };
        (waiting.iter().filter(can_proceed).count() > 1).then_some(racy)
    }

    pub fn perform(&mut self, pool: &mut ProcessPool<'_>, slot: usize, call: Call) -> String {
        match call {
            Call::Get { register, key, flags } => self.get(pool.agent(slot), register, key, flags),
            Call::Send { register, mtype, text, flags } => {
                let (id, bytes) = (self.registers[register], text.bytes());
                operate(pool, slot, Waits::Room(id, bytes.len()), |agent| agent.start_msgsnd(id, mtype, &bytes, flags))
            }
            Call::Receive { register, size, mtype, flags, .. } => {
                let id = self.registers[register];
                operate(pool, slot, Waits::Message(id), |agent| agent.start_msgrcv(id, size, mtype, flags))
            }
            Call::Set { register, uid, gid, mode, qbytes, .. } => {
                self.set(pool, slot, self.registers[register], (uid, gid, mode), qbytes)
            }
            Call::SetCapacity { register, .. } if self.grants.has(&pool.processes[&slot], self.registers[register]) => {
                "was made its owner".to_owned()
            }
            call => self.ask(pool, pool.agent(slot), call),
        }
    }

    /// Executes a call as the tester, without blocking, when all processes are blocked or have
    /// exited.
    pub fn perform_as_tester(&self, pool: &ProcessPool<'_>, call: Call) -> String {
        match call {
            Call::Send { .. } | Call::Receive { .. } | Call::SetCapacity { .. } | Call::Remove { .. } => {
                format!("(the tester instead) {}", self.ask(pool, pool.janitor, call))
            }
            _ => "no process can".to_owned(),
        }
    }

    /// Makes a call that changes no bookkeeping and never blocks.
    fn ask(&self, pool: &ProcessPool<'_>, agent: &Agent, call: Call) -> String {
        let id = |register: usize| self.registers[register];
        match call {
            Call::Send { register, mtype, text, flags } => done(agent.msgsnd(id(register), mtype, &text.bytes(), flags | TRY)),
            Call::Receive { register, size, mtype, flags, .. } => received(agent.msgrcv(id(register), size, mtype, flags | TRY)),
            Call::SetCapacity { register, qbytes, .. } => done(agent.msg_set_capacity(id(register), qbytes)),
            Call::Stat { register } => agent.msg_stat(id(register)).map_or_else(errno, |q| self.describe(pool, &q)),
            Call::StatIndex { register, any } => self.stat_index(pool, agent, id(register), any),
            Call::Remove { register } => done(agent.msg_remove(id(register))),
            Call::Limits => agent.msg_limits().map_or_else(errno, |l| format!("{} {} {}", l.msgmax, l.msgmnb, l.msgmni)),
            Call::Usage => agent
                .msg_usage()
                .map_or_else(errno, |u| format!("{} queues, {} messages, {} bytes", u.queues, u.messages, u.bytes)),
            other => unreachable!("{other:?} changes the executor"),
        }
    }

    fn get(&mut self, agent: &Agent, register: usize, key: i32, flags: i32) -> String {
        agent.msgget(key, flags).map_or_else(errno, |id| {
            self.registers[register] = id;
            if !self.ids.contains(&id) {
                self.ids.push(id);
            }
            self.number(id)
        })
    }

    fn set(&mut self, pool: &ProcessPool<'_>, slot: usize, id: i32, (uid, gid, mode): (u32, u32, u32), qbytes: u64) -> String {
        let process = &pool.processes[&slot];
        if self.grants.has(process, id) {
            return "was made its owner".to_owned();
        }
        process.agent.msg_set(id, uid, gid, mode, qbytes).map_or_else(errno, |()| {
            self.grants.note(id, uid);
            "done".to_owned()
        })
    }

    /// Lists all queues of the program that still exist, in order of appearance.
    pub fn list(&self, pool: &ProcessPool<'_>, observed: &[State]) -> String {
        let each = |state: &State| match state {
            Ok((queue, messages)) => Some(self.describe_all(pool, queue, messages)),
            Err(Errno::INVAL) => None,
            Err(e) => panic!("the tester cannot read a queue: {e}"),
        };
        observed.iter().filter_map(each).collect()
    }

    /// Reads by index. For a stale identifier it reports only "elsewhere", because subjects choose
    /// indexes differently.
    fn stat_index(&self, pool: &ProcessPool<'_>, agent: &Agent, id: i32, any: bool) -> String {
        let index = id & 0x7fff;
        match agent.msg_stat_any(index) {
            Ok(q) if q.id == id => {}
            Ok(_) | Err(Errno::INVAL) => return "elsewhere".to_owned(),
            Err(e) => return format!("by index: {}", errno(e)),
        }
        let outcome = if any { agent.msg_stat_any(index) } else { agent.msg_stat_index(index) };
        outcome.map_or_else(errno, |q| self.describe(pool, &q))
    }

    fn number(&self, id: i32) -> String {
        self.ids.iter().position(|known| *known == id).map_or("unknown".to_owned(), |n| format!("#{n}"))
    }

    /// Formats every field of `msqid_ds` as text that means the same on every subject.
    fn describe(&self, pool: &ProcessPool<'_>, q: &Queue) -> String {
        let (time, process) = (|t| pool.time(t), |pid| pool.process(pid));
        let sequence = if q.seq == (q.id as u32 >> 15) & 0xffff { "" } else { " sequence wrong" };
        let slot = format!("key {} uid {} gid {} cuid {} cgid {} mode {:o}", q.key, q.uid, q.gid, q.cuid, q.cgid, q.mode);
        let times = format!("stime {} rtime {} ctime {}", time(q.stime), time(q.rtime), time(q.ctime));
        let counts = format!("cbytes {} qnum {} qbytes {}", q.cbytes, q.qnum, q.qbytes);
        let pids = format!("lspid {} lrpid {}", process(q.lspid), process(q.lrpid));
        format!("{}{sequence} {slot} {times} {counts} {pids}", self.number(q.id))
    }

    fn describe_all(&self, pool: &ProcessPool<'_>, q: &Queue, messages: &[Message]) -> String {
        let each: Vec<String> = messages.iter().map(message).collect();
        format!("\n        queue {} [{}]", self.describe(pool, q), each.join(" "))
    }
}

/// Returns the calls that wait in a queue.
fn waiting_in(pool: &ProcessPool<'_>, id: i32) -> impl Iterator<Item = Waits> {
    pool.processes.values().filter_map(|process| process.waits).filter(move |waits| waits.queue() == Some(id))
}

/// Starts a call and returns when it has returned or is blocked.
fn operate(pool: &mut ProcessPool<'_>, slot: usize, waits: Waits, start: impl FnOnce(&Agent)) -> String {
    let (agent, world) = (pool.agent(slot), pool.world);
    let already = pool.waiting(|other| other.queue() == waits.queue()).len();
    start(agent);
    let counted = || waits.queue().is_none_or(|id| world.subject.is_kernel() || world.msg_waiting(id) > already);
    let settled = becomes_true(TIMEOUT, || agent.answers_within(POLL_INTERVAL) || (agent.sleeps_in_a_call() && counted()));
    if agent.has_answered() {
        return waits.answer(agent);
    }
    pool.waits(slot, waits);
    if settled { "blocks".to_owned() } else { "neither returns nor blocks".to_owned() }
}

/// Reads the answers of calls that were blocked in a queue. Returns `true` if a call has returned
/// or is about to, which may let further calls proceed.
pub fn take_answers(pool: &mut ProcessPool<'_>, ended: &mut BTreeMap<usize, String>) -> bool {
    let mut unsettled = false;
    for slot in pool.waiting(|waits| waits.queue().is_some()) {
        let agent = pool.agent(slot);
        // A process that sleeps after this check and has not answered before it is blocked: it does
        // not sleep between the two.
        let sleeps = agent.sleeps_in_a_call();
        if agent.has_answered() {
            ended.insert(slot, pool.answer(slot));
            unsettled = true;
        } else if !sleeps {
            unsettled = true;
        }
    }
    unsettled
}

/// Checks what holds in any order: the counters match the messages, and no call waits for room that
/// exists.
pub fn invariants(pool: &ProcessPool<'_>, states: &[State]) -> String {
    let broken = states.iter().filter_map(|state| state.as_ref().ok()).any(|(queue, messages)| {
        let sum: usize = messages.iter().map(|message| message.text.len()).sum();
        let fits = |len: usize| len as u64 + queue.cbytes <= queue.qbytes && queue.qnum < queue.qbytes;
        let wrong = queue.counts() != (messages.len() as u64, sum as u64);
        wrong || waiting_in(pool, queue.id).any(|waits| matches!(waits, Waits::Room(_, len) if fits(len)))
    });
    format!("in any order; {}", if broken { "but a sender waits for room that exists" } else { "no call waits in vain" })
}

/// Turns a query into a receive when all processes are blocked or have exited. Otherwise the rest
/// of the program would change nothing.
pub fn as_tester(call: Call) -> Call {
    match call {
        Call::Stat { register } | Call::StatIndex { register, .. } | Call::Set { register, .. } => {
            Call::Receive { register, size: 8192, mtype: 0, flags: TRY, racy: false }
        }
        call => call,
    }
}

/// Returns the message that a call with these arguments removes, if any.
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
