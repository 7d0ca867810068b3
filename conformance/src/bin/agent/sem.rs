//! Calls on semaphore sets, through libc or through the library.

use crate::calls::Interface;
use crate::{Answer, c_sem, number, threads};
use quintet::{Key, Namespace, SemFlags, SemOp, SetStat};
use std::fmt::Display;
use std::time::Duration;

type CallResult<T> = Result<T, i32>;

/// The calls, independent of the interface.
trait Sets: Send + Sync {
    fn get(&self, key: i32, nsems: i32, flags: i32) -> CallResult<i32>;
    fn operate(&self, id: i32, ops: &[SemOp], timeout: Option<Duration>) -> CallResult<()>;
    /// `GETVAL`, `GETPID`, `GETNCNT`, `GETZCNT`.
    fn ask(&self, id: i32, num: i32, command: i32) -> CallResult<i32>;
    fn set_value(&self, id: i32, num: i32, value: i32) -> CallResult<()>;
    fn values(&self, id: i32) -> CallResult<Vec<u16>>;
    fn set_values(&self, id: i32, values: &[u16]) -> CallResult<()>;
    /// `IPC_STAT`, `SEM_STAT` or `SEM_STAT_ANY`. Returns the fields in the order in which
    /// `conformance::Set` parses them.
    fn stat(&self, id: i32, command: i32) -> CallResult<String>;
    fn set(&self, id: i32, uid: u32, gid: u32, mode: u32) -> CallResult<()>;
    fn remove(&self, id: i32) -> CallResult<()>;
    /// Returns the highest index and the four limits.
    fn limits(&self) -> CallResult<String>;
    /// Returns the highest index and the numbers of sets and semaphores.
    fn usage(&self) -> CallResult<String>;
}

/// Calls through libc's functions.
#[derive(Clone)]
struct Libc;

impl Sets for Libc {
    fn get(&self, key: i32, nsems: i32, flags: i32) -> CallResult<i32> {
        c_sem::semget(key, nsems, flags)
    }

    fn operate(&self, id: i32, ops: &[SemOp], timeout: Option<Duration>) -> CallResult<()> {
        let timeout = timeout.map(|t| libc::timespec { tv_sec: t.as_secs() as _, tv_nsec: t.subsec_nanos() as _ });
        let timeout = timeout.as_ref().map(|t| std::ptr::from_ref(t) as usize);
        c_sem::semop(id, ops.as_ptr() as usize, ops.len(), timeout)
    }

    fn ask(&self, id: i32, num: i32, command: i32) -> CallResult<i32> {
        c_sem::semctl(id, num, command, 0)
    }

    fn set_value(&self, id: i32, num: i32, value: i32) -> CallResult<()> {
        c_sem::semctl(id, num, c_sem::SETVAL, value as usize).map(drop)
    }

    fn values(&self, id: i32) -> CallResult<Vec<u16>> {
        c_sem::getall(id)
    }

    fn set_values(&self, id: i32, values: &[u16]) -> CallResult<()> {
        c_sem::setall(id, values)
    }

    fn stat(&self, id: i32, command: i32) -> CallResult<String> {
        let (ret, ds) = c_sem::stat(id, command)?;
        let id = if command == libc::IPC_STAT { id } else { ret };
        let p = &ds.sem_perm;
        let identity = format!("{id} {} {} {} {} {} {} {}", quintet::abi::key(p), p.uid, p.gid, p.cuid, p.cgid, p.mode, p.__seq);
        Ok(format!("{identity} {} {} {}", ds.sem_otime, ds.sem_ctime, ds.sem_nsems))
    }

    fn set(&self, id: i32, uid: u32, gid: u32, mode: u32) -> CallResult<()> {
        c_sem::set(id, uid, gid, mode)
    }

    fn remove(&self, id: i32) -> CallResult<()> {
        c_sem::semctl(id, 0, libc::IPC_RMID, 0).map(drop)
    }

    fn limits(&self) -> CallResult<String> {
        c_sem::info(c_sem::IPC_INFO).map(|(max, i)| format!("{max} {} {} {} {}", i.semmsl, i.semmns, i.semopm, i.semmni))
    }

    fn usage(&self) -> CallResult<String> {
        c_sem::info(c_sem::SEM_INFO).map(|(max, i)| format!("{max} {} {}", i.semusz, i.semaem))
    }
}

impl Sets for Namespace {
    fn get(&self, key: i32, nsems: i32, flags: i32) -> CallResult<i32> {
        self.semget(Key::new(key), nsems, flags).map(|id| id.raw()).map_err(|e| e.raw())
    }

    fn operate(&self, id: i32, ops: &[SemOp], timeout: Option<Duration>) -> CallResult<()> {
        self.semtimedop(id, ops, timeout).map_err(|e| e.raw())
    }

    fn ask(&self, id: i32, num: i32, command: i32) -> CallResult<i32> {
        let asked = match command {
            c_sem::GETVAL => self.sem_value(id, num).map(i32::from),
            c_sem::GETPID => self.sem_pid(id, num),
            c_sem::GETNCNT => self.sem_ncnt(id, num).map(|n| n as i32),
            _ => self.sem_zcnt(id, num).map(|n| n as i32),
        };
        asked.map_err(|e| e.raw())
    }

    fn set_value(&self, id: i32, num: i32, value: i32) -> CallResult<()> {
        self.sem_set_value(id, num, value).map_err(|e| e.raw())
    }

    fn values(&self, id: i32) -> CallResult<Vec<u16>> {
        self.sem_values(id).map_err(|e| e.raw())
    }

    fn set_values(&self, id: i32, values: &[u16]) -> CallResult<()> {
        self.sem_set_values(id, values).map_err(|e| e.raw())
    }

    fn stat(&self, id: i32, command: i32) -> CallResult<String> {
        let stat = match command {
            libc::IPC_STAT => self.sem_stat(id),
            _ => self.sem_stat_index(id, command == c_sem::SEM_STAT_ANY),
        };
        stat.map(|s| describe(&s)).map_err(|e| e.raw())
    }

    fn set(&self, id: i32, uid: u32, gid: u32, mode: u32) -> CallResult<()> {
        self.sem_set(id, uid, gid, mode).map_err(|e| e.raw())
    }

    fn remove(&self, id: i32) -> CallResult<()> {
        self.sem_remove(id).map_err(|e| e.raw())
    }

    fn limits(&self) -> CallResult<String> {
        let text = self.limits().and_then(|l| {
            let max = self.sem_usage()?.max_index;
            Ok(format!("{max} {} {} {} {}", l.semmsl, l.semmns, l.semopm, l.semmni))
        });
        text.map_err(|e| e.raw())
    }

    fn usage(&self) -> CallResult<String> {
        self.sem_usage().map(|u| format!("{} {} {}", u.max_index, u.sets, u.semaphores)).map_err(|e| e.raw())
    }
}

fn describe(s: &SetStat) -> String {
    let (id, p) = (s.id, &s.perm);
    let identity = format!("{} {} {} {} {} {}", id.raw(), s.key.raw(), p.uid, p.gid, p.cuid, p.cgid);
    format!("{identity} {} {} {} {} {}", p.mode, id.sequence(), s.otime, s.ctime, s.nsems)
}

const VERBS: &[&str] = &[
    "semget",
    "semop",
    "getval",
    "getpid",
    "getncnt",
    "getzcnt",
    "getall",
    "setval",
    "setall",
    "sem_state",
    "sem_snapshot",
    "sem_stat",
    "sem_stat_index",
    "sem_stat_any",
    "sem_set",
    "sem_rm",
    "sem_limits",
    "sem_usage",
    "thread",
    "spawn",
    "join",
    "handler_semop",
];

/// Executes `verb` if it is a call on semaphore sets, or about signals that interrupt them.
pub fn perform(interface: &Interface, verb: &str, args: &[&str]) -> Option<Answer> {
    if let Some(answer) = in_c(verb, args) {
        return Some(answer);
    }
    if !VERBS.contains(&verb) {
        return None;
    }
    Some(match interface.namespace() {
        None => by(Libc, verb, args),
        Some(Ok(ns)) => by(ns.clone(), verb, args),
        Some(Err(errno)) => Err(errno),
    })
}

/// Executes what only the C interface has.
fn in_c(verb: &str, args: &[&str]) -> Option<Answer> {
    let done = |()| String::new();
    let at = |i: usize| number::<usize>(args[i]);
    Some(match verb {
        "semop_raw" => {
            let timeout = (args[3] != "-").then(|| at(3));
            c_sem::semop(number(args[0]), at(1), at(2), timeout).map(done)
        }
        "semctl" => c_sem::semctl(number(args[0]), number(args[1]), number(args[2]), at(3)).map(|ret| ret.to_string()),
        "seminfo" => c_sem::info(number(args[0])).map(|(max, i)| {
            let constants = format!("{} {} {} {} {}", i.semmap, i.semmnu, i.semume, i.semusz, i.semaem);
            format!("{max} {} {} {} {} {} {constants}", i.semmsl, i.semmns, i.semopm, i.semmni, i.semvmx)
        }),
        "handle" => c_sem::handle(number(args[0]), args[1] == "restart").map(done),
        "ignore" => {
            c_sem::ignore(number(args[0]));
            Ok(String::new())
        }
        "handled" => Ok(c_sem::handled().to_string()),
        _ => return None,
    })
}

fn by(sets: impl Sets + Clone + 'static, verb: &str, args: &[&str]) -> Answer {
    let id = || number::<i32>(args[0]);
    let done = |()| String::new();
    let ask = |command| sets.ask(id(), number(args[1]), command).map(|n| n.to_string());
    match verb {
        "semget" => sets.get(number(args[0]), number(args[1]), number(args[2])).map(|id| id.to_string()),
        "semop" => operate(&sets, args).map(done),
        "getval" => ask(c_sem::GETVAL),
        "getpid" => ask(c_sem::GETPID),
        "getncnt" => ask(c_sem::GETNCNT),
        "getzcnt" => ask(c_sem::GETZCNT),
        "getall" => sets.values(id()).map(|values| list(&values)),
        "setval" => sets.set_value(id(), number(args[1]), number(args[2])).map(done),
        "setall" => sets.set_values(id(), &args[1].split(',').map(number).collect::<Vec<u16>>()).map(done),
        "sem_state" => state(&sets, id()),
        "sem_snapshot" => Ok(snapshot(&sets, args[0])),
        "sem_stat" => sets.stat(id(), libc::IPC_STAT),
        "sem_stat_index" => sets.stat(id(), c_sem::SEM_STAT),
        "sem_stat_any" => sets.stat(id(), c_sem::SEM_STAT_ANY),
        "sem_set" => sets.set(id(), number(args[1]), number(args[2]), number(args[3])).map(done),
        "sem_rm" => sets.remove(id()).map(done),
        "sem_limits" => sets.limits(),
        "sem_usage" => sets.usage(),
        "thread" => threads::join(&spawn(sets, args)),
        "spawn" => Ok(spawn(sets, args)),
        "join" => threads::join(args[0]),
        "handler_semop" => {
            let (id, op) = (id(), operations(args[1])[0]);
            c_sem::handle_with(move || {
                // The test checks the result in the set.
                let _ = sets.operate(id, &[op], None);
            });
            Ok(String::new())
        }
        _ => Err(libc::ENOTSUP),
    }
}

fn operate(sets: &impl Sets, args: &[&str]) -> CallResult<()> {
    let timeout = (args[2] != "-").then(|| Duration::from_nanos(number(args[2])));
    sets.operate(number(args[0]), &operations(args[1]), timeout)
}

/// Parses `NUM:OP:FLAGS,...`, or `-` for none.
fn operations(text: &str) -> Vec<SemOp> {
    let operation = |word: &str| {
        let mut numbers = word.split(':');
        let mut next = || numbers.next().expect("three numbers");
        SemOp::new(number(next()), number(next())).flags(SemFlags::from_bits_retain(number(next())))
    };
    text.split(',').filter(|word| *word != "-").map(operation).collect()
}

/// Returns all values, pids and both counts of a set.
fn state(sets: &impl Sets, id: i32) -> Answer {
    let values = sets.values(id)?;
    let each = |command| (0..values.len()).map(|num| sets.ask(id, num as i32, command)).collect::<CallResult<Vec<i32>>>();
    let (pids, ncnt, zcnt) = (each(c_sem::GETPID)?, each(c_sem::GETNCNT)?, each(c_sem::GETZCNT)?);
    Ok(format!("{} {} {} {}", list(&values), list(&pids), list(&ncnt), list(&zcnt)))
}

/// Returns, for each set, `semid_ds` and semaphores, or an errno.
fn snapshot(sets: &impl Sets, ids: &str) -> String {
    let see = |id: i32| Ok(format!("{};{}", sets.stat(id, libc::IPC_STAT)?, state(sets, id)?));
    let each = ids.split(',').map(|id| see(number(id)).unwrap_or_else(|errno: i32| errno.to_string()));
    each.collect::<Vec<_>>().join("|")
}

fn list<T: Display>(numbers: &[T]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Starts a thread that calls `semop`. Returns the thread id.
fn spawn(sets: impl Sets + 'static, args: &[&str]) -> String {
    threads::spawn(args, move |args| operate(&sets, args).map(|()| String::new()))
}
