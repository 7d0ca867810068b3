//! Runs programs on a subject, and tells what each call gave.

use super::{Call, HOLDS, Mechanism, PROCESSES, Place, Program, REGISTERS, Regime, Step, User, queues, sets};
use crate::{Address, Agent, Clock, Errno, Outcome, Stat, Subject, World};
use libc::SHM_REMAP;
use std::collections::{HashMap, HashSet};

const PAGE: usize = 4096;
/// The most pages of a segment that is attached in the pad.
const MOST: usize = 2;

/// A subject's namespace in which one program after another is run.
pub struct Stage {
    /// Sees and cleans up what the programs leave. (Goes before the world, which waits for it.)
    janitor: Agent,
    world: World,
}

impl Stage {
    /// A fresh namespace.
    ///
    /// # Errors
    ///
    /// As [`World::new`].
    pub fn new(subject: Subject) -> Result<Stage, String> {
        let world = World::new(subject)?;
        let janitor = world.lasting_agent();
        Ok(Stage { janitor, world })
    }

    /// Runs a program; what each step gave, and what is told after them (`endings`). `judged` is who is compared
    /// with the kernel, whose deliberate differences are left out; `known` is what the kernel has told, if it has.
    pub fn run(&self, program: &Program, judged: Subject, known: &[String]) -> Vec<String> {
        let limit = program.regime.limit();
        if let Some((name, value, _)) = limit {
            self.world.set_limit(name, value).expect("the superuser may set limits");
        }
        let told = match program.mechanism {
            Mechanism::Segments => self.run_over_segments(program),
            Mechanism::Sets => sets::run(&self.world, &self.janitor, program, judged, known),
            Mechanism::Queues => queues::run(&self.world, &self.janitor, program, known),
        };
        if let Some((name, _, default)) = limit {
            self.world.set_limit(name, default).expect("the superuser may set limits");
        }
        told
    }

    /// What each step gave, then the state at the end, and that after all have died.
    fn run_over_segments(&self, program: &Program) -> Vec<String> {
        let mut scene = Scene::new(self, program);
        let mut told: Vec<String> = program.steps.iter().map(|step| self.perform(&mut scene, step)).collect();
        told.push(scene.list(&self.janitor));
        scene.end_all();
        self.world.await_deaths();
        told.push(scene.list(&self.janitor));
        told.push(self.clean(&scene));
        told
    }

    fn perform(&self, scene: &mut Scene, step: &Step) -> String {
        let departed = scene.departed.len();
        let told = scene.perform(step);
        if scene.several && scene.departed.len() > departed {
            scene.list(&self.janitor);
        }
        told
    }

    /// Removes what is left; everything must then be gone.
    fn clean(&self, scene: &Scene) -> String {
        for id in scene.names.keys() {
            let _ = self.janitor.remove(*id);
        }
        self.janitor.shm_info().map_or_else(name, |u| format!("{} left, {} pages", u.used_ids, u.tot))
    }
}

/// What is told after the steps of a program.
pub(super) fn endings(program: &Program) -> Vec<String> {
    let of_segments = ["(the segments at the end)", "(the segments after all have died)", "(what is left then)"];
    match program.mechanism {
        Mechanism::Segments => of_segments.map(str::to_owned).to_vec(),
        Mechanism::Sets => sets::endings(),
        Mechanism::Queues => queues::endings(),
    }
}

/// What an errno is called.
pub(super) fn name(e: Errno) -> String {
    format!("{e:?}")
}

/// A process of a program, and the addresses it keeps.
struct Process {
    agent: Agent,
    user: User,
    holds: [Address; HOLDS],
    /// The pages of the pad where it has segments attached: first and number.
    pad: Vec<(usize, usize)>,
}

/// A program's run.
struct Scene {
    start: Clock,
    registers: [i32; REGISTERS],
    processes: HashMap<usize, Process>,
    /// The identifiers so far: their numbers in order of appearance, and the segments' sizes.
    names: HashMap<i32, (usize, u64)>,
    /// All that were ever there: several, if a place is taken again.
    pids: HashMap<i32, String>,
    /// Those of them that have died or become another image: who of several was the last, a subject need not know.
    departed: HashSet<i32>,
    /// Segments and the users to whom they have been given.
    given: HashSet<(i32, u32)>,
    /// Whether there are several users: then somebody with all rights looks after each death, because a
    /// user without them cannot settle what the dead have left (`docs/semantics.md`).
    several: bool,
    regime: Regime,
}

impl Scene {
    fn new(stage: &Stage, program: &Program) -> Scene {
        let mut scene = Scene {
            start: Clock::now(),
            registers: [-1; REGISTERS],
            processes: HashMap::new(),
            names: HashMap::new(),
            pids: HashMap::new(),
            departed: HashSet::new(),
            given: HashSet::new(),
            several: program.cast.iter().any(|user| *user != program.cast[0])
                || program.steps.iter().any(|step| matches!(step.call, Call::Become { .. })),
            regime: program.regime,
        };
        for (who, user) in program.cast.iter().enumerate() {
            let agent = stage.world.agent();
            if let Some((uid, gid, groups)) = User::ids(*user) {
                agent.become_user(uid, gid, groups);
            }
            scene.enter(who, Process { agent, user: *user, holds: [Address::NULL; HOLDS], pad: Vec::new() });
        }
        scene
    }

    fn enter(&mut self, who: usize, process: Process) {
        let generation = self.pids.len();
        self.pids.insert(process.agent.pid, format!("P{who}/{generation}"));
        self.processes.insert(who, process);
    }

    fn perform(&mut self, step: &Step) -> String {
        match step.call {
            _ if !self.processes.contains_key(&step.who) => "absent".to_owned(),
            Call::Get { register, key, size, flags } => self.get(step.who, register, (key, size, flags)),
            Call::Attach { register, place, flags, hold } => self.attach(step.who, register, place, flags, hold),
            Call::Detach { hold } => self.detach(step.who, hold),
            Call::DetachPad { page } => self.detach_pad(step.who, page),
            Call::Free { page } => self.free(step.who, page),
            Call::Set { register, uid, gid, mode } => self.set(step.who, register, (uid, gid, mode)),
            Call::Fork { child } => self.fork(step.who, child, true),
            Call::Vfork { child } => self.fork(step.who, child, false),
            // A known difference: the creator's exec is taken for its end.
            Call::Exec if self.regime == Regime::Forced => "not with shm_rmid_forced".to_owned(),
            Call::Exec => self.exec(step.who),
            Call::Become { user } => self.become_user(step.who, user),
            Call::Exit => self.end(step.who, |agent| agent.exit(0)),
            Call::ExitAtOnce => self.end(step.who, |agent| agent.exit_at_once(0)),
            Call::Kill { signal } => self.end(step.who, |agent| agent.kill(signal)),
            call => self.ask(&self.processes[&step.who], call),
        }
    }

    /// The calls that change nothing of the scene.
    fn ask(&self, process: &Process, call: Call) -> String {
        let agent = &process.agent;
        let id = |register: usize| self.registers[register];
        let done = |outcome: Outcome<()>| outcome.map_or_else(name, |()| "done".to_owned());
        match call {
            Call::Stat { register } => agent.stat(id(register)).map_or_else(name, |s| self.tell(&s)),
            Call::StatIndex { register, any } => self.stat_index(agent, id(register), any),
            Call::Remove { register } => done(agent.remove(id(register))),
            Call::Lock { register } => done(agent.lock(id(register))),
            Call::Unlock { register } => done(agent.unlock(id(register))),
            Call::Info => agent.ipc_info().map_or_else(name, |i| format!("{} {} {}", i.shmmax, i.shmmni, i.shmall)),
            Call::Usage => agent.shm_info().map_or_else(name, |u| format!("{} segments, {} pages", u.used_ids, u.tot)),
            Call::List => self.list(agent),
            Call::Poke { hold, offset, byte } => done(agent.poke(process.place(hold, offset), byte)),
            Call::Peek { hold, offset } => agent.peek(process.place(hold, offset)).map_or_else(name, |b| b.to_string()),
            Call::Probe { hold } => agent.probe(process.holds[hold]),
            Call::FailingExec => name(agent.exec_missing()),
            Call::CloseFrom => done(agent.ask("closefrom 3").map(drop)),
            other => unreachable!("{other:?} changes the scene"),
        }
    }

    fn get(&mut self, who: usize, register: usize, (key, size, flags): (i32, u64, i32)) -> String {
        let outcome = self.processes[&who].agent.shmget(key, size, flags);
        outcome.map_or_else(name, |id| {
            self.registers[register] = id;
            let next = self.names.len();
            // An identifier is first seen when its segment is created, so the size is the segment's.
            let (number, _) = self.names.entry(id).or_insert((next, size));
            format!("#{number}")
        })
    }

    fn set(&mut self, who: usize, register: usize, (uid, gid, mode): (u32, u32, u32)) -> String {
        let (id, process) = (self.registers[register], &self.processes[&who]);
        if process.user.ids().is_some_and(|(own, _, _)| self.given.contains(&(id, own))) {
            // A known difference, unless it is the creator, which is not known here.
            return "has been given this".to_owned();
        }
        process.agent.set(id, uid, gid, mode).map_or_else(name, |()| {
            self.given.insert((id, uid));
            "done".to_owned()
        })
    }

    fn attach(&mut self, who: usize, register: usize, place: Place, flags: i32, hold: usize) -> String {
        let id = self.registers[register];
        let size = self.names.get(&id).map_or(1, |(_, size)| *size);
        let pages = size.div_ceil(PAGE as u64) as usize;
        let process = self.processes.get_mut(&who).expect("looked for before");
        let address = match place {
            Place::Anywhere => Address::NULL,
            Place::Pad(page, offset) if process.may_attach_at(page, pages, flags) => Address::pad(page).plus(offset),
            Place::Pad(..) => return "cuts another in two".to_owned(),
        };
        let outcome = process.agent.shmat(id, address, flags);
        outcome.map_or_else(name, |attached| {
            process.holds[hold] = attached.at;
            if let Place::Pad(page, _) = place {
                process.pad.retain(|&(first, count)| first + count <= page || page + pages <= first);
                process.pad.push((page, pages));
            }
            attached.place
        })
    }

    fn detach(&mut self, who: usize, hold: usize) -> String {
        let process = self.processes.get_mut(&who).expect("looked for before");
        // A freed address is where the next mapping may go, which depends on what else the subject maps.
        let address = std::mem::replace(&mut process.holds[hold], Address::NULL);
        process.detached(address)
    }

    fn detach_pad(&mut self, who: usize, page: usize) -> String {
        self.processes.get_mut(&who).expect("looked for before").detached(Address::pad(page))
    }

    fn free(&mut self, who: usize, page: usize) -> String {
        let process = &self.processes[&who];
        let used = process.pad.iter().any(|&(first, count)| (first..first + count).contains(&page));
        if used {
            "in use".to_owned()
        } else {
            process.agent.munmap(Address::pad(page), PAGE).map_or_else(name, |()| "free".into())
        }
    }

    fn fork(&mut self, who: usize, child: usize, copies: bool) -> String {
        if self.processes.contains_key(&child) {
            return "no place".to_owned();
        }
        let Process { agent, user, holds, pad } = &self.processes[&who];
        let process = match copies {
            true => Process { agent: agent.fork(), user: *user, holds: *holds, pad: pad.clone() },
            false => Process { agent: agent.vfork(), user: *user, holds: [Address::NULL; HOLDS], pad: Vec::new() },
        };
        self.enter(child, process);
        format!("P{child}")
    }

    fn exec(&mut self, who: usize) -> String {
        let process = self.processes.get_mut(&who).expect("looked for before");
        process.agent.exec();
        self.departed.insert(process.agent.pid);
        process.holds = [Address::NULL; HOLDS];
        process.pad.clear();
        "another image".to_owned()
    }

    fn become_user(&mut self, who: usize, user: User) -> String {
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

    fn end(&mut self, who: usize, end: impl FnOnce(Agent)) -> String {
        let agent = self.processes.remove(&who).expect("looked for before").agent;
        self.departed.insert(agent.pid);
        end(agent);
        "dead".to_owned()
    }

    /// Lets all die, one after another: who is the last is told in lpid.
    fn end_all(&mut self) {
        for who in 0..PROCESSES {
            if self.processes.contains_key(&who) {
                self.end(who, |agent| agent.exit_at_once(0));
            }
        }
    }

    /// By index: of a stale identifier it is only known that its index leads elsewhere or nowhere, because
    /// subjects choose indexes differently.
    fn stat_index(&self, agent: &Agent, id: i32, any: bool) -> String {
        let index = id & 0x7fff;
        match agent.stat_any(index) {
            Ok(s) if s.id == id => {}
            _ => return "elsewhere".to_owned(),
        }
        let outcome = if any { agent.stat_any(index) } else { agent.stat_index(index) };
        outcome.map_or_else(name, |s| self.tell(&s))
    }

    /// All segments of the program that are there, in order of appearance.
    fn list(&self, agent: &Agent) -> String {
        let mut ids: Vec<i32> = self.names.keys().copied().collect();
        ids.sort_by_key(|id| self.names[id].0);
        let told: Vec<String> = ids.iter().map(|&id| self.stat_index(agent, id, true)).filter(|t| t != "elsewhere").collect();
        told.join(" | ")
    }

    /// Every field of `shmid_ds`, in words that mean the same for every subject.
    fn tell(&self, s: &Stat) -> String {
        let time = |t: i64| match t {
            0 => "never",
            t if self.start.saw(t) => "set",
            _ => "wrong",
        };
        let process = |pid: i32| match self.pids.get(&pid) {
            Some(name) => name.as_str(),
            None if pid == 0 => "none",
            None => "unknown",
        };
        let number = self.names.get(&s.id).map_or("unknown".to_owned(), |(n, _)| n.to_string());
        let sequence = if s.seq == (s.id as u32 >> 15) & 0xffff { "" } else { " sequence wrong" };
        let who = format!("key {} uid {} gid {} cuid {} cgid {} mode {:o}", s.key, s.uid, s.gid, s.cuid, s.cgid, s.mode);
        let times = format!("atime {} dtime {} ctime {}", time(s.atime), time(s.dtime), time(s.ctime));
        let last = if self.departed.contains(&s.lpid) { "departed" } else { process(s.lpid) };
        let pids = format!("cpid {} lpid {last}", process(s.cpid));
        format!("#{number}{sequence} {who} size {} {times} {pids} nattch {}", s.size, s.nattch)
    }
}

impl Process {
    fn place(&self, hold: usize, offset: usize) -> Address {
        self.holds[hold].plus(offset)
    }

    /// Whether attaching there cuts no other attachment in two: what nattch is then, is a known difference.
    fn may_attach_at(&self, page: usize, pages: usize, flags: i32) -> bool {
        let whole = |&(first, count): &(usize, usize)| {
            let apart = first + count <= page || page + pages <= first;
            apart || (page <= first && first + count <= page + pages)
        };
        pages <= MOST && (flags & SHM_REMAP == 0 || self.pad.iter().all(whole))
    }

    fn detached(&mut self, address: Address) -> String {
        let outcome = self.agent.shmdt(address);
        outcome.map_or_else(name, |()| {
            self.pad.retain(|&(first, _)| Address::pad(first) != address);
            "detached".to_owned()
        })
    }
}
