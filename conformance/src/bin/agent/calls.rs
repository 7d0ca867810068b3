//! Calls on segments and limits, through libc or through the library.

use crate::memory::attached;
use crate::{Answer, c, number};
use quintet::{Id, Key, Kind, Limits, Namespace, SegmentStat};
use std::cell::OnceCell;
use std::ffi::CString;
use std::path::PathBuf;

/// How the agent makes calls.
pub enum Interface {
    /// Through libc's functions.
    Libc,
    /// Through the methods of `quintet::Namespace` on a directory, which the first call opens.
    Library { directory: PathBuf, kind: Kind, opened: OnceCell<Namespace> },
}

impl Interface {
    pub fn of(args: &[String]) -> Option<Interface> {
        match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["libc"] => Some(Interface::Libc),
            ["library", directory, kind @ ("private" | "shared")] => {
                let kind = if kind == "private" { Kind::Private } else { Kind::Shared };
                Some(Interface::Library { directory: directory.into(), kind, opened: OnceCell::new() })
            }
            _ => None,
        }
    }

    /// Returns the namespace, or `None` if calls go through libc.
    pub fn namespace(&self) -> Option<Result<&Namespace, i32>> {
        let Interface::Library { directory, kind, opened } = self else { return None };
        if let Some(ns) = opened.get() {
            return Some(Ok(ns));
        }
        match Namespace::create(directory, *kind) {
            Ok(ns) => Some(Ok(opened.get_or_init(|| ns))),
            Err(e) => {
                eprintln!("agent: {e}");
                Some(Err(e.errno().raw()))
            }
        }
    }
}

/// Executes `verb` if it is a call on segments or limits.
pub fn perform(interface: &Interface, verb: &str, args: &[&str]) -> Option<Answer> {
    match verb {
        "ftok" => return Some(ftok(interface, args)),
        "shmget" | "shmat" | "shmdt" | "stat" | "stat_index" | "stat_any" | "set" | "rm" | "lock" | "unlock" | "ipc_info"
        | "shm_info" | "shm_snapshot" | "shmctl" | "sysctl" | "set_sysctl" | "sysvipc" | "open" | "sweep" => {}
        _ => return None,
    }
    Some(match interface.namespace() {
        None => by_libc(verb, args),
        Some(Ok(ns)) => by_library(ns, verb, args).map_err(|e| e.raw()),
        Some(Err(errno)) => Err(errno),
    })
}

fn ftok(interface: &Interface, args: &[&str]) -> Answer {
    let project = number(args[1]);
    match interface {
        Interface::Libc => c::ftok(&CString::new(args[0]).expect("no NUL"), project).map(|k| k.to_string()),
        Interface::Library { .. } => Key::ftok(args[0], project).map(|k| k.raw().to_string()).map_err(|e| e.raw()),
    }
}

fn by_libc(verb: &str, args: &[&str]) -> Answer {
    let id = || number::<i32>(args[0]);
    match verb {
        "open" => Ok(String::new()),
        "shmget" => c::shmget(number(args[0]), number(args[1]), number(args[2])).map(|id| id.to_string()),
        "shmat" => {
            let wanted = number(args[1]);
            c::shmat(id(), wanted, number(args[2])).map(|at| attached(wanted, at))
        }
        "shmdt" => c::shmdt(number(args[0])).map(|()| String::new()),
        "stat" => c_stat(id(), libc::IPC_STAT),
        "stat_index" => c_stat(id(), c::SHM_STAT),
        "stat_any" => c_stat(id(), c::SHM_STAT_ANY),
        "set" => c::shmctl_set(id(), number(args[1]), number(args[2]), number(args[3])).map(|()| String::new()),
        "rm" => c::shmctl(id(), libc::IPC_RMID, 0).map(|_| String::new()),
        "lock" => c::shmctl(id(), c::SHM_LOCK, 0).map(|_| String::new()),
        "unlock" => c::shmctl(id(), c::SHM_UNLOCK, 0).map(|_| String::new()),
        "ipc_info" => c::shmctl_get::<c::ShmLimits>(0, c::IPC_INFO)
            .map(|(max, i)| format!("{max} {} {} {} {} {}", i.shmmax, i.shmmin, i.shmmni, i.shmseg, i.shmall)),
        "shm_info" => c::shmctl_get::<c::ShmUsage>(0, c::SHM_INFO).map(|(max, i)| {
            format!("{max} {} {} {} {} {} {}", i.used_ids, i.tot, i.rss, i.swp, i.swap_attempts, i.swap_successes)
        }),
        "shm_snapshot" => Ok(snapshot(args[0], |index| c_stat(index, c::SHM_STAT_ANY))),
        "shmctl" => c::shmctl(id(), number(args[1]), number(args[2])).map(|ret| ret.to_string()),
        "sysctl" => read_sysctl(args[0]),
        "set_sysctl" => write_sysctl(args[0], args[1]),
        "sysvipc" => {
            let path = format!("/proc/sysvipc/{}", args[0]);
            std::fs::read_to_string(path).map(|s| s.trim_end().replace('\n', "|")).map_err(io_errno)
        }
        _ => Err(libc::ENOTSUP),
    }
}

/// Returns the status of each segment, or `gone`. Looks up by index.
fn snapshot(ids: &str, stat: impl Fn(i32) -> Answer) -> String {
    let see = |id: &str| stat(number::<i32>(id) & 0x7fff).ok().filter(|text| text.split(' ').next() == Some(id));
    ids.split(',').map(|id| see(id).unwrap_or_else(|| "gone".to_owned())).collect::<Vec<_>>().join("|")
}

fn sysctl(name: &str) -> String {
    format!("/proc/sys/kernel/{name}")
}

/// The numbers in `/proc/sys/kernel/sem`, in order.
const IN_SEM: [&str; 4] = ["semmsl", "semmns", "semopm", "semmni"];

fn read_sysctl(name: &str) -> Answer {
    let in_sem = IN_SEM.iter().position(|n| *n == name);
    let text = std::fs::read_to_string(sysctl(if in_sem.is_some() { "sem" } else { name })).map_err(io_errno)?;
    let word = text.split_ascii_whitespace().nth(in_sem.unwrap_or(0));
    word.map(str::to_owned).ok_or(libc::EIO)
}

fn write_sysctl(name: &str, value: &str) -> Answer {
    let text = match IN_SEM.contains(&name) {
        false => return std::fs::write(sysctl(name), value).map(|()| String::new()).map_err(io_errno),
        true => IN_SEM.iter().map(|n| if *n == name { Ok(value.to_owned()) } else { read_sysctl(n) }),
    };
    let text = text.collect::<Result<Vec<_>, _>>()?.join(" ");
    std::fs::write(sysctl("sem"), text).map(|()| String::new()).map_err(io_errno)
}

fn io_errno(e: std::io::Error) -> i32 {
    e.raw_os_error().unwrap_or(libc::EIO)
}

/// Returns the fields in the order in which `conformance::Stat` parses them.
fn c_stat(id: i32, command: i32) -> Answer {
    let (ret, ds) = c::shmctl_get::<libc::shmid_ds>(id, command)?;
    let id = if command == libc::IPC_STAT { id } else { ret };
    let p = &ds.shm_perm;
    let identity = format!("{id} {} {} {} {} {} {} {}", quintet::abi::key(p), p.uid, p.gid, p.cuid, p.cgid, p.mode, p.__seq);
    let times = format!("{} {} {}", ds.shm_atime, ds.shm_dtime, ds.shm_ctime);
    Ok(format!("{identity} {} {times} {} {} {}", ds.shm_segsz, ds.shm_cpid, ds.shm_lpid, ds.shm_nattch))
}

fn by_library(ns: &Namespace, verb: &str, args: &[&str]) -> Result<String, quintet::Errno> {
    let id = || number::<i32>(args[0]);
    let done = |()| String::new();
    match verb {
        "open" => Ok(String::new()),
        "sweep" => ns.sweep().map(done),
        "shmget" => ns.shmget(Key::new(number(args[0])), number(args[1]), number(args[2])).map(|id| id.raw().to_string()),
        "shmat" => {
            let wanted = number(args[1]);
            c::namespace_shmat(ns, id(), wanted, number(args[2])).map(|at| attached(wanted, at))
        }
        "shmdt" => c::namespace_shmdt(ns, number(args[0])).map(done),
        "stat" => ns.shm_stat(id()).map(|s| library_stat(&s)),
        "stat_index" => ns.shm_stat_index(id(), false).map(|s| library_stat(&s)),
        "stat_any" => ns.shm_stat_index(id(), true).map(|s| library_stat(&s)),
        "set" => ns.shm_set(id(), number(args[1]), number(args[2]), number(args[3])).map(done),
        "rm" => ns.shm_remove(id()).map(done),
        "lock" => ns.shm_lock(id(), true).map(done),
        "unlock" => ns.shm_lock(id(), false).map(done),
        "ipc_info" => {
            let (limits, usage) = (ns.limits()?, ns.shm_usage()?);
            let Limits { shmmax, shmall, shmmni, .. } = limits;
            Ok(format!("{} {shmmax} 1 {shmmni} {shmmni} {shmall}", usage.max_index))
        }
        "shm_info" => {
            let u = ns.shm_usage()?;
            Ok(format!("{} {} {} {} {} 0 0", u.max_index, u.segments, u.pages, u.resident, u.swapped))
        }
        "shm_snapshot" => {
            Ok(snapshot(args[0], |index| ns.shm_stat_index(index, true).map(|s| library_stat(&s)).map_err(|e| e.raw())))
        }
        "sysctl" => library_sysctl(ns, args[0]),
        "set_sysctl" => library_set_sysctl(ns, args[0], number(args[1])).map(done),
        _ => Err(quintet::Errno::OPNOTSUPP),
    }
}

fn library_stat(s: &SegmentStat) -> String {
    let p = &s.perm;
    let mode = p.mode | s.flags.bits();
    let (id, seq) = (s.id.raw(), s.id.sequence());
    let identity = format!("{id} {} {} {} {} {} {mode} {seq}", s.key.raw(), p.uid, p.gid, p.cuid, p.cgid);
    let times = format!("{} {} {}", s.atime, s.dtime, s.ctime);
    format!("{identity} {} {times} {} {} {}", s.size, s.cpid, s.lpid, s.nattch)
}

fn library_sysctl(ns: &Namespace, name: &str) -> Result<String, quintet::Errno> {
    let limits = ns.limits()?;
    Ok(match name {
        "shmmax" => limits.shmmax.to_string(),
        "shmall" => limits.shmall.to_string(),
        "shmmni" => limits.shmmni.to_string(),
        "shm_rmid_forced" => u32::from(limits.shm_rmid_forced).to_string(),
        "shm_next_id" => ns.shm_next_id()?.map_or(-1, Id::raw).to_string(),
        "semmsl" => limits.semmsl.to_string(),
        "semmns" => limits.semmns.to_string(),
        "semopm" => limits.semopm.to_string(),
        "semmni" => limits.semmni.to_string(),
        "sem_next_id" => ns.sem_next_id()?.map_or(-1, Id::raw).to_string(),
        "msgmax" => limits.msgmax.to_string(),
        "msgmnb" => limits.msgmnb.to_string(),
        "msgmni" => limits.msgmni.to_string(),
        "msg_next_id" => ns.msg_next_id()?.map_or(-1, Id::raw).to_string(),
        _ => return Err(quintet::Errno::NOENT),
    })
}

fn library_set_sysctl(ns: &Namespace, name: &str, value: i128) -> Result<(), quintet::Errno> {
    let mut limits = ns.limits()?;
    match name {
        "shmmax" => limits.shmmax = value as u64,
        "shmall" => limits.shmall = value as u64,
        "shmmni" => limits.shmmni = value as u32,
        "shm_rmid_forced" => limits.shm_rmid_forced = value != 0,
        "shm_next_id" => return ns.set_shm_next_id(Id::from_raw(value as i32).ok()),
        "semmsl" => limits.semmsl = value as u32,
        "semmns" => limits.semmns = value as u32,
        "semopm" => limits.semopm = value as u32,
        "semmni" => limits.semmni = value as u32,
        "sem_next_id" => return ns.set_sem_next_id(Id::from_raw(value as i32).ok()),
        "msgmax" => limits.msgmax = value as u32,
        "msgmnb" => limits.msgmnb = value as u32,
        "msgmni" => limits.msgmni = value as u32,
        "msg_next_id" => return ns.set_msg_next_id(Id::from_raw(value as i32).ok()),
        _ => return Err(quintet::Errno::NOENT),
    }
    ns.set_limits(&limits)
}
