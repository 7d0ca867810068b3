//! The processes of a program whose calls may wait, whatever it is about.

use super::{PROCESSES, Program, User};
use crate::{Agent, Clock, World};
use libc::SIGUSR1;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

/// How long what follows from a call may take to be seen, and a signal to interrupt.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks at whether a call has ended.
pub(super) const GLANCE: Duration = Duration::from_micros(20);

/// A process of a program.
pub(super) struct Process<W> {
    pub agent: Agent,
    pub user: User,
    /// Where its call waits, and for what.
    pub waits: Option<W>,
}

/// All of them, and what is to be known of them.
pub(super) struct Troupe<'a, W> {
    pub world: &'a World,
    pub processes: BTreeMap<usize, Process<W>>,
    start: Clock,
    /// All that were ever there: several, if a place is taken again.
    pids: HashMap<i32, String>,
    /// Objects and the users to whom they have been given.
    given: HashSet<(i32, u32)>,
    /// Whether somebody has died in this step.
    pub death: bool,
}

impl<'a, W> Troupe<'a, W> {
    pub fn new(world: &'a World, janitor: &Agent, program: &Program) -> Troupe<'a, W> {
        let mut troupe = Troupe {
            world,
            processes: BTreeMap::new(),
            start: Clock::now(),
            pids: HashMap::from([(janitor.pid, "the tester".to_owned())]),
            given: HashSet::new(),
            death: false,
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
        self.processes.insert(who, Process { agent, user, waits: None });
    }

    pub fn agent(&self, who: usize) -> &Agent {
        &self.processes[&who].agent
    }

    /// Notes that a process waits, or no longer.
    pub fn waits(&mut self, who: usize, waits: Option<W>) {
        self.processes.entry(who).and_modify(|process| process.waits = waits);
    }

    /// The first from `who` on of whom this is true.
    pub fn first_from(&self, who: usize, fits: impl Fn(&Process<W>) -> bool) -> Option<usize> {
        (0..PROCESSES).map(|i| (who + i) % PROCESSES).find(|who| self.processes.get(who).is_some_and(&fits))
    }

    pub fn fork(&mut self, who: usize, child: usize, fork: fn(&Agent) -> Agent) -> String {
        let places = (0..PROCESSES).map(|i| (child + i) % PROCESSES);
        let Some(child) = places.into_iter().find(|place| !self.processes.contains_key(place)) else {
            return "no place".to_owned();
        };
        let Process { agent, user, .. } = &self.processes[&who];
        let (agent, user) = (fork(agent), *user);
        self.enter(child, agent, user);
        format!("P{child}")
    }

    pub fn exec(&mut self, who: usize) -> String {
        let agent = self.agent(who);
        agent.exec();
        agent.handle(SIGUSR1, who.is_multiple_of(2));
        self.death = true;
        "another image".to_owned()
    }

    pub fn become_user(&mut self, who: usize, user: User) -> String {
        let process = self.processes.get_mut(&who).expect("looked for before");
        match user.ids() {
            Some((uid, gid, groups)) if process.user == User::Tester && rustix::process::geteuid().is_root() => {
                process.agent.become_user(uid, gid, groups);
                process.user = user;
                "another user".to_owned()
            }
            _ => "stays who it is".to_owned(),
        }
    }

    /// Interrupts one that waits; what its call gave then, if that is so.
    pub fn interrupt(&mut self, who: usize) -> Option<&Agent> {
        let process = self.processes.get_mut(&who).expect("looked for before");
        process.agent.signal(SIGUSR1);
        if !process.agent.answers_within(PATIENCE) {
            return None;
        }
        process.waits = None;
        Some(&process.agent)
    }

    pub fn end(&mut self, who: usize, end: impl FnOnce(Agent)) -> String {
        end(self.processes.remove(&who).expect("looked for before").agent);
        self.death = true;
        "dead".to_owned()
    }

    /// By a signal, also if it waits.
    pub fn kill(&mut self, who: usize, signal: i32) -> String {
        let waits = self.processes[&who].waits.is_some();
        self.end(who, |agent| if waits { agent.slay(signal) } else { agent.kill(signal) })
    }

    /// Whether a process has been given this object. What it may change then is a known difference, unless it is the creator, which is not
    /// known here.
    pub fn has_been_given(&self, who: usize, id: i32) -> bool {
        self.processes[&who].user.ids().is_some_and(|(own, _, _)| self.given.contains(&(id, own)))
    }

    pub fn give(&mut self, id: i32, uid: u32) {
        self.given.insert((id, uid));
    }

    /// What a process id is called.
    pub fn process(&self, pid: i32) -> String {
        match self.pids.get(&pid) {
            Some(name) => name.clone(),
            None if pid == 0 => "nobody".to_owned(),
            None => "unknown".to_owned(),
        }
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
