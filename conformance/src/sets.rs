//! Semaphore sets: calls on an agent and their results.

use crate::stat::Words;
use crate::{Address, Agent, Outcome};
use quintet::{SemFlags, SemOp};
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

/// `SEM_UNDO`.
pub const UNDO: SemFlags = SemFlags::UNDO;
/// `IPC_NOWAIT`.
pub const NOWAIT: SemFlags = SemFlags::NOWAIT;

/// Returns an operation on semaphore `num` of a set.
pub const fn op(num: u16, delta: i16) -> SemOp {
    SemOp::new(num, delta)
}

/// All fields of `semid_ds`, and the identifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Set {
    /// The requested identifier, or the one that a call by index returned.
    pub id: i32,
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    pub mode: u32,
    pub seq: u32,
    pub otime: i64,
    pub ctime: i64,
    pub nsems: u64,
}

/// The results of `GETALL`, `GETPID`, `GETNCNT` and `GETZCNT` for a whole set.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Semaphores {
    pub values: Vec<u16>,
    pub pids: Vec<i32>,
    pub ncnt: Vec<i32>,
    pub zcnt: Vec<i32>,
}

impl Semaphores {
    pub(crate) fn parse(answer: &str) -> Semaphores {
        let lists: Vec<&str> = answer.split(' ').collect();
        let [values, pids, ncnt, zcnt] = lists[..] else { panic!("not four lists: {answer}") };
        Semaphores { values: numbers(values), pids: numbers(pids), ncnt: numbers(ncnt), zcnt: numbers(zcnt) }
    }

    /// Returns the number of waiting calls. Each is counted at one semaphore.
    pub fn waiting(&self) -> i32 {
        self.ncnt.iter().chain(&self.zcnt).sum()
    }
}

/// The four limits, and the highest index in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct SemLimits {
    pub max_index: i32,
    pub semmsl: i32,
    pub semmns: i32,
    pub semopm: i32,
    pub semmni: i32,
}

/// The counts of `SEM_INFO`: `semusz` and `semaem`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct SemUsed {
    pub max_index: i32,
    pub sets: i32,
    pub semaphores: i32,
}

/// `struct seminfo`, and the return value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct SemInfo {
    pub ret: i32,
    pub semmsl: i32,
    pub semmns: i32,
    pub semopm: i32,
    pub semmni: i32,
    pub semvmx: i32,
    pub semmap: i32,
    pub semmnu: i32,
    pub semume: i32,
    pub semusz: i32,
    pub semaem: i32,
}

impl Set {
    pub(crate) fn parse(answer: &str) -> Set {
        let mut w = Words::of(answer);
        Set {
            id: w.next(),
            key: w.next(),
            uid: w.next(),
            gid: w.next(),
            cuid: w.next(),
            cgid: w.next(),
            mode: w.next(),
            seq: w.next(),
            otime: w.next(),
            ctime: w.next(),
            nsems: w.next(),
        }
    }
}

fn numbers<T: FromStr>(list: &str) -> Vec<T> {
    list.split(',').map(|n| n.parse().unwrap_or_else(|_| panic!("not a number: {n}"))).collect()
}

fn words<T: Display>(numbers: &[T]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Formats operations as `NUM:OP:FLAGS,...`.
fn format_ops(ops: &[SemOp]) -> String {
    let each = ops.iter().map(|op| format!("{}:{}:{}", op.num, op.op, op.flags.bits()));
    if ops.is_empty() { "-".to_owned() } else { each.collect::<Vec<_>>().join(",") }
}

/// Calls on semaphore sets.
#[allow(missing_docs)]
impl Agent {
    pub fn semget(&self, key: i32, nsems: i32, flags: i32) -> Outcome<i32> {
        self.ask_number(format_args!("semget {key} {nsems} {flags}"))
    }

    pub fn semop(&self, id: i32, ops: &[SemOp]) -> Outcome<()> {
        self.ask_done(format_args!("semop {id} {} -", format_ops(ops)))
    }

    pub fn semtimedop(&self, id: i32, ops: &[SemOp], timeout: Duration) -> Outcome<()> {
        self.ask_done(format_args!("semop {id} {} {}", format_ops(ops), timeout.as_nanos()))
    }

    /// Calls `semop` in a thread that ends afterwards.
    pub fn semop_in_a_thread(&self, id: i32, ops: &[SemOp]) -> Outcome<()> {
        self.ask_done(format_args!("thread {id} {} -", format_ops(ops)))
    }

    pub fn getval(&self, id: i32, num: i32) -> Outcome<i32> {
        self.ask_number(format_args!("getval {id} {num}"))
    }

    pub fn getpid(&self, id: i32, num: i32) -> Outcome<i32> {
        self.ask_number(format_args!("getpid {id} {num}"))
    }

    pub fn getncnt(&self, id: i32, num: i32) -> Outcome<i32> {
        self.ask_number(format_args!("getncnt {id} {num}"))
    }

    pub fn getzcnt(&self, id: i32, num: i32) -> Outcome<i32> {
        self.ask_number(format_args!("getzcnt {id} {num}"))
    }

    pub fn getall(&self, id: i32) -> Outcome<Vec<u16>> {
        self.ask(format_args!("getall {id}")).map(|a| numbers(&a))
    }

    pub fn setval(&self, id: i32, num: i32, value: i32) -> Outcome<()> {
        self.ask_done(format_args!("setval {id} {num} {value}"))
    }

    pub fn setall(&self, id: i32, values: &[u16]) -> Outcome<()> {
        self.ask_done(format_args!("setall {id} {}", words(values)))
    }

    /// Reads all semaphores of a set.
    pub fn semaphores(&self, id: i32) -> Outcome<Semaphores> {
        self.ask(format_args!("sem_state {id}")).map(|answer| Semaphores::parse(&answer))
    }

    pub fn sem_stat(&self, id: i32) -> Outcome<Set> {
        self.ask(format_args!("sem_stat {id}")).map(|a| Set::parse(&a))
    }

    pub fn sem_stat_index(&self, index: i32) -> Outcome<Set> {
        self.ask(format_args!("sem_stat_index {index}")).map(|a| Set::parse(&a))
    }

    pub fn sem_stat_any(&self, index: i32) -> Outcome<Set> {
        self.ask(format_args!("sem_stat_any {index}")).map(|a| Set::parse(&a))
    }

    pub fn sem_set(&self, id: i32, uid: u32, gid: u32, mode: u32) -> Outcome<()> {
        self.ask_done(format_args!("sem_set {id} {uid} {gid} {mode}"))
    }

    pub fn sem_remove(&self, id: i32) -> Outcome<()> {
        self.ask_done(format_args!("sem_rm {id}"))
    }

    pub fn sem_limits(&self) -> Outcome<SemLimits> {
        self.ask("sem_limits").map(|answer| {
            let mut w = Words::of(&answer);
            SemLimits { max_index: w.next(), semmsl: w.next(), semmns: w.next(), semopm: w.next(), semmni: w.next() }
        })
    }

    pub fn sem_usage(&self) -> Outcome<SemUsed> {
        self.ask("sem_usage").map(|answer| {
            let mut w = Words::of(&answer);
            SemUsed { max_index: w.next(), sets: w.next(), semaphores: w.next() }
        })
    }

    /// Calls `IPC_INFO` or `SEM_INFO` through the C interface.
    pub fn seminfo(&self, command: i32) -> Outcome<SemInfo> {
        self.ask(format_args!("seminfo {command}")).map(|answer| {
            let mut w = Words::of(&answer);
            SemInfo {
                ret: w.next(),
                semmsl: w.next(),
                semmns: w.next(),
                semopm: w.next(),
                semmni: w.next(),
                semvmx: w.next(),
                semmap: w.next(),
                semmnu: w.next(),
                semume: w.next(),
                semusz: w.next(),
                semaem: w.next(),
            }
        })
    }

    /// Calls `semctl(2)` with any command and any argument.
    pub fn semctl(&self, id: i32, num: i32, command: i32, arg: Address) -> Outcome<i32> {
        self.ask_number(format_args!("semctl {id} {num} {command} {arg}"))
    }

    /// Calls `semop(2)` with any pointer.
    pub fn semop_at(&self, id: i32, sops: Address, nsops: usize) -> Outcome<()> {
        self.ask_done(format_args!("semop_raw {id} {sops} {nsops} -"))
    }

    /// Calls `semtimedop(2)` with any pointers.
    pub fn semtimedop_at(&self, id: i32, sops: Address, nsops: usize, timeout: Address) -> Outcome<()> {
        self.ask_done(format_args!("semop_raw {id} {sops} {nsops} {timeout}"))
    }

    /// Writes bytes to writable memory.
    pub fn write(&self, address: Address, bytes: &[u8]) {
        for (i, byte) in bytes.iter().enumerate() {
            self.poke(address.plus(i), *byte).expect("memory that can be written");
        }
    }

    /// Writes an array of `struct sembuf`.
    pub fn write_ops(&self, address: Address, ops: &[SemOp]) {
        let bytes = |op: &SemOp| [op.num.to_ne_bytes(), op.op.to_ne_bytes(), op.flags.bits().to_ne_bytes()].concat();
        self.write(address, &ops.iter().flat_map(bytes).collect::<Vec<u8>>());
    }

    /// Writes a `struct timespec`.
    pub fn write_timespec(&self, address: Address, seconds: i64, nanoseconds: i64) {
        self.write(address, &[seconds.to_ne_bytes(), nanoseconds.to_ne_bytes()].concat());
    }
}

/// Calls with an answer that is read later.
impl Agent {
    /// Starts a `semop`.
    pub fn start_semop(&self, id: i32, ops: &[SemOp], timeout: Option<Duration>) {
        let timeout = timeout.map_or("-".to_owned(), |t| t.as_nanos().to_string());
        self.start(&format!("semop {id} {} {timeout}", format_ops(ops)));
    }

    /// Starts a `semop` in a new thread. Returns the thread id.
    pub fn start_thread(&self, id: i32, ops: &[SemOp]) -> i32 {
        self.ask_number(format_args!("spawn {id} {} -", format_ops(ops))).expect("a thread")
    }

    /// Makes the signal handler call `semop` with one operation, too.
    pub fn handle_with_semop(&self, id: i32, op: SemOp) {
        self.ask_done(format_args!("handler_semop {id} {}", format_ops(&[op]))).expect("one action per process");
    }
}
