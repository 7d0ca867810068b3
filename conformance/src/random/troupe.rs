//! The processes of a program, whatever it is about.

use super::segments::HOLDS;
use super::stage::name;
use super::{Figures, PROCESSES, Program, User};
use crate::{Address, Agent, Clock, Message, Outcome, World};
use libc::{SIGKILL, SIGUSR1};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

/// How long it may take until a call that was begun waits or answers, and until who has been woken or interrupted answers: for finding a hang, not for timing.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at whether a call has ended.
pub(super) const GLANCE: Duration = Duration::from_micros(20);

/// Where a call waits, and for what.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// In a set.
    Set(i32),
    /// In a queue, for room for so many bytes.
    Room(i32, usize),
    /// In a queue.
    Message(i32),
}

impl Waits {
    pub fn queue(self) -> Option<i32> {
        match self {
            Waits::Set(_) => None,
            Waits::Room(id, _) | Waits::Message(id) => Some(id),
        }
    }

    /// What the call that was begun has answered.
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
    /// Whether it has made a call with `SEM_UNDO`.
    pub undo: bool,
    /// The addresses it keeps.
    pub holds: [Address; HOLDS],
    /// The pages of the pad where it has segments attached: first and number.
    pub pad: Vec<(usize, usize)>,
}

/// All of them, and what is to be known of them.
pub(super) struct Troupe<'a> {
    pub world: &'a World,
    /// Sees all.
    pub janitor: &'a Agent,
    pub processes: BTreeMap<usize, Process>,
    pub figures: Figures,
    /// Whether there are several users: then somebody with all rights looks after each death, because a
    /// user without them cannot settle what the dead have left (`docs/semantics.md`).
    pub several: bool,
    /// Who has died or become another image since all segments were looked at last.
    unseen: Vec<i32>,
    /// Those who did so unseen together with others: who of several was the last, a subject need not know.
    blurred: HashSet<i32>,
    start: Clock,
    /// All that were ever there: several, if a place is taken again.
    pids: HashMap<i32, String>,
}

impl<'a> Troupe<'a> {
    pub fn new(world: &'a World, janitor: &'a Agent, program: &Program) -> Troupe<'a> {
        let becomes = |step: &super::Step| matches!(step.call, super::Call::Become { .. });
        let mut troupe = Troupe {
            world,
            janitor,
            processes: BTreeMap::new(),
            figures: Figures::default(),
            several: program.cast.iter().any(|user| *user != program.cast[0]) || program.steps.iter().any(becomes),
            unseen: Vec::new(),
            blurred: HashSet::new(),
            start: Clock::now(),
            pids: HashMap::from([(janitor.pid, "the tester".to_owned())]),
        };
        for (who, user) in program.cast.iter().enumerate() {
            let agent = world.agent();
            if let Some((uid, gid, groups)) = user.ids() {
                agent.become_user(uid, gid, groups);
            }
            troupe.enter(who, agent, *user);
        }
        troupe
    }

    fn enter(&mut self, who: usize, agent: Agent, user: User) {
        agent.handle(SIGUSR1, who.is_multiple_of(2));
        let generation = self.pids.len();
        self.pids.insert(agent.pid, format!("P{who}/{generation}"));
        let (holds, pad) = ([Address::NULL; HOLDS], Vec::new());
        self.processes.insert(who, Process { agent, user, waits: None, undo: false, holds, pad });
    }

    pub fn agent(&self, who: usize) -> &Agent {
        &self.processes[&who].agent
    }

    pub fn process_mut(&mut self, who: usize) -> &mut Process {
        self.processes.get_mut(&who).expect("looked for before")
    }

    /// Notes that a process waits.
    pub fn waits(&mut self, who: usize, waits: Waits) {
        self.figures.waits += 1;
        self.process_mut(who).waits = Some(waits);
    }

    /// The answer of one who has waited.
    pub fn answer(&mut self, who: usize) -> String {
        self.figures.answered += 1;
        self.take_answer(who)
    }

    fn take_answer(&mut self, who: usize) -> String {
        let process = self.process_mut(who);
        process.waits.take().map_or_else(|| "an answer to nothing".to_owned(), |waits| waits.answer(&process.agent))
    }

    /// Those who wait in this way.
    pub fn waiting(&self, how: impl Fn(Waits) -> bool) -> Vec<usize> {
        self.processes.iter().filter(|(_, process)| process.waits.is_some_and(&how)).map(|(who, _)| *who).collect()
    }

    /// The first from `who` on of whom this is true.
    pub fn first_from(&self, who: usize, fits: impl Fn(&Process) -> bool) -> Option<usize> {
        (0..PROCESSES).map(|i| (who + i) % PROCESSES).find(|who| self.processes.get(who).is_some_and(&fits))
    }

    /// `fork(2)` if the child is a copy, else `vfork(2)` and a new image.
    pub fn fork(&mut self, who: usize, child: usize, copies: bool) -> String {
        let places = (0..PROCESSES).map(|i| (child + i) % PROCESSES);
        let Some(child) = places.into_iter().find(|place| !self.processes.contains_key(place)) else {
            return "no place".to_owned();
        };
        self.figures.forks += 1;
        let Process { agent, user, holds, pad, .. } = &self.processes[&who];
        let (born, user, holds, pad) = (if copies { agent.fork() } else { agent.vfork() }, *user, *holds, pad.clone());
        self.enter(child, born, user);
        if copies {
            let process = self.process_mut(child);
            (process.holds, process.pad) = (holds, pad);
        }
        format!("P{child}")
    }

    pub fn exec(&mut self, who: usize) -> String {
        self.figures.execs += 1;
        let process = self.process_mut(who);
        process.agent.exec();
        process.agent.handle(SIGUSR1, who.is_multiple_of(2));
        process.holds = [Address::NULL; HOLDS];
        process.pad.clear();
        let pid = process.agent.pid;
        self.depart(pid);
        "another image".to_owned()
    }

    pub fn become_user(&mut self, who: usize, user: User) -> String {
        let process = self.process_mut(who);
        match user.ids() {
            Some((uid, gid, groups)) if process.user == User::Tester && rustix::process::geteuid().is_root() => {
                process.agent.become_user(uid, gid, groups);
                process.user = user;
                "another user".to_owned()
            }
            _ => "stays who it is".to_owned(),
        }
    }

    /// Interrupts one that waits; what its call gave then.
    pub fn interrupt(&mut self, who: usize) -> String {
        let agent = self.agent(who);
        agent.signal(SIGUSR1);
        match agent.answers_within(PATIENCE) {
            true => {
                self.figures.interrupted += 1;
                format!("interrupted: {}", self.take_answer(who))
            }
            false => "not interrupted".to_owned(),
        }
    }

    pub fn end(&mut self, who: usize, end: impl FnOnce(Agent)) -> String {
        let agent = self.processes.remove(&who).expect("looked for before").agent;
        self.figures.deaths += 1;
        self.depart(agent.pid);
        end(agent);
        "dead".to_owned()
    }

    fn depart(&mut self, pid: i32) {
        self.unseen.push(pid);
        if self.unseen.len() > 1 {
            self.blurred.extend(&self.unseen);
        }
    }

    /// Notes that somebody with all rights has looked at all segments.
    pub fn all_seen(&mut self) {
        self.unseen.clear();
    }

    /// By a signal, also if it waits.
    pub fn kill(&mut self, who: usize, signal: i32) -> String {
        let waits = self.processes[&who].waits.is_some();
        self.end(who, |agent| if waits { agent.slay(signal) } else { agent.kill(signal) })
    }

    /// At the program's end, in one way or another.
    pub fn end_of_the_program(&mut self, who: usize) -> String {
        match self.processes[&who].waits {
            None if who.is_multiple_of(2) => self.end(who, |agent| agent.exit_at_once(0)),
            _ => self.kill(who, SIGKILL),
        }
    }

    /// What a process id is called.
    pub fn process(&self, pid: i32) -> String {
        match self.pids.get(&pid) {
            Some(name) => name.clone(),
            None if pid == 0 => "nobody".to_owned(),
            None => "unknown".to_owned(),
        }
    }

    /// What the last process to change a segment is called.
    pub fn last(&self, pid: i32) -> String {
        if self.blurred.contains(&pid) { "departed".to_owned() } else { self.process(pid) }
    }

    /// A time, in words that mean the same for every subject.
    pub fn time(&self, time: i64) -> &'static str {
        match time {
            0 => "never",
            t if self.start.saw(t) => "set",
            _ => "wrong",
        }
    }
}

/// Objects and the users to whom they have been given. What these may change then is a known difference, unless it is the creator, which is not
/// known here.
#[derive(Default)]
pub(super) struct Given(HashSet<(i32, u32)>);

impl Given {
    pub fn has(&self, process: &Process, id: i32) -> bool {
        process.user.ids().is_some_and(|(own, _, _)| self.0.contains(&(id, own)))
    }

    pub fn note(&mut self, id: i32, uid: u32) {
        self.0.insert((id, uid));
    }
}

pub(super) fn done(outcome: Outcome<()>) -> String {
    outcome.map_or_else(name, |()| "done".to_owned())
}

pub(super) fn received(outcome: Outcome<Message>) -> String {
    outcome.map_or_else(name, |message| told(&message))
}

/// A message's type, its length, and its bytes: all if they are few, or a sum in which each counts.
pub(super) fn told(message: &Message) -> String {
    let bytes = match message.text.len() {
        0..=20 => format!("{:?}", message.text),
        _ => format!("{:08x}", message.text.iter().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)))),
    };
    format!("{}:{}:{bytes}", message.mtype, message.text.len())
}
