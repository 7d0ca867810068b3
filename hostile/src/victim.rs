//! A process that makes all calls on objects under attack, and checks that nothing else happens to
//! it.
#![allow(unsafe_code)]
//!
//!
//! # Safety
//!
//! Memory is attached where there is room, and detached when nothing uses it. A child made by
//! `fork` makes a few calls and exits.

use crate::memory::{self, GuardedBuffer, StatusPage};
use crate::objects::{self, ID, KEYS, SEMAPHORES};
use crate::rng::Rng;
use quintet::{Id, Key, MsgFlags, Namespace, Segment, SemFlags, SemOp};
use std::path::Path;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

/// The names of the calls in reports.
pub const CALLS: [&str; 40] = [
    "shmget",
    "shmat",
    "reading attached memory",
    "shmdt",
    "shm IPC_STAT",
    "SHM_STAT",
    "shm IPC_SET",
    "shm IPC_RMID",
    "SHM_LOCK",
    "segments",
    "semget",
    "semop",
    "semop of several operations",
    "semop with SEM_UNDO",
    "blocking semop",
    "GETVAL",
    "GETALL",
    "SETVAL",
    "SETALL",
    "GETPID",
    "GETNCNT",
    "sem IPC_STAT",
    "SEM_STAT",
    "sem IPC_SET",
    "sem IPC_RMID",
    "sets",
    "msgget",
    "msgsnd",
    "blocking msgsnd",
    "msgrcv",
    "blocking msgrcv",
    "MSG_COPY",
    "peek",
    "msg IPC_STAT",
    "msg IPC_SET",
    "msg IPC_RMID",
    "queues",
    "sweep and doctor",
    "fork",
    "limits",
];

struct Victim<'a> {
    ns: &'a Namespace,
    page: &'a StatusPage,
    rng: Rng,
    buffer: GuardedBuffer,
}

/// The timeout of calls that may block.
const SHORT_TIMEOUT: Option<Duration> = Some(Duration::from_millis(1));

/// Private memory that no call may change.
struct Private(Vec<u64>);

impl Private {
    fn new() -> Private {
        Private((0..1 << 15).map(|nth: u64| nth.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect())
    }

    fn check(&self) {
        let whole = self.0.iter().enumerate().all(|(nth, word)| *word == (nth as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        assert!(whole, "private memory has changed");
    }
}

/// Runs rounds as the status page says.
pub fn run(path: &Path, page: &StatusPage) {
    // SAFETY: no pointers.
    page.tid.store(unsafe { libc::gettid() } as u32, SeqCst);
    let ns = Namespace::open(path).expect("the namespace");
    let private = Private::new();
    // Makes the process a participant.
    let _ = ns.sweep();
    let mut buffer = Some(GuardedBuffer::new(16384));
    let mut round = 0;
    page.done.store(1, SeqCst);
    memory::wake(&page.done);
    loop {
        while page.round.load(SeqCst) <= round {
            memory::wait_while(&page.round, round, Duration::from_secs(1));
        }
        round = page.round.load(SeqCst);
        let last = page.last.load(SeqCst) != 0;
        let rng = Rng::new(page.seed.load(SeqCst));
        let mut victim = Victim { ns: &ns, page, rng, buffer: buffer.take().expect("lent") };
        victim.round();
        buffer = Some(victim.buffer);
        private.check();
        page.done.store(round + 1, SeqCst);
        memory::wake(&page.done);
        if last {
            while page.last.load(SeqCst) != memory::END {
                memory::wait_while(&page.last, 1, Duration::from_secs(1));
            }
            return;
        }
    }
}

impl Victim<'_> {
    /// Makes a call and records it on the status page.
    fn call<T, E>(&self, what: usize, body: impl FnOnce() -> Result<T, E>) -> Option<T> {
        let page = self.page;
        page.call.store(what as u32, Relaxed);
        page.begun.fetch_add(1, SeqCst);
        let begin = Instant::now();
        let result = body();
        let micros = begin.elapsed().as_micros() as u64;
        if micros > page.longest.load(Relaxed) {
            page.longest.store(micros, Relaxed);
            page.longest_call.store(what as u32, Relaxed);
        }
        page.succeeded.fetch_add(u64::from(result.is_ok()), Relaxed);
        page.ended.fetch_add(1, SeqCst);
        result.ok()
    }

    fn round(&mut self) {
        let calls = 20 + self.rng.below(60);
        // Most calls use the attacked object, some another or a new one.
        for _ in 0..calls {
            self.one_call();
        }
        self.check_untouched();
    }

    /// Checks the objects that are not attacked, while the attack goes on.
    fn check_untouched(&self) {
        self.call(39, || {
            objects::check_untouched(self.ns);
            Ok::<_, ()>(())
        });
    }

    fn id(&mut self) -> i32 {
        match self.rng.below(16) {
            0 => 2,
            1 => 3,
            2 => 32768,
            3 => self.rng.choose(&[-1, i32::MAX, 65536, 0x7fff, 5]),
            _ => ID,
        }
    }

    fn num(&mut self) -> u16 {
        self.rng.choose(&[0, 0, 1, 2, 5, 39, 40, 65535])
    }

    fn mtype(&mut self) -> i64 {
        self.rng.choose(&[0, 1, 2, 3, 4, 5, 9, 1 << 40, i64::MAX, -3, -9, i64::MIN])
    }

    fn one_call(&mut self) {
        let what = match self.rng.below(100) {
            0..12 => self.rng.below(10) as usize,
            12..46 => 10 + self.rng.below(16) as usize,
            46..90 => 26 + self.rng.below(11) as usize,
            90..96 => 27 + self.rng.below(6) as usize,
            96 | 97 => 37,
            98 => {
                if self.rng.once_in(4) {
                    38
                } else {
                    11
                }
            }
            _ => 39,
        };
        self.make(what);
    }

    fn make(&mut self, what: usize) {
        let (ns, id) = (self.ns, self.id());
        let creat = libc::IPC_CREAT | 0o600;
        match what {
            0 => {
                let (key, size) =
                    self.rng.choose(&[(KEYS[0], objects::SEGMENT), (Key::PRIVATE, 100), (KEYS[0], 0), (Key::new(0xc1), 70000)]);
                if let Some(made) = self.call(what, || ns.shmget(key, size, creat))
                    && key != KEYS[0]
                    && made.index() != ID as u16
                {
                    self.call(7, || ns.shm_remove(made.raw()));
                }
            }
            1..=3 => self.attach(id),
            4 => _ = self.call(what, || ns.shm_stat(id)),
            5 => _ = self.call(what, || ns.shm_stat_index(id & 0x7fff, true)),
            6 => {
                // SAFETY: cannot fail.
                let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
                _ = self.call(what, || ns.shm_set(id, uid, gid, 0o600));
            }
            7 if self.rng.once_in(4) => {
                self.call(what, || ns.shm_remove(id));
                self.call(0, || ns.shmget(KEYS[0], objects::SEGMENT, creat));
            }
            8 => {
                let lock = self.rng.once_in(2);
                _ = self.call(what, || ns.shm_lock(id, lock));
            }
            7 | 9 => {
                self.call(9, || ns.segments());
                self.call(9, || ns.shm_usage());
            }
            10 => {
                let (key, nsems) =
                    self.rng.choose(&[(KEYS[1], SEMAPHORES), (Key::PRIVATE, 3), (KEYS[1], 0), (Key::new(0xc2), 700)]);
                if let Some(made) = self.call(what, || ns.semget(key, nsems, creat))
                    && key != KEYS[1]
                    && made.index() != ID as u16
                {
                    self.call(24, || ns.sem_remove(made.raw()));
                }
            }
            11..=14 => self.operate(what, id),
            15 => {
                let num = self.num().into();
                _ = self.call(what, || ns.sem_value(id, num));
            }
            16 => _ = self.call(what, || ns.sem_values(id)),
            17 => {
                let (num, value) = (self.num().into(), self.rng.choose(&[0, 1, 5, 32767, 32768, -1]));
                _ = self.call(what, || ns.sem_set_value(id, num, value));
            }
            18 => {
                let value = self.rng.choose(&[0, 1, 3, 32767]);
                _ = self.call(what, || ns.sem_set_values(id, &[value; SEMAPHORES as usize]));
            }
            19 => {
                let num = self.num().into();
                _ = self.call(what, || ns.sem_pid(id, num));
            }
            20 => {
                let num = self.num().into();
                self.call(what, || ns.sem_ncnt(id, num));
                self.call(what, || ns.sem_zcnt(id, num));
            }
            21 => _ = self.call(what, || ns.sem_stat(id)),
            22 => _ = self.call(what, || ns.sem_stat_index(id & 0x7fff, true)),
            23 => {
                // SAFETY: cannot fail.
                let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
                _ = self.call(what, || ns.sem_set(id, uid, gid, 0o600));
            }
            24 if self.rng.once_in(4) => {
                self.call(what, || ns.sem_remove(id));
                self.call(10, || ns.semget(KEYS[1], SEMAPHORES, creat));
            }
            24 | 25 => {
                self.call(25, || ns.sets());
                self.call(25, || ns.sem_usage());
            }
            26 => {
                let key = self.rng.choose(&[KEYS[2], KEYS[2], Key::PRIVATE, Key::new(0xc3)]);
                if let Some(made) = self.call(what, || ns.msgget(key, creat))
                    && key != KEYS[2]
                    && made.index() != ID as u16
                {
                    self.call(35, || ns.msg_remove(made.raw()));
                }
            }
            27 | 28 => {
                let (mtype, len) =
                    (self.mtype().max(1), self.rng.choose(&[0, 5, 20, 80, 81, 300, 1000, 2001, 4048, 4049, 5000, 8192, 8193]));
                let (flags, time) = if what == 27 { (MsgFlags::NOWAIT, None) } else { (MsgFlags::empty(), SHORT_TIMEOUT) };
                let bytes = vec![len as u8; len];
                self.call(what, || ns.msgsnd(id, mtype, &bytes, flags, time));
            }
            29 | 30 => {
                let mtype = self.mtype();
                let (flags, time) = if what == 29 { (MsgFlags::NOWAIT, None) } else { (MsgFlags::empty(), SHORT_TIMEOUT) };
                let flags = flags | self.rng.choose(&[MsgFlags::empty(), MsgFlags::NOERROR, MsgFlags::EXCEPT]);
                self.receive(what, id, mtype, flags, time);
            }
            31 => {
                let position = self.rng.choose(&[0, 1, 5, 41, 1000, i64::MAX]);
                self.receive(what, id, position, MsgFlags::NOWAIT | MsgFlags::COPY, None);
            }
            32 => {
                let mut seen = 0u64;
                _ = self.call(what, || {
                    ns.peek(id, |stat, bytes| {
                        assert_eq!(stat.len, bytes.len());
                        seen += bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
                        true
                    })
                });
            }
            33 => {
                self.call(what, || ns.msg_stat(id));
                self.call(what, || ns.msg_stat_index(id & 0x7fff, true));
            }
            34 => {
                // SAFETY: cannot fail.
                let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
                let capacity = self.rng.choose(&[16384, 0, 100, 1 << 20]);
                _ = self.call(what, || ns.msg_set(id, uid, gid, 0o600, capacity));
            }
            35 if self.rng.once_in(4) => {
                self.call(what, || ns.msg_remove(id));
                self.call(26, || ns.msgget(KEYS[2], creat));
                objects::fill_attacked(ns, ID);
            }
            35 | 36 => {
                self.call(36, || ns.queues());
                self.call(36, || ns.msg_usage());
            }
            37 => {
                self.call(what, || ns.sweep());
                self.call(what, || ns.participants());
                self.call(what, || ns.damaged_queues());
                if self.rng.once_in(2) {
                    self.call(what, || ns.repair_queues());
                }
            }
            38 => self.fork(id),
            _ => {
                self.call(39, || ns.limits());
                self.check_untouched();
            }
        }
    }

    fn attach(&mut self, id: i32) {
        let Ok(whole) = Id::from_raw(id) else { return };
        let ns = self.ns;
        let Some(segment) = self.call(1, || Segment::open_id(ns, whole)) else { return };
        let read_only = self.rng.once_in(4);
        let attached = self.call(1, || if read_only { segment.attach_read_only() } else { segment.attach() });
        let Some(memory) = attached else { return };
        let len = memory.len();
        self.call(2, || {
            memory.read(len - 1, &mut [0])?;
            for at in (0..len.min(1 << 22)).step_by(4096) {
                memory.read(at, &mut [0])?;
                if !read_only {
                    memory.write(at, &[1])?;
                }
            }
            Ok::<_, quintet::Error>(())
        });
        self.call(1, || segment.stat());
        if self.rng.once_in(2) {
            // The second attachment uses the cached mapping of the first.
            let second = self.call(1, || segment.attach());
            if let Some(memory) = second {
                let len = memory.len();
                self.call(2, || memory.read(len - 1, &mut [0]));
                self.call(3, || memory.detach());
            }
        }
        self.call(3, || memory.detach());
    }

    fn operate(&mut self, what: usize, id: i32) {
        let (mut flags, mut time) = (SemFlags::NOWAIT, None);
        if what == 13 {
            flags |= SemFlags::UNDO;
        }
        if what == 14 {
            (flags, time) = (if self.rng.once_in(2) { SemFlags::UNDO } else { SemFlags::empty() }, SHORT_TIMEOUT);
        }
        let many = match what {
            12 => 2 + self.rng.below(4),
            14 => self.rng.choose(&[1, 1, 2, 9, 500]),
            _ => 1,
        };
        let ops: Vec<SemOp> = (0..many)
            .map(|_| {
                SemOp::new(
                    self.num().min(if many > 1 { 39 } else { u16::MAX }),
                    self.rng.choose(&[-1, 1, 0, -2, 2, 300, -300, i16::MAX, i16::MIN]),
                )
                .flags(flags)
            })
            .collect();
        let ns = self.ns;
        self.call(what, || ns.semtimedop(id, &ops, time));
    }

    fn receive(&mut self, what: usize, id: i32, mtype: i64, flags: MsgFlags, time: Option<Duration>) {
        let size = self.rng.choose(&[0, 10, 20, 300, 5000, 8192, 10000]);
        let ns = self.ns;
        let mut buffer = std::mem::replace(&mut self.buffer, GuardedBuffer::new(0));
        buffer.with_last_bytes(size, |bytes| {
            if let Some((_, len)) = self.call(what, || ns.msgrcv(id, bytes, mtype, flags, time)) {
                assert!(len <= size, "received {len} bytes into {size}");
            }
        });
        self.buffer = buffer;
    }

    /// Forks a child with everything that the parent has. It makes some calls and exits.
    fn fork(&mut self, id: i32) {
        let (ns, page) = (self.ns, self.page);
        self.call(38, || {
            // SAFETY: this process has one thread.
            match unsafe { libc::fork() } {
                0 => {
                    let _ = ns.semtimedop(id, &[SemOp::new(0, 1).flags(SemFlags::NOWAIT | SemFlags::UNDO)], None);
                    let _ = ns.msgsnd(id, 1, b"child", MsgFlags::NOWAIT, None);
                    let _ = ns.msg_stat(id);
                    let _ = ns.sem_values(id);
                    // SAFETY: ends the process.
                    unsafe { libc::_exit(0) }
                }
                pid => {
                    page.child.store(pid as u32, Relaxed);
                    let mut status = 0;
                    // SAFETY: a local.
                    while unsafe { libc::waitpid(pid, &raw mut status, 0) } == -1 {}
                    page.child.store(0, Relaxed);
                    assert_eq!(status, 0, "the child of a fork");
                    Ok::<_, ()>(())
                }
            }
        });
    }
}
