//! The processes of a program.

use super::counters::Counters;
use super::format::{done, received};
use super::program::{PROCESSES, Program, User};
use super::segments::ADDRESSES;
use crate::{Address, Agent, Clock, World};
use libc::{SIGKILL, SIGUSR1};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

/// Limit for a started call to block or return, and for a woken or interrupted call to return. It
/// detects a hang and measures nothing.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// The interval between two checks whether a call has returned.
pub(super) const POLL_INTERVAL: Duration = Duration::from_micros(20);

/// Where a call is blocked, and for what.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// In a set.
    Set(i32),
    /// In a queue, for room for this many bytes.
    Room(i32, usize),
    /// In a queue, for a message.
    Message(i32),
}

impl Waits {
    pub fn queue(self) -> Option<i32> {
        match self {
            Waits::Set(_) => None,
            Waits::Room(id, _) | Waits::Message(id) => Some(id),
        }
    }

    /// Returns the answer of the started call.
    pub fn answer(self, agent: &Agent) -> String {
        match self {
            Waits::Set(_) | Waits::Room(..) => done(agent.answer()),
            Waits::Message(_) => received(agent.answer_message()),
        }
    }
}

/// A process of a program.
pub(super) struct Process {
    pub agent: Agent,
    pub user: User,
    pub waits: Option<Waits>,
    /// `true` after a call with `SEM_UNDO`.
    pub undo: bool,
    /// Addresses of attachments.
    pub addresses: [Address; ADDRESSES],
    /// The pages of the pad with attached segments: first page and number.
    pub pad: Vec<(usize, usize)>,
}

/// All processes of a program, and what is known of them.
pub(super) struct ProcessPool<'a> {
    pub world: &'a World,
    /// Reads all objects, and removes them at the end.
    pub janitor: &'a Agent,
    pub processes: BTreeMap<usize, Process>,
    pub counters: Counters,
    /// `true` if there are several users. The janitor then reads all segments after each exit,
    /// because a user without permission cannot reclaim what an exited process leaves
    /// (`docs/semantics.md`).
    pub several_users: bool,
    /// Processes that have exited or execed since all segments were last read.
    unobserved: Vec<i32>,
    /// Processes that exited or execed together with another one in that interval. A subject need
    /// not know which of them was last.
    ambiguous: HashSet<i32>,
    start: Clock,
    /// Names of all process ids so far. A slot that is reused has several.
    pids: HashMap<i32, String>,
}

impl<'a> ProcessPool<'a> {
    pub fn new(world: &'a World, janitor: &'a Agent, program: &Program) -> ProcessPool<'a> {
        let becomes = |step: &super::program::Step| matches!(step.call, super::program::Call::Become { .. });
        let mut pool = ProcessPool {
            world,
            janitor,
            processes: BTreeMap::new(),
            counters: Counters::default(),
            several_users: program.processes.iter().any(|user| *user != program.processes[0])
                || program.steps.iter().any(becomes),
            unobserved: Vec::new(),
            ambiguous: HashSet::new(),
            start: Clock::now(),
            pids: HashMap::from([(janitor.pid, "the tester".to_owned())]),
        };
        for (slot, user) in program.processes.iter().enumerate() {
            let agent = world.agent();
            if let Some((uid, gid, groups)) = user.ids() {
                agent.become_user(uid, gid, groups);
            }
            pool.add(slot, agent, *user);
        }
        pool
    }

    fn add(&mut self, slot: usize, agent: Agent, user: User) {
        agent.handle(SIGUSR1, slot.is_multiple_of(2));
        let generation = self.pids.len();
        self.pids.insert(agent.pid, format!("P{slot}/{generation}"));
        let (addresses, pad) = ([Address::NULL; ADDRESSES], Vec::new());
        self.processes.insert(slot, Process { agent, user, waits: None, undo: false, addresses, pad });
    }

    pub fn agent(&self, slot: usize) -> &Agent {
        &self.processes[&slot].agent
    }

    pub fn process_mut(&mut self, slot: usize) -> &mut Process {
        self.processes.get_mut(&slot).expect("the slot is in use")
    }

    /// Records that a process is blocked.
    pub fn waits(&mut self, slot: usize, waits: Waits) {
        self.counters.waits += 1;
        self.process_mut(slot).waits = Some(waits);
    }

    /// Reads the answer of a process that was blocked.
    pub fn answer(&mut self, slot: usize) -> String {
        self.counters.answered += 1;
        self.take_answer(slot)
    }

    fn take_answer(&mut self, slot: usize) -> String {
        let process = self.process_mut(slot);
        process.waits.take().map_or_else(|| "an answer without a call".to_owned(), |waits| waits.answer(&process.agent))
    }

    /// Returns the processes that are blocked in this way.
    pub fn waiting(&self, how: impl Fn(Waits) -> bool) -> Vec<usize> {
        self.processes.iter().filter(|(_, process)| process.waits.is_some_and(&how)).map(|(slot, _)| *slot).collect()
    }

    /// Returns the first process from `slot` on that fits.
    pub fn first_from(&self, slot: usize, fits: impl Fn(&Process) -> bool) -> Option<usize> {
        (0..PROCESSES).map(|i| (slot + i) % PROCESSES).find(|slot| self.processes.get(slot).is_some_and(&fits))
    }

    /// Calls `fork(2)` if the child is a copy, else `vfork(2)` and exec.
    pub fn fork(&mut self, slot: usize, child: usize, copies: bool) -> String {
        let places = (0..PROCESSES).map(|i| (child + i) % PROCESSES);
        let Some(child) = places.into_iter().find(|place| !self.processes.contains_key(place)) else {
            return "no free slot".to_owned();
        };
        self.counters.forks += 1;
        let Process { agent, user, addresses, pad, .. } = &self.processes[&slot];
        let (child_agent, user, addresses, pad) =
            (if copies { agent.fork() } else { agent.vfork() }, *user, *addresses, pad.clone());
        self.add(child, child_agent, user);
        if copies {
            let process = self.process_mut(child);
            (process.addresses, process.pad) = (addresses, pad);
        }
        format!("P{child}")
    }

    pub fn exec(&mut self, slot: usize) -> String {
        self.counters.execs += 1;
        let process = self.process_mut(slot);
        process.agent.exec();
        process.agent.handle(SIGUSR1, slot.is_multiple_of(2));
        process.addresses = [Address::NULL; ADDRESSES];
        process.pad.clear();
        let pid = process.agent.pid;
        self.record_exit(pid);
        "new image".to_owned()
    }

    pub fn become_user(&mut self, slot: usize, user: User) -> String {
        let process = self.process_mut(slot);
        match user.ids() {
            Some((uid, gid, groups)) if process.user == User::Tester && rustix::process::geteuid().is_root() => {
                process.agent.become_user(uid, gid, groups);
                process.user = user;
                "another user".to_owned()
            }
            _ => "not permitted".to_owned(),
        }
    }

    /// Interrupts a blocked process. Returns the result of its call.
    pub fn interrupt(&mut self, slot: usize) -> String {
        let agent = self.agent(slot);
        agent.signal(SIGUSR1);
        match agent.answers_within(TIMEOUT) {
            true => {
                self.counters.interrupted += 1;
                format!("interrupted: {}", self.take_answer(slot))
            }
            false => "not interrupted".to_owned(),
        }
    }

    pub fn end(&mut self, slot: usize, end: impl FnOnce(Agent)) -> String {
        let agent = self.processes.remove(&slot).expect("the slot is in use").agent;
        self.counters.exits += 1;
        self.record_exit(agent.pid);
        end(agent);
        "exited".to_owned()
    }

    fn record_exit(&mut self, pid: i32) {
        self.unobserved.push(pid);
        if self.unobserved.len() > 1 {
            self.ambiguous.extend(&self.unobserved);
        }
    }

    /// Records that all segments have been read with all permissions.
    pub fn mark_observed(&mut self) {
        self.unobserved.clear();
    }

    /// Kills a process, even if it is blocked.
    pub fn kill(&mut self, slot: usize, signal: i32) -> String {
        let waits = self.processes[&slot].waits.is_some();
        self.end(slot, |agent| if waits { agent.kill_from_outside(signal) } else { agent.kill(signal) })
    }

    /// Ends a process at the end of the program, in one of two ways.
    pub fn end_at_program_end(&mut self, slot: usize) -> String {
        match self.processes[&slot].waits {
            None if slot.is_multiple_of(2) => self.end(slot, |agent| agent.exit_immediately(0)),
            _ => self.kill(slot, SIGKILL),
        }
    }

    /// Returns the name of a process id.
    pub fn process(&self, pid: i32) -> String {
        match self.pids.get(&pid) {
            Some(name) => name.clone(),
            None if pid == 0 => "none".to_owned(),
            None => "unknown".to_owned(),
        }
    }

    /// Returns the name of the last process that changed a segment.
    pub fn last(&self, pid: i32) -> String {
        if self.ambiguous.contains(&pid) { "departed".to_owned() } else { self.process(pid) }
    }

    /// Formats a time as text that means the same on every subject.
    pub fn time(&self, time: i64) -> &'static str {
        match time {
            0 => "never",
            t if self.start.saw(t) => "set",
            _ => "wrong",
        }
    }
}

/// Objects that `IPC_SET` has given to a user. What such a user may change is a known difference,
/// unless the user is the creator, which is not tracked here.
#[derive(Default)]
pub(super) struct Grants(HashSet<(i32, u32)>);

impl Grants {
    pub fn has(&self, process: &Process, id: i32) -> bool {
        process.user.ids().is_some_and(|(own, _, _)| self.0.contains(&(id, own)))
    }

    pub fn note(&mut self, id: i32, uid: u32) {
        self.0.insert((id, uid));
    }
}
