//! A worker: a process that makes random calls until it is killed or the round ends.
//!
//! # Safety
//!
//! The process has one thread, so a child can go on after `fork`.
#![allow(unsafe_code)]

use crate::block::{self, Writer};
use crate::files::{LEDGER, NAMESPACE, report};
use crate::ledger::{self, Ledger, REFUSED, SENT, STARTED, WorkerPage};
use crate::objects::{self, Objects, undo};
use crate::params::{BALANCE, BLOCKS, MAX_MESSAGES, MAX_TEXT, POOL, QUEUES, SEGMENTS, TRANSIENT_KEYS};
use crate::payload::Payload;
use fastrand::Rng;
use quintet::{Attachment, Errno, Key, Kind, MsgFlags, Namespace, Segment, SemFlags, SemOp};
use signal_hook::consts::SIGUSR1;
use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

type Action = fn(&mut Worker) -> Result<(), String>;

/// The actions: name, relative frequency, function.
pub const ACTIONS: [(&str, u32, Action); 11] = [
    ("send", 30, Worker::send),
    ("receive", 32, Worker::receive),
    ("peek at messages", 3, Worker::peek),
    ("write under a guard", 20, Worker::write),
    ("borrow from the pool", 12, Worker::borrow),
    ("transfer", 12, Worker::transfer),
    ("attach or detach", 6, Worker::attach),
    ("fork", 1, Worker::fork),
    ("list all", 1, Worker::list_all),
    ("create and remove", 4, Worker::create_and_remove),
    ("use transient objects", 6, Worker::use_transient),
];

/// The longest timeout of a call.
const WAIT: Duration = Duration::from_millis(30);

pub struct Worker {
    ns: Namespace,
    ledger: Ledger,
    objects: Objects,
    number: usize,
    round: u32,
    incarnation: u32,
    rng: Rng,
    attached: Vec<Vec<Attachment>>,
    /// The number of the last message by sender, queue and type.
    last: HashMap<(u32, u32, i64), u32>,
    buffer: Vec<u8>,
}

pub fn run(number: usize, directory: &Path, seed: u64) -> ExitCode {
    match Worker::begin(number, directory, seed).and_then(|mut worker| worker.work()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            report(directory, &format!("worker {number}, process {}: {why}", std::process::id()));
            ExitCode::FAILURE
        }
    }
}

impl Worker {
    fn begin(number: usize, directory: &Path, seed: u64) -> Result<Worker, String> {
        // The handler of the interrupting signal does nothing.
        signal_hook::flag::register(SIGUSR1, Arc::new(AtomicBool::new(false))).map_err(|e| e.to_string())?;
        let ledger = Ledger::open(&directory.join(LEDGER)).map_err(|e| e.to_string())?;
        let page = ledger.pages.get(number).ok_or("no such worker")?;
        let incarnation = page.incarnation.load(SeqCst);
        let ns = Namespace::open(directory.join(NAMESPACE)).map_err(|e| e.to_string())?;
        let objects = Objects::open(&ns).map_err(|e| e.to_string())?;
        Ok(Worker {
            objects,
            number,
            round: ledger.round_word.load(SeqCst) >> 1,
            incarnation,
            rng: Rng::with_seed(seed),
            attached: SEGMENTS.iter().map(|_| Vec::new()).collect(),
            last: HashMap::new(),
            buffer: vec![0; 2 * MAX_TEXT],
            ns,
            ledger,
        })
    }

    fn page(&self) -> &WorkerPage {
        &self.ledger.pages[self.number]
    }

    fn work(&mut self) -> Result<(), String> {
        let all: u32 = ACTIONS.iter().map(|(_, weight, _)| weight).sum();
        let begun = open_descriptors();
        while self.ledger.round_word.load(SeqCst) & 1 == 0 {
            let mut at = self.rng.u32(0..all);
            let action = ACTIONS.iter().position(|(_, weight, _)| {
                let here = at < *weight;
                at = at.wrapping_sub(*weight);
                here
            });
            let action = action.unwrap_or(0);
            self.page().doing.store(action as u32 + 1, SeqCst);
            self.page().since.store(ledger::nanoseconds(), SeqCst);
            (ACTIONS[action].2)(self).map_err(|why| format!("{}: {why}", ACTIONS[action].0))?;
            self.page().actions.fetch_add(1, SeqCst);
        }
        let now = open_descriptors();
        if now != begun { Err(format!("{begun} descriptors were open at the start, {now} at the end")) } else { Ok(()) }
    }

    /// Turns the expected errors of a call that may block into `None`.
    fn tolerate<T>(&self, answer: Result<T, Errno>) -> Result<Option<T>, String> {
        match answer {
            Ok(done) => Ok(Some(done)),
            Err(Errno::AGAIN | Errno::NOMSG | Errno::INTR) => Ok(None),
            Err(e) => Err(e.to_string()),
        }
    }

    /// Returns a timeout, or `None` for a call that does not block.
    fn timeout(&mut self) -> Option<Duration> {
        let timeout = self.rng.bool().then(|| WAIT.mul_f32(self.rng.f32()));
        if timeout.is_some() {
            self.page().waits.fetch_add(1, SeqCst);
        }
        timeout
    }

    fn send(&mut self) -> Result<(), String> {
        let queue = self.rng.usize(0..QUEUES);
        let number = self.page().messages.load(SeqCst);
        if number as usize == MAX_MESSAGES {
            return Ok(());
        }
        let payload = Payload { from: self.number as u32, number, queue: queue as u32, round: self.round };
        let len = match self.rng.u32(0..100) {
            0..70 => self.rng.usize(0..100),
            70..98 => self.rng.usize(0..1900),
            _ if queue == 0 => 0,
            _ => self.rng.usize(1900..MAX_TEXT),
        };
        let (bytes, wait) = (payload.write(len), self.timeout());
        let page = self.page();
        let record = &page.records[number as usize];
        record.queue.store(queue as u8, SeqCst);
        record.sent.store(STARTED, SeqCst);
        page.messages.store(number + 1, SeqCst);
        let flags = if wait.is_none() { MsgFlags::NOWAIT } else { MsgFlags::empty() };
        let sent = self.tolerate(self.ns.msgsnd(self.objects.queues[queue], payload.mtype(), &bytes, flags, wait))?;
        record.sent.store(if sent.is_some() { SENT } else { REFUSED }, SeqCst);
        Ok(())
    }

    fn receive(&mut self) -> Result<(), String> {
        let queue = self.rng.usize(0..QUEUES);
        let (mtype, mut flags) = match self.rng.u32(0..6) {
            0..3 => (0, MsgFlags::empty()),
            3 => (self.rng.i64(1..=5), MsgFlags::empty()),
            4 => (-self.rng.i64(1..=5), MsgFlags::empty()),
            _ => (self.rng.i64(1..=5), MsgFlags::EXCEPT),
        };
        let wait = self.timeout();
        if wait.is_none() {
            flags |= MsgFlags::NOWAIT;
        }
        let id = self.objects.queues[queue];
        self.page().receiving.store(queue as u32 + 1, SeqCst);
        let answer = self.ns.msgrcv(id, &mut self.buffer, mtype, flags, wait);
        if let Some((mtype, len)) = self.tolerate(answer)? {
            let payload = Payload::read(&self.buffer[..len])?;
            self.ledger.note_received(payload, queue as u32, self.round, mtype)?;
            let last = self.last.entry((payload.from, payload.queue, mtype)).or_insert(payload.number);
            if *last > payload.number {
                self.ledger.late[queue].fetch_add(1, SeqCst);
            }
            *last = payload.number.max(*last);
        }
        self.page().receiving.store(0, SeqCst);
        Ok(())
    }

    /// Reads messages without removing them: they must be intact.
    fn peek(&mut self) -> Result<(), String> {
        let id = self.objects.queues[self.rng.usize(0..QUEUES)];
        if self.rng.bool() {
            let at = self.rng.i64(0..30);
            let flags = MsgFlags::COPY | MsgFlags::NOWAIT;
            let answer = self.ns.msgrcv(id, &mut self.buffer, at, flags, None);
            if let Some((_, len)) = self.tolerate(answer)? {
                Payload::read(&self.buffer[..len])?;
            }
            return Ok(());
        }
        let mut wrong = None;
        let mut left = 40;
        let see = |_: quintet::MessageStat, bytes: &[u8]| {
            wrong = Payload::read(bytes).err();
            left -= 1;
            wrong.is_none() && left > 0
        };
        self.ns.peek(id, see).map_err(|e| e.to_string())?;
        wrong.map_or(Ok(()), Err)
    }

    fn write(&mut self) -> Result<(), String> {
        let (segment, nth) = (self.rng.usize(0..SEGMENTS.len()), self.rng.usize(0..BLOCKS));
        if self.attached[segment].is_empty() {
            self.attach_to(segment)?;
        }
        let guard = objects::guard(segment, nth);
        let wait = self.timeout().unwrap_or(Duration::ZERO);
        if self.tolerate(self.ns.semtimedop(self.objects.guards, &[undo(guard, -1)], Some(wait)))?.is_none() {
            return Ok(());
        }
        let writer = Writer { pid: std::process::id(), worker: self.number as u32, incarnation: self.incarnation };
        let memory = self.rng.choice(&self.attached[segment]).ok_or("nothing is attached")?;
        let is_slow = self.rng.u32(0..20) == 0;
        let between = || {
            if is_slow {
                std::thread::yield_now()
            }
        };
        block::update(memory, objects::location(segment, nth), writer, &self.ledger, between)?;
        self.must_succeed(self.objects.guards, &[undo(guard, 1)])
    }

    /// Performs operations that never block.
    fn must_succeed(&self, id: i32, ops: &[SemOp]) -> Result<(), String> {
        self.ns.semtimedop(id, ops, None).map_err(|e| format!("{ops:?} must not fail: {e}"))
    }

    /// Takes units from several semaphores in one call, and gives them back in one or several.
    fn borrow(&mut self) -> Result<(), String> {
        let mut which: Vec<u16> = (0..POOL).collect();
        self.rng.shuffle(&mut which);
        which.truncate(self.rng.usize(1..=4));
        let taken: Vec<(u16, i16)> = which.into_iter().map(|num| (num, self.rng.i16(1..=7))).collect();
        let take: Vec<SemOp> = taken.iter().map(|(num, n)| undo(*num, -n)).collect();
        let wait = self.timeout().unwrap_or(Duration::ZERO);
        if self.tolerate(self.ns.semtimedop(self.objects.pool, &take, Some(wait)))?.is_none() {
            return Ok(());
        }
        match self.rng.bool() {
            true => self.must_succeed(self.objects.pool, &taken.iter().map(|(num, n)| undo(*num, *n)).collect::<Vec<_>>()),
            false => taken.iter().try_for_each(|(num, n)| self.must_succeed(self.objects.pool, &[undo(*num, *n)])),
        }
    }

    /// Moves units between two semaphores in one call. A kill must leave both or neither changed.
    fn transfer(&mut self) -> Result<(), String> {
        let (from, by) = (self.rng.u16(0..BALANCE), self.rng.u16(1..BALANCE));
        let (to, n) = ((from + by) % BALANCE, self.rng.i16(1..=30));
        let wait = self.timeout().unwrap_or(Duration::ZERO);
        let ops = [SemOp::new(from, -n), SemOp::new(to, n)];
        self.tolerate(self.ns.semtimedop(self.objects.balance, &ops, Some(wait)))?;
        if self.rng.u32(0..8) == 0 { self.objects.check_sum_of_balance(&self.ns) } else { Ok(()) }
    }

    fn attach_to(&mut self, nth: usize) -> Result<(), String> {
        let memory = objects::open_segment(&self.ns, nth).and_then(|segment| segment.attach()).map_err(|e| e.to_string())?;
        self.attached[nth].push(memory);
        Ok(())
    }

    fn attach(&mut self) -> Result<(), String> {
        let nth = self.rng.usize(0..SEGMENTS.len());
        match self.attached[nth].pop() {
            Some(memory) if self.rng.bool() => memory.detach().map_err(|e| e.to_string()),
            Some(memory) if self.attached[nth].len() > 3 => memory.detach().map_err(|e| e.to_string()),
            other => {
                self.attached[nth].extend(other);
                self.attach_to(nth)
            }
        }
    }

    /// Forks. The child inherits the attachments, takes a guard, and exits or is killed.
    fn fork(&mut self) -> Result<(), String> {
        let dies = self.rng.bool();
        // SAFETY: see the module.
        match unsafe { libc::fork() } {
            0 => {
                let took = self.ns.semtimedop(self.objects.guards, &[undo(0, -1)], Some(WAIT));
                let attached = self.attached.pop();
                if dies {
                    // SAFETY: no pointers.
                    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
                }
                drop(attached);
                // The kernel or the next participant undoes what the child has taken.
                let status = i32::from(!matches!(took, Ok(()) | Err(Errno::AGAIN | Errno::INTR)));
                // SAFETY: ends the process.
                unsafe { libc::_exit(status) }
            }
            child if child > 0 => {
                let mut status = 0;
                // SAFETY: a child that was not waited for; a local.
                while unsafe { libc::waitpid(child, &raw mut status, 0) } != child {}
                let ended = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
                let killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
                if ended || killed { Ok(()) } else { Err(format!("the child ended with {status:#x}")) }
            }
            _ => Err(format!("fork: {}", std::io::Error::last_os_error())),
        }
    }

    /// Lists all objects as `ipcs` does, and sometimes sweeps as `quintet doctor` does.
    fn list_all(&mut self) -> Result<(), String> {
        let listed = |e: quintet::Error| e.to_string();
        let segments = self.ns.segments().map_err(listed)?;
        let sets = self.ns.sets().map_err(|e| e.to_string())?;
        let queues = self.ns.queues().map_err(|e| e.to_string())?;
        if segments.len() < SEGMENTS.len() || sets.len() < 3 || queues.len() < QUEUES {
            return Err(format!(
                "only {} segments, {} sets and {} queues of the lasting ones are listed",
                segments.len(),
                sets.len(),
                queues.len()
            ));
        }
        if self.rng.u32(0..10) == 0 {
            self.ns.sweep().map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// Creates an object, which must be empty, and removes it.
    fn create_and_remove(&mut self) -> Result<(), String> {
        let no = |e: Errno| e.to_string();
        let flags = libc::IPC_CREAT | 0o600;
        match self.rng.u32(0..3) {
            0 => {
                let size = *self.rng.choice(&[100, 4096, 60_000, 300_000]).unwrap_or(&1);
                let id = self.ns.shmget(Key::PRIVATE, size, flags).map_err(no)?;
                let segment = Segment::open_id(&self.ns, id).map_err(|e| e.to_string())?;
                let memory = segment.attach().map_err(|e| e.to_string())?;
                let text = memory.to_vec(0..size as usize).map_err(|e| e.to_string())?;
                if text.iter().any(|byte| *byte != 0) {
                    return Err(format!("a new segment of {size} bytes is not empty"));
                }
                memory.fill(0, size as usize, 0xa5).map_err(|e| e.to_string())?;
                segment.remove().map_err(|e| e.to_string())
            }
            1 => {
                let id = self.ns.semget(Key::PRIVATE, 5, flags).map_err(no)?.raw();
                let values = self.ns.sem_values(id).map_err(no)?;
                if values != [0; 5] {
                    return Err(format!("a new set has values {values:?}"));
                }
                self.must_succeed(id, &[undo(0, 3), SemOp::new(4, 7)])?;
                self.ns.sem_remove(id).map_err(no)
            }
            _ => {
                let id = self.ns.msgget(Key::PRIVATE, flags).map_err(no)?.raw();
                let none = self.ns.msgrcv(id, &mut self.buffer, 0, MsgFlags::NOWAIT, None);
                if none != Err(Errno::NOMSG) {
                    return Err(format!("a new queue is not empty: {none:?}"));
                }
                self.ns.msgsnd(id, 1, b"left behind", MsgFlags::NOWAIT, None).map_err(no)?;
                self.ns.msg_remove(id).map_err(no)
            }
        }
    }

    /// Uses objects that every worker creates, changes and removes. Any of them may be gone.
    fn use_transient(&mut self) -> Result<(), String> {
        let key = Key::new(self.rng.i32(TRANSIENT_KEYS));
        let flags = *self.rng.choice(&[0, libc::IPC_CREAT | 0o600, libc::IPC_CREAT | libc::IPC_EXCL | 0o600]).unwrap_or(&0);
        let (uid, gid, mode) =
            (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw(), 0o600 | self.rng.u32(0..2) << 5);
        let (ns, act, wait) = (&self.ns, self.rng.u32(0..6), WAIT.mul_f32(self.rng.f32()));
        let done = match self.rng.u32(0..3) {
            0 => ns.shmget(key, 5000, flags).map(quintet::Id::raw).and_then(|id| match act {
                0 => ns.shm_remove(id),
                1 => ns.shm_set(id, uid, gid, mode),
                2 => ns.shm_stat(id).map(drop),
                _ => Ok(()),
            }),
            1 => ns.semget(key, 3, flags).map(quintet::Id::raw).and_then(|id| match act {
                0 => ns.sem_remove(id),
                1 => ns.sem_set(id, uid, gid, mode),
                2 => ns.sem_set_values(id, &[1, 2, 3]),
                3 => ns.semtimedop(id, &[SemOp::new(0, -2), SemOp::new(1, 0)], Some(wait)),
                4 => ns.semtimedop(id, &[undo(0, 1), SemOp::new(2, -1).flags(SemFlags::NOWAIT)], None),
                _ => ns.sem_values(id).map(drop),
            }),
            _ => ns.msgget(key, flags).map(quintet::Id::raw).and_then(|id| match act {
                0 => ns.msg_remove(id),
                1 => ns.msg_set(id, uid, gid, mode, 500),
                2 | 3 => ns.msgsnd(id, 1 + i64::from(act), &self.buffer[..200], MsgFlags::empty(), Some(wait)),
                _ => ns.msgrcv(id, &mut self.buffer, 0, MsgFlags::empty(), Some(wait)).map(drop),
            }),
        };
        match done {
            Ok(()) | Err(Errno::AGAIN | Errno::NOMSG | Errno::INTR | Errno::RANGE) => Ok(()),
            // Another worker has removed it, or has created it differently.
            Err(Errno::NOENT | Errno::EXIST | Errno::INVAL | Errno::IDRM) => Ok(()),
            // It belongs to another user.
            Err(Errno::ACCES | Errno::PERM) if self.ns.kind() == Kind::Shared => Ok(()),
            Err(e) => Err(e.to_string()),
        }
    }
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
