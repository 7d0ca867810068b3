//! Executes calls on segments and reports the results.

use super::super::format::{done, errno};
use super::super::process_pool::{Grants, Process, ProcessPool};
use super::call::{Call, Place, REGISTERS};
use crate::{Address, Agent, Stat};
use libc::SHM_REMAP;
use std::collections::HashMap;

const PAGE: usize = 4096;
/// Maximal number of pages of a segment in the pad.
const MOST: usize = 2;

/// The segments of a program.
pub struct Segments {
    registers: [i32; REGISTERS],
    /// Identifiers in order of appearance.
    pub ids: Vec<i32>,
    /// Sizes by identifier.
    sizes: HashMap<i32, u64>,
    grants: Grants,
}

impl Segments {
    pub fn new() -> Segments {
        Segments { registers: [-1; REGISTERS], ids: Vec::new(), sizes: HashMap::new(), grants: Grants::default() }
    }

    pub fn perform(&mut self, pool: &mut ProcessPool<'_>, slot: usize, call: Call) -> String {
        match call {
            Call::Get { register, key, size, flags } => self.get(pool.agent(slot), register, (key, size, flags)),
            Call::Attach { register, place, flags, address } => {
                self.attach(pool.process_mut(slot), self.registers[register], (place, flags), address)
            }
            Call::Detach { address } => {
                let process = pool.process_mut(slot);
                // The next mapping may reuse a freed address, depending on what else the subject
                // maps. So the address is forgotten.
                let address = std::mem::replace(&mut process.addresses[address], Address::NULL);
                process.detached(address)
            }
            Call::DetachPad { page } => pool.process_mut(slot).detached(Address::pad(page)),
            Call::Free { page } => pool.process_mut(slot).free(page),
            Call::Set { register, uid, gid, mode } => {
                self.set(&pool.processes[&slot], self.registers[register], (uid, gid, mode))
            }
            call => self.ask(pool, &pool.processes[&slot], call),
        }
    }

    /// Makes a call that changes no bookkeeping.
    fn ask(&self, pool: &ProcessPool<'_>, process: &Process, call: Call) -> String {
        let agent = &process.agent;
        let id = |register: usize| self.registers[register];
        match call {
            Call::Stat { register } => agent.stat(id(register)).map_or_else(errno, |s| self.describe(pool, &s)),
            Call::StatIndex { register, any } => self.stat_index(pool, agent, id(register), any),
            Call::Remove { register } => done(agent.remove(id(register))),
            Call::Lock { register } => done(agent.lock(id(register))),
            Call::Unlock { register } => done(agent.unlock(id(register))),
            Call::Info => agent.ipc_info().map_or_else(errno, |i| format!("{} {} {}", i.shmmax, i.shmmni, i.shmall)),
            Call::Usage => agent.shm_info().map_or_else(errno, |u| format!("{} segments, {} pages", u.used_ids, u.tot)),
            Call::List => self.list(pool, &agent.snapshot(&self.ids, &[], &[]).segments),
            Call::Poke { address, offset, byte } => done(agent.poke(process.place(address, offset), byte)),
            Call::Peek { address, offset } => agent.peek(process.place(address, offset)).map_or_else(errno, |b| b.to_string()),
            Call::Probe { address } => agent.probe(process.addresses[address]),
            other => unreachable!("{other:?} changes the executor"),
        }
    }

    fn get(&mut self, agent: &Agent, register: usize, (key, size, flags): (i32, u64, i32)) -> String {
        agent.shmget(key, size, flags).map_or_else(errno, |id| {
            self.registers[register] = id;
            if !self.ids.contains(&id) {
                // An identifier first appears when its segment is created, so this is the size of
                // the segment.
                self.ids.push(id);
                self.sizes.insert(id, size);
            }
            self.number(id)
        })
    }

    fn set(&mut self, process: &Process, id: i32, (uid, gid, mode): (u32, u32, u32)) -> String {
        if self.grants.has(process, id) {
            return "was made its owner".to_owned();
        }
        process.agent.set(id, uid, gid, mode).map_or_else(errno, |()| {
            self.grants.note(id, uid);
            "done".to_owned()
        })
    }

    fn attach(&self, process: &mut Process, id: i32, (place, flags): (Place, i32), kept_as: usize) -> String {
        let size = self.sizes.get(&id).copied().unwrap_or(1);
        let pages = size.div_ceil(PAGE as u64) as usize;
        let address = match place {
            Place::Anywhere => Address::NULL,
            Place::Pad(page, offset) if process.may_attach_at(page, pages, flags) => Address::pad(page).plus(offset),
            Place::Pad(..) => return "would split another attachment".to_owned(),
        };
        let outcome = process.agent.shmat(id, address, flags);
        outcome.map_or_else(errno, |attached| {
            process.addresses[kept_as] = attached.at;
            if let Place::Pad(page, _) = place {
                process.pad.retain(|&(first, count)| first + count <= page || page + pages <= first);
                process.pad.push((page, pages));
            }
            attached.place
        })
    }

    /// Reads by index. For a stale identifier it reports only "elsewhere", because subjects choose
    /// indexes differently.
    fn stat_index(&self, pool: &ProcessPool<'_>, agent: &Agent, id: i32, any: bool) -> String {
        let index = id & 0x7fff;
        match agent.stat_any(index) {
            Ok(s) if s.id == id => {}
            _ => return "elsewhere".to_owned(),
        }
        let outcome = if any { agent.stat_any(index) } else { agent.stat_index(index) };
        outcome.map_or_else(errno, |s| self.describe(pool, &s))
    }

    /// Lists all segments of the program that still exist, in order of appearance.
    pub fn list(&self, pool: &ProcessPool<'_>, observed: &[Option<Stat>]) -> String {
        observed.iter().flatten().map(|stat| format!("\n        segment {}", self.describe(pool, stat))).collect()
    }

    fn number(&self, id: i32) -> String {
        self.ids.iter().position(|known| *known == id).map_or("unknown".to_owned(), |n| format!("#{n}"))
    }

    /// Formats every field of `shmid_ds` as text that means the same on every subject.
    fn describe(&self, pool: &ProcessPool<'_>, s: &Stat) -> String {
        let (time, process) = (|t| pool.time(t), |pid| pool.process(pid));
        let sequence = if s.seq == (s.id as u32 >> 15) & 0xffff { "" } else { " sequence wrong" };
        let slot = format!("key {} uid {} gid {} cuid {} cgid {} mode {:o}", s.key, s.uid, s.gid, s.cuid, s.cgid, s.mode);
        let times = format!("atime {} dtime {} ctime {}", time(s.atime), time(s.dtime), time(s.ctime));
        let pids = format!("cpid {} lpid {}", process(s.cpid), pool.last(s.lpid));
        format!("{}{sequence} {slot} size {} {times} {pids} nattch {}", self.number(s.id), s.size, s.nattch)
    }
}

/// Attachments.
impl Process {
    fn place(&self, address: usize, offset: usize) -> Address {
        self.addresses[address].plus(offset)
    }

    /// Returns `true` if attaching there splits no other attachment. The value of `nattch` after a
    /// split is a known difference.
    fn may_attach_at(&self, page: usize, pages: usize, flags: i32) -> bool {
        let whole = |&(first, count): &(usize, usize)| {
            let apart = first + count <= page || page + pages <= first;
            apart || (page <= first && first + count <= page + pages)
        };
        pages <= MOST && (flags & SHM_REMAP == 0 || self.pad.iter().all(whole))
    }

    fn detached(&mut self, address: Address) -> String {
        let outcome = self.agent.shmdt(address);
        outcome.map_or_else(errno, |()| {
            self.pad.retain(|&(first, _)| Address::pad(first) != address);
            "detached".to_owned()
        })
    }

    fn free(&self, page: usize) -> String {
        let used = self.pad.iter().any(|&(first, count)| (first..first + count).contains(&page));
        match used {
            true => "in use".to_owned(),
            false => self.agent.munmap(Address::pad(page), PAGE).map_or_else(errno, |()| "free".into()),
        }
    }
}
