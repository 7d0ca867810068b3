//! Performs calls over segments, and tells what they gave.

use super::super::stage::name;
use super::super::troupe::{Given, Process, Troupe, done};
use super::{Call, Place, REGISTERS};
use crate::{Address, Agent, Stat};
use libc::SHM_REMAP;
use std::collections::HashMap;

const PAGE: usize = 4096;
/// The most pages of a segment that is attached in the pad.
const MOST: usize = 2;

/// A program's segments.
pub struct Segments {
    registers: [i32; REGISTERS],
    /// The identifiers so far, in order of appearance.
    pub ids: Vec<i32>,
    /// Their sizes.
    sizes: HashMap<i32, u64>,
    given: Given,
}

impl Segments {
    pub fn new() -> Segments {
        Segments { registers: [-1; REGISTERS], ids: Vec::new(), sizes: HashMap::new(), given: Given::default() }
    }

    pub fn act(&mut self, troupe: &mut Troupe<'_>, who: usize, call: Call) -> String {
        match call {
            Call::Get { register, key, size, flags } => self.get(troupe.agent(who), register, (key, size, flags)),
            Call::Attach { register, place, flags, hold } => {
                self.attach(troupe.process_mut(who), self.registers[register], (place, flags), hold)
            }
            Call::Detach { hold } => {
                let process = troupe.process_mut(who);
                // A freed address is where the next mapping may go, which depends on what else the subject maps.
                let address = std::mem::replace(&mut process.holds[hold], Address::NULL);
                process.detached(address)
            }
            Call::DetachPad { page } => troupe.process_mut(who).detached(Address::pad(page)),
            Call::Free { page } => troupe.process_mut(who).free(page),
            Call::Set { register, uid, gid, mode } => {
                self.set(&troupe.processes[&who], self.registers[register], (uid, gid, mode))
            }
            call => self.ask(troupe, &troupe.processes[&who], call),
        }
    }

    /// The calls that change nothing of the scene.
    fn ask(&self, troupe: &Troupe<'_>, process: &Process, call: Call) -> String {
        let agent = &process.agent;
        let id = |register: usize| self.registers[register];
        match call {
            Call::Stat { register } => agent.stat(id(register)).map_or_else(name, |s| self.tell(troupe, &s)),
            Call::StatIndex { register, any } => self.stat_index(troupe, agent, id(register), any),
            Call::Remove { register } => done(agent.remove(id(register))),
            Call::Lock { register } => done(agent.lock(id(register))),
            Call::Unlock { register } => done(agent.unlock(id(register))),
            Call::Info => agent.ipc_info().map_or_else(name, |i| format!("{} {} {}", i.shmmax, i.shmmni, i.shmall)),
            Call::Usage => agent.shm_info().map_or_else(name, |u| format!("{} segments, {} pages", u.used_ids, u.tot)),
            Call::List => self.list(troupe, &agent.survey(&self.ids, &[], &[]).segments),
            Call::Poke { hold, offset, byte } => done(agent.poke(process.place(hold, offset), byte)),
            Call::Peek { hold, offset } => agent.peek(process.place(hold, offset)).map_or_else(name, |b| b.to_string()),
            Call::Probe { hold } => agent.probe(process.holds[hold]),
            other => unreachable!("{other:?} changes the scene"),
        }
    }

    fn get(&mut self, agent: &Agent, register: usize, (key, size, flags): (i32, u64, i32)) -> String {
        agent.shmget(key, size, flags).map_or_else(name, |id| {
            self.registers[register] = id;
            if !self.ids.contains(&id) {
                // An identifier is first seen when its segment is created, so the size is the segment's.
                self.ids.push(id);
                self.sizes.insert(id, size);
            }
            self.number(id)
        })
    }

    fn set(&mut self, process: &Process, id: i32, (uid, gid, mode): (u32, u32, u32)) -> String {
        if self.given.has(process, id) {
            return "has been given this".to_owned();
        }
        process.agent.set(id, uid, gid, mode).map_or_else(name, |()| {
            self.given.note(id, uid);
            "done".to_owned()
        })
    }

    fn attach(&self, process: &mut Process, id: i32, (place, flags): (Place, i32), hold: usize) -> String {
        let size = self.sizes.get(&id).copied().unwrap_or(1);
        let pages = size.div_ceil(PAGE as u64) as usize;
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

    /// By index: of a stale identifier it is only known that its index leads elsewhere or nowhere, because
    /// subjects choose indexes differently.
    fn stat_index(&self, troupe: &Troupe<'_>, agent: &Agent, id: i32, any: bool) -> String {
        let index = id & 0x7fff;
        match agent.stat_any(index) {
            Ok(s) if s.id == id => {}
            _ => return "elsewhere".to_owned(),
        }
        let outcome = if any { agent.stat_any(index) } else { agent.stat_index(index) };
        outcome.map_or_else(name, |s| self.tell(troupe, &s))
    }

    /// All segments of the program that are there, in order of appearance.
    pub fn list(&self, troupe: &Troupe<'_>, seen: &[Option<Stat>]) -> String {
        seen.iter().flatten().map(|stat| format!("\n        segment {}", self.tell(troupe, stat))).collect()
    }

    fn number(&self, id: i32) -> String {
        self.ids.iter().position(|known| *known == id).map_or("unknown".to_owned(), |n| format!("#{n}"))
    }

    /// Every field of `shmid_ds`, in words that mean the same for every subject.
    fn tell(&self, troupe: &Troupe<'_>, s: &Stat) -> String {
        let (time, process) = (|t| troupe.time(t), |pid| troupe.process(pid));
        let sequence = if s.seq == (s.id as u32 >> 15) & 0xffff { "" } else { " sequence wrong" };
        let who = format!("key {} uid {} gid {} cuid {} cgid {} mode {:o}", s.key, s.uid, s.gid, s.cuid, s.cgid, s.mode);
        let times = format!("atime {} dtime {} ctime {}", time(s.atime), time(s.dtime), time(s.ctime));
        let pids = format!("cpid {} lpid {}", process(s.cpid), troupe.last(s.lpid));
        format!("{}{sequence} {who} size {} {times} {pids} nattch {}", self.number(s.id), s.size, s.nattch)
    }
}

/// Its attachments.
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

    fn free(&self, page: usize) -> String {
        let used = self.pad.iter().any(|&(first, count)| (first..first + count).contains(&page));
        match used {
            true => "in use".to_owned(),
            false => self.agent.munmap(Address::pad(page), PAGE).map_or_else(name, |()| "free".into()),
        }
    }
}
