//! Calls of all three mechanisms, in one process, each judged by the [model](crate::model).
#![allow(unsafe_code)]

use crate::input::Input;
use crate::model::{Caller, Message, Queue, Segment, Set, World};
use libc::{IPC_CREAT, IPC_EXCL, SHM_NORESERVE, SHM_RDONLY, SHM_RND};
use quintet::{Errno, Id, Key, Kind, Limits, ModeFlags, MsgFlags, Namespace, QueueStat, SegmentStat, SemFlags, SemOp, SetStat};
use std::fmt::Debug;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// More calls than this say nothing that fewer would not.
const CALLS: usize = 100;
const REGISTERS: usize = 5;
const HOLDS: usize = 4;

const KEYS: [i32; 8] = [0, 1, 2, 3, -1, i32::MIN, i32::MAX, 0x1234_5678];
const MODES: [i32; 8] = [0o600, 0o666, 0o777, 0o400, 0o200, 0o640, 0o044, 0];
const GET: [i32; 6] = [IPC_CREAT, IPC_CREAT, IPC_CREAT | IPC_EXCL, 0, IPC_EXCL, IPC_CREAT | SHM_NORESERVE];
const SIZES: [u64; 12] = [1, 100, 4096, 4097, 8192, 65536, 65537, 0, 1 << 40, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX];
/// Of [`SIZES`], those that can be had.
const GOOD_SIZES: usize = 7;
const NSEMS: [i32; 12] = [1, 1, 2, 3, 5, 17, 300, 0, -1, 32000, 32001, i32::MAX];
const GOOD_NSEMS: usize = 7;
const LENGTHS: [usize; 16] = [0, 1, 7, 79, 80, 81, 208, 209, 500, 1000, 2000, 4048, 4049, 8192, 20480, 33000];
const TYPES: [i64; 16] =
    [1, 2, 3, 4, 5, 0, -1, -2, -5, i64::MIN, i64::MAX, i64::MIN + 1, 1 << 32, (1 << 32) + 1, 100, -(1 << 40)];
const ADD: [i16; 12] = [0, 1, -1, 1, -1, 2, -2, 5, -7, i16::MAX, i16::MIN, i16::MAX - 1];

/// A namespace on which program after program is run: each leaves it as it found it.
pub struct Stage {
    namespaces: [Namespace; 3],
    path: PathBuf,
    registry: File,
    caller: Caller,
}

/// A program that is under way.
struct Run<'a> {
    stage: &'a Stage,
    world: World,
    input: Input<'a>,
    start: i64,
    segments: [i32; REGISTERS],
    sets: [i32; REGISTERS],
    queues: [i32; REGISTERS],
    /// Where which segment is attached, and whether it may be written there.
    holds: [Option<(usize, i32, bool)>; HOLDS],
    /// So many more are made.
    children: u32,
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// The caller, as far as it matters here.
fn caller() -> Caller {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    let id = |name: &str| field(name).split_whitespace().nth(1).and_then(|id| id.parse().ok()).unwrap_or_default();
    let capabilities = u64::from_str_radix(field("CapEff:"), 16).unwrap_or_default();
    Caller {
        pid: std::process::id() as i32,
        uid: id("Uid:"),
        gid: id("Gid:"),
        passes_modes: capabilities >> 15 & 1 != 0,
        passes_msgmnb: capabilities >> 24 & 1 != 0,
    }
}

/// What both say must be the same.
fn same<T: PartialEq + Debug>(call: impl Debug, engine: T, model: T) {
    assert_eq!(engine, model, "left: the engine, right: the model, of {call:?}");
}

/// The bytes of a message or a write: which, and how many, tells the fuzzer.
fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| seed.wrapping_add(i as u8).wrapping_mul(i as u8 | 1)).collect()
}

impl Stage {
    /// A namespace of its own in `parent`.
    pub fn new(parent: &Path, kind: Kind) -> Stage {
        let path = parent.join(if kind == Kind::Private { "private" } else { "shared" });
        let first = Namespace::create(&path, kind).expect("a namespace can be made there");
        let others = [(); 2].map(|()| Namespace::open(&path).expect("it is there"));
        let [second, third] = others;
        let registry = File::options().write(true).open(path.join("registry")).expect("it is there");
        Stage { namespaces: [first, second, third], path, registry, caller: caller() }
    }

    /// Runs a program, and looks at everything afterwards.
    pub fn run(&self, data: &[u8]) {
        let (first, data) = data.split_first().unwrap_or((&0, &[]));
        self.begin();
        let mut run = Run {
            stage: self,
            world: World::new(self.caller),
            input: Input(data),
            start: now(),
            segments: [0; REGISTERS],
            sets: [0; REGISTERS],
            queues: [0; REGISTERS],
            holds: [None; HOLDS],
            // They take their time.
            children: u32::from(first >> 4 == 7),
        };
        for _ in 0..CALLS {
            match run.input.first() {
                Some(byte) => run.call(byte),
                None => break,
            }
        }
        run.look_at_everything();
        run.end();
    }

    /// Identifiers are counted from the beginning again, as in a namespace that was just made.
    fn begin(&self) {
        let ns = &self.namespaces[0];
        if ns.limits() != Ok(Limits::DEFAULT) {
            ns.set_limits(&Limits::DEFAULT).expect("its owner sets the limits");
        }
        for class in 0..3 {
            for (field, value) in [(4, 0), (16, -1), (24, -1)] {
                let at = 32 + 32 * class + field;
                self.registry.write_all_at(&i32::to_ne_bytes(value), at).expect("it has its place");
            }
        }
    }

    /// What there is in one of the folders.
    fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path.join(folder)).expect("a namespace has it");
        entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Run<'_> {
    /// Whichever handle: they are the same namespace.
    fn ns(&self, byte: u8) -> &Namespace {
        &self.stage.namespaces[usize::from(byte >> 6) % 3]
    }

    /// An identifier: mostly one that was given, at times another.
    fn id(&mut self, registers: [i32; REGISTERS]) -> (usize, i32) {
        let byte = self.input.byte();
        let register = usize::from(byte) % REGISTERS;
        let known = registers[register];
        let id = match byte {
            0..0xf0 => known,
            0xf0..0xf4 => known.wrapping_add(32768),
            0xf4..0xf8 => known.wrapping_sub(32768),
            0xf8..0xfa => known ^ 1,
            0xfa..0xfc => i32::MAX,
            0xfc..0xfe => -1,
            _ => i32::MIN,
        };
        (register, id)
    }

    fn call(&mut self, byte: u8) {
        match byte % 64 {
            0..4 => self.shmget(byte),
            4..8 => self.shmat(byte),
            8..10 => self.shmdt(byte),
            10 => self.shm_stat(byte),
            11 => self.shm_set(byte),
            12 => self.shm_remove(byte),
            13..15 => self.poke(),
            15 => self.shm_usage(byte),
            16..20 => self.semget(byte),
            20..26 => self.semop(byte),
            26 => self.sem_value(byte),
            27 => self.sem_set_value(byte),
            28 => self.sem_set_values(byte),
            29 => self.sem_stat(byte),
            30 => self.sem_set(byte),
            31 => self.sem_remove(byte),
            32..36 => self.msgget(byte),
            36..44 => self.msgsnd(byte),
            44..52 => self.msgrcv(byte),
            52 => self.msg_stat(byte),
            53 => self.msg_set(byte),
            54 => self.msg_remove(byte),
            55..57 => self.msgsnd_many(byte),
            57 => self.limits(byte),
            58 => self.next_id(byte),
            59 => self.sweep(byte),
            60 => self.child(byte),
            61 => self.look_at_everything(),
            62 => self.peek(byte),
            _ => self.usage(byte),
        }
    }

    fn key_and_flags(&mut self) -> (Key, i32) {
        (Key::new(self.input.of(&KEYS)), self.input.of(&GET) | self.input.of(&MODES))
    }

    fn shmget(&mut self, byte: u8) {
        let (register, _) = self.id(self.segments);
        let (key, flags) = self.key_and_flags();
        let size = if byte.is_multiple_of(4) { self.input.of(&SIZES) } else { self.input.of(&SIZES[..GOOD_SIZES]) };
        // What need not be promised can be had.
        let flags = if size >= 1 << 40 { flags & !SHM_NORESERVE } else { flags };
        let got = self.ns(byte).shmget(key, size, flags);
        same(("shmget", key, size, flags), got, self.world.shmget(key, size, flags));
        self.segments[register] = got.map_or(self.segments[register], Id::raw);
    }

    fn shmat(&mut self, byte: u8) {
        let (_, id) = self.id(self.segments);
        let hold = usize::from(self.input.byte()) % HOLDS;
        let flags = self.input.of(&[0, 0, SHM_RDONLY, SHM_RND]);
        let Some(free) = (0..HOLDS).map(|i| (hold + i) % HOLDS).find(|hold| self.holds[*hold].is_none()) else { return };
        let taken = self.holds.iter().flatten().next().filter(|_| byte % 4 == 3).map(|(at, ..)| *at);
        // SAFETY: without SHM_REMAP nothing is replaced.
        let got = unsafe { self.ns(byte).shmat(id, taken.unwrap_or(0), flags) };
        same(("shmat", id, taken, flags), got.map(drop), self.world.shmat(id, flags, taken.is_some()));
        if let Ok(at) = got {
            self.holds[free] = Some((at as usize, id, flags & SHM_RDONLY == 0));
            self.compare_bytes(at as usize, id);
        }
    }

    /// Each page's first and last byte, and what has been written.
    fn compare_bytes(&mut self, at: usize, id: i32) {
        let Ok(segment) = self.world.segments.table.get(id) else { return };
        let pages = (0..segment.size).step_by(4096);
        let ends = pages.flat_map(|page| [page, (page + 4095).min(segment.size - 1)]);
        for offset in ends.chain(segment.bytes.keys().copied()) {
            // SAFETY: attached there, and inside.
            let byte = unsafe { ((at + offset as usize) as *const u8).read_volatile() };
            same(("byte", id, offset), byte, segment.bytes.get(&offset).copied().unwrap_or(0));
        }
    }

    fn shmdt(&mut self, byte: u8) {
        let hold = usize::from(self.input.byte()) % HOLDS;
        match self.holds[hold].take() {
            Some((at, id, _)) => {
                self.compare_bytes(at, id);
                // SAFETY: the address is forgotten.
                same("shmdt", unsafe { self.ns(byte).shmdt(at) }, self.world.shmdt(id, self.world.caller.pid));
            }
            None => {
                let at = self.input.of(&[0, 1, 4096, usize::MAX, usize::MAX - 4095]);
                // SAFETY: nothing is attached there.
                same(("shmdt", at), unsafe { self.ns(byte).shmdt(at) }, Err(Errno::INVAL));
            }
        }
    }

    fn poke(&mut self) {
        let (hold, value, offset) = (usize::from(self.input.byte()) % HOLDS, self.input.byte(), self.input.short());
        let Some((at, id, true)) = self.holds[hold] else { return };
        let segment = self.world.segments.table.get(id).expect("it is attached");
        let offset = u64::from(offset) % segment.size;
        // SAFETY: attached there to be written, and inside.
        unsafe { ((at + offset as usize) as *mut u8).write_volatile(value) };
        segment.bytes.insert(offset, value);
    }

    fn shm_stat(&mut self, byte: u8) {
        let (_, id) = self.id(self.segments);
        let (engine, start) = (self.ns(byte), self.start);
        let (whole, index, any) = (engine.shm_stat(id), engine.shm_stat_index(id, false), engine.shm_stat_index(id, true));
        self.compare_segment(("shm_stat", id), whole, |world| world.shm_stat(id), start);
        self.compare_segment(("shm_stat_index", id), index, |world| world.shm_stat_index(id, false), start);
        self.compare_segment(("shm_stat_index any", id), any, |world| world.shm_stat_index(id, true), start);
    }

    fn compare_segment(
        &mut self,
        call: impl Debug,
        got: Result<SegmentStat, Errno>,
        of: impl FnOnce(&mut World) -> Result<&Segment, Errno>,
        start: i64,
    ) {
        let Caller { pid, uid, gid, .. } = self.world.caller;
        let model = of(&mut self.world);
        match (got, model) {
            (Ok(stat), Ok(segment)) => {
                let mut flags = ModeFlags::empty();
                flags.set(ModeFlags::DEST, segment.dest);
                same((&call, "names"), (stat.key, stat.id, stat.perm.mode), names(&segment.perm));
                same((&call, "owners"), owners(&stat.perm), (uid, gid, uid, gid));
                same((&call, "counts"), (stat.size, stat.nattch, stat.flags), (segment.size, segment.nattch, flags));
                same((&call, "pids"), (stat.cpid, stat.lpid), (pid, segment.lpid));
                let times = [(stat.atime, segment.atime), (stat.dtime, segment.dtime), (stat.ctime, true)];
                times.into_iter().for_each(|(time, set)| check_time(&call, time, set, start));
            }
            (got, model) => same(call, got.map(drop), model.map(drop)),
        }
    }

    fn shm_set(&mut self, byte: u8) {
        let ((_, id), mode) = (self.id(self.segments), self.input.of(&MODES) as u32);
        let (uid, gid, good) = self.owners();
        same(("shm_set", id, uid, mode), self.ns(byte).shm_set(id, uid, gid, mode), self.world.shm_set(id, good, mode));
    }

    /// An owner and a group to be set, and whether they may be.
    fn owners(&mut self) -> (u32, u32, bool) {
        let Caller { uid, gid, .. } = self.world.caller;
        match self.input.byte() {
            0..0xf0 => (uid, gid, true),
            0xf0..0xf8 => (u32::MAX, gid, false),
            _ => (uid, u32::MAX, false),
        }
    }

    fn shm_remove(&mut self, byte: u8) {
        let (_, id) = self.id(self.segments);
        same(("shm_remove", id), self.ns(byte).shm_remove(id), self.world.shm_remove(id));
    }

    fn shm_usage(&mut self, byte: u8) {
        let usage = self.ns(byte).shm_usage().expect("a directory's does not fail");
        let table = &self.world.segments.table;
        let pages = table.iter().map(Segment::pages).sum();
        same("shm_usage", (usage.segments, usage.pages, usage.max_index), (table.count(), pages, table.max_index()));
    }

    fn semget(&mut self, byte: u8) {
        let (register, _) = self.id(self.sets);
        let (key, flags) = self.key_and_flags();
        let nsems = if byte.is_multiple_of(4) { self.input.of(&NSEMS) } else { self.input.of(&NSEMS[..GOOD_NSEMS]) };
        // Large ones take their time.
        let nsems = if nsems > 30000 && self.world.semaphores() > 30000 { 1 } else { nsems };
        let got = self.ns(byte).semget(key, nsems, flags);
        same(("semget", key, nsems, flags), got, self.world.semget(key, nsems, flags));
        self.sets[register] = got.map_or(self.sets[register], Id::raw);
    }

    /// Some operations on the semaphores of a set.
    fn operations(&mut self, id: i32, always: SemFlags) -> Vec<SemOp> {
        let nsems = self.world.sets.get(id).map_or(1, |set| set.values.len());
        let count = match self.input.byte() {
            0..0xc0 => 1,
            byte @ 0xc0..0xf0 => usize::from(byte - 0xc0) / 4,
            byte @ 0xf0..0xff => usize::from(byte - 0xf0) * 4,
            0xff => 501,
        };
        let mut op = || {
            let (num, add, flags) = (self.input.byte(), self.input.of(&ADD), self.input.byte());
            let num = if num == 0xff { nsems as u16 } else { u16::from(num) % nsems.max(1) as u16 };
            let mut of = always;
            of.set(SemFlags::UNDO, of.contains(SemFlags::UNDO) || flags & 1 != 0);
            of.set(SemFlags::NOWAIT, flags & 2 != 0);
            SemOp::new(num, add).flags(of)
        };
        (0..count).map(|_| op()).collect()
    }

    fn semop(&mut self, byte: u8) {
        let (_, id) = self.id(self.sets);
        let ops = self.operations(id, SemFlags::empty());
        let patient = ops.iter().all(|op| op.flags.contains(SemFlags::NOWAIT)) && byte & 1 != 0;
        let timeout = if patient { None } else { Some(Duration::ZERO) };
        same(("semop", id, &ops), self.ns(byte).semtimedop(id, &ops, timeout), self.world.semop(id, &ops));
    }

    fn sem_value(&mut self, byte: u8) {
        let ((_, id), num) = (self.id(self.sets), i32::from(self.input.byte() as i8));
        let model = self.world.sem_value(id, num);
        let ns = self.ns(byte);
        same(("sem_value", id, num), ns.sem_value(id, num).map(i32::from), model.map(|(value, _)| value));
        same(("sem_pid", id, num), ns.sem_pid(id, num), model.map(|(_, pid)| pid));
        same(("sem_ncnt", id, num), ns.sem_ncnt(id, num), model.map(|_| 0));
        same(("sem_zcnt", id, num), ns.sem_zcnt(id, num), model.map(|_| 0));
    }

    fn sem_set_value(&mut self, byte: u8) {
        let ((_, id), num) = (self.id(self.sets), i32::from(self.input.byte() as i8));
        let value = self.input.of(&[0, 1, 2, 5, 32766, 32767, 32768, -1, i32::MIN, 65536]);
        let model = self.world.sem_set_value(id, num, value);
        same(("sem_set_value", id, num, value), self.ns(byte).sem_set_value(id, num, value), model);
    }

    fn sem_set_values(&mut self, byte: u8) {
        let (_, id) = self.id(self.sets);
        let nsems = self.world.sets.get(id).map_or(1, |set| set.values.len());
        let (seed, how) = (self.input.byte(), self.input.byte());
        let mut values: Vec<u16> = (0..nsems).map(|num| u16::from(seed).wrapping_mul(num as u16) % 7).collect();
        match how {
            0..0xe0 => {}
            0xe0..0xf0 => values[nsems - 1] = 32768,
            _ => values.push(1),
        }
        let model = self.world.sem_set_values(id, &values);
        same(("sem_set_values", id, nsems), self.ns(byte).sem_set_values(id, &values), model);
    }

    fn sem_stat(&mut self, byte: u8) {
        let (_, id) = self.id(self.sets);
        let (ns, start) = (self.ns(byte), self.start);
        let (whole, index, any) = (ns.sem_stat(id), ns.sem_stat_index(id, false), ns.sem_stat_index(id, true));
        let values = ns.sem_values(id).map(|values| values.into_iter().map(i32::from).collect());
        same(("sem_values", id), values, self.world.sem_stat(id).map(|set| set.values.clone()));
        self.compare_set(("sem_stat", id), whole, |world| world.sem_stat(id), start);
        self.compare_set(("sem_stat_index", id), index, |world| world.sem_stat_index(id, false), start);
        self.compare_set(("sem_stat_index any", id), any, |world| world.sem_stat_index(id, true), start);
    }

    fn compare_set(
        &mut self,
        call: impl Debug,
        got: Result<SetStat, Errno>,
        of: impl FnOnce(&mut World) -> Result<&Set, Errno>,
        start: i64,
    ) {
        let Caller { uid, gid, .. } = self.world.caller;
        match (got, of(&mut self.world)) {
            (Ok(stat), Ok(set)) => {
                same((&call, "names"), (stat.key, stat.id, stat.perm.mode), names(&set.perm));
                same((&call, "owners"), owners(&stat.perm), (uid, gid, uid, gid));
                same((&call, "nsems"), stat.nsems as usize, set.values.len());
                let times = [(stat.otime, set.otime.unwrap_or(stat.otime != 0)), (stat.ctime, true)];
                times.into_iter().for_each(|(time, set)| check_time(&call, time, set, start));
            }
            (got, model) => same(call, got.map(drop), model.map(drop)),
        }
    }

    fn sem_set(&mut self, byte: u8) {
        let ((_, id), mode) = (self.id(self.sets), self.input.of(&MODES) as u32);
        let (uid, gid, good) = self.owners();
        same(("sem_set", id, uid, mode), self.ns(byte).sem_set(id, uid, gid, mode), self.world.sem_set(id, good, mode));
    }

    fn sem_remove(&mut self, byte: u8) {
        let (_, id) = self.id(self.sets);
        same(("sem_remove", id), self.ns(byte).sem_remove(id), self.world.sem_remove(id));
    }

    fn msgget(&mut self, byte: u8) {
        let (register, _) = self.id(self.queues);
        let (key, flags) = self.key_and_flags();
        let got = self.ns(byte).msgget(key, flags);
        same(("msgget", key, flags), got, self.world.msgget(key, flags));
        self.queues[register] = got.map_or(self.queues[register], Id::raw);
    }

    fn msgsnd(&mut self, byte: u8) {
        let ((_, id), mtype, len, seed) =
            (self.id(self.queues), self.input.of(&TYPES), self.input.of(&LENGTHS), self.input.byte());
        self.send(byte, id, mtype, &pattern(seed, len), byte & 1 != 0);
    }

    fn send(&mut self, byte: u8, id: i32, mtype: i64, data: &[u8], nowait: bool) {
        let (flags, timeout) = if nowait { (MsgFlags::NOWAIT, None) } else { (MsgFlags::empty(), Some(Duration::ZERO)) };
        let model = self.world.msgsnd(id, mtype, data, self.world.caller.pid);
        same(("msgsnd", id, mtype, data.len()), self.ns(byte).msgsnd(id, mtype, data, flags, timeout), model);
    }

    /// So many that an index by type is made.
    fn msgsnd_many(&mut self, byte: u8) {
        let ((_, id), types, count) = (self.id(self.queues), self.input.byte(), self.input.byte() % 64);
        for nth in 0..count {
            let mtype = i64::from(nth.wrapping_mul(types) % 23) + 1;
            self.send(byte, id, mtype, &pattern(nth, usize::from(nth % 5)), true);
        }
    }

    fn msgrcv(&mut self, byte: u8) {
        let ((_, id), mtype) = (self.id(self.queues), self.input.of(&TYPES));
        let (mut buffer, how) = (vec![0xaa; self.input.of(&LENGTHS)], self.input.byte());
        let mut flags = MsgFlags::empty();
        flags.set(MsgFlags::NOERROR, how & 1 != 0);
        flags.set(MsgFlags::EXCEPT, how & 2 != 0);
        flags.set(MsgFlags::COPY, how & 12 == 4);
        flags.set(MsgFlags::NOWAIT, how & 16 == 0);
        let timeout = if flags.contains(MsgFlags::NOWAIT) { None } else { Some(Duration::ZERO) };
        let size = buffer.len();
        let got = self.ns(byte).msgrcv(id, &mut buffer, mtype, flags, timeout);
        let got = got.map(|(mtype, len)| {
            assert!(buffer[len..].iter().all(|byte| *byte == 0xaa), "msgrcv has written beyond the message");
            Message { mtype, data: buffer[..len].to_owned() }
        });
        same(("msgrcv", id, size, mtype, flags), got, self.world.msgrcv(id, size, mtype, flags));
    }

    fn msg_stat(&mut self, byte: u8) {
        let (_, id) = self.id(self.queues);
        let (ns, start) = (self.ns(byte), self.start);
        let (whole, index, any) = (ns.msg_stat(id), ns.msg_stat_index(id, false), ns.msg_stat_index(id, true));
        self.compare_queue(("msg_stat", id), whole, |world| world.msg_stat(id), start);
        self.compare_queue(("msg_stat_index", id), index, |world| world.msg_stat_index(id, false), start);
        self.compare_queue(("msg_stat_index any", id), any, |world| world.msg_stat_index(id, true), start);
    }

    fn compare_queue(
        &mut self,
        call: impl Debug,
        got: Result<QueueStat, Errno>,
        of: impl FnOnce(&mut World) -> Result<&Queue, Errno>,
        start: i64,
    ) {
        let Caller { uid, gid, .. } = self.world.caller;
        match (got, of(&mut self.world)) {
            (Ok(stat), Ok(queue)) => {
                same((&call, "names"), (stat.key, stat.id, stat.perm.mode), names(&queue.perm));
                same((&call, "owners"), owners(&stat.perm), (uid, gid, uid, gid));
                let counts = (queue.bytes(), queue.messages.len() as u64, queue.capacity);
                same((&call, "counts"), (stat.bytes, stat.messages, stat.capacity), counts);
                same((&call, "pids"), (stat.lspid, stat.lrpid), (queue.lspid, queue.lrpid));
                let times = [(stat.stime, queue.lspid != 0), (stat.rtime, queue.lrpid != 0), (stat.ctime, true)];
                times.into_iter().for_each(|(time, set)| check_time(&call, time, set, start));
            }
            (got, model) => same(call, got.map(drop), model.map(drop)),
        }
    }

    fn msg_set(&mut self, byte: u8) {
        let ((_, id), mode) = (self.id(self.queues), self.input.of(&MODES) as u32);
        let capacity = self.input.of(&[16384, 0, 1, 100, 5000, 16385, 200_000, u64::MAX]);
        let (uid, gid, good) = self.owners();
        let got = self.ns(byte).msg_set(id, uid, gid, mode, capacity);
        same(("msg_set", id, uid, mode, capacity), got, self.world.msg_set(id, good, mode, capacity));
    }

    fn msg_remove(&mut self, byte: u8) {
        let (_, id) = self.id(self.queues);
        same(("msg_remove", id), self.ns(byte).msg_remove(id), self.world.msg_remove(id));
    }

    fn peek(&mut self, byte: u8) {
        let (_, id) = self.id(self.queues);
        let most = usize::from(self.input.byte());
        let mut seen = Vec::new();
        let got = self.ns(byte).peek(id, |stat, data| {
            assert_eq!(stat.len, data.len());
            seen.push(Message { mtype: stat.mtype, data: data.to_owned() });
            seen.len() < most
        });
        let model = self.world.msg_stat(id).map(|queue| queue.messages.iter().take(most.max(1)).cloned().collect());
        same(("peek", id, most), got.map(|()| seen), model);
    }

    fn usage(&mut self, byte: u8) {
        let (sets, queues) = (self.ns(byte).sem_usage(), self.ns(byte).msg_usage());
        let (sets, queues) = (sets.expect("a directory's does not fail"), queues.expect("nor this"));
        let (table, semaphores) = (&self.world.sets, self.world.semaphores() as u32);
        same("sem_usage", (sets.sets, sets.semaphores, sets.max_index), (table.count(), semaphores, table.max_index()));
        let table = &self.world.queues;
        let (messages, bytes) =
            table.iter().fold((0, 0), |(n, sum), queue| (n + queue.messages.len() as u64, sum + queue.bytes()));
        let model = (table.count(), messages, bytes, table.max_index());
        same("msg_usage", (queues.queues, queues.messages, queues.bytes, queues.max_index), model);
    }

    fn limits(&mut self, byte: u8) {
        let limits = &mut self.world.limits;
        let which = self.input.byte();
        match which % 12 {
            0 => limits.shmmax = self.input.of(&[0, 1, 4096, 8192, u64::MAX]),
            1 => limits.shmall = self.input.of(&[0, 1, 3, 20, u64::MAX]),
            2 => limits.shmmni = self.input.of(&[0, 1, 2, 4096, 32768]),
            3 => limits.shm_rmid_forced = self.input.of(&[true, false]),
            4 => limits.semmsl = self.input.of(&[0, 1, 4, 32000, 65535]),
            5 => limits.semmns = self.input.of(&[0, 1, 4, 20, i32::MAX as u32]),
            6 => limits.semopm = self.input.of(&[0, 1, 2, 10, 500]),
            7 => limits.semmni = self.input.of(&[0, 1, 2, 32768]),
            8 => limits.msgmax = self.input.of(&[0, 1, 80, 8192, 40000, i32::MAX as u32]),
            9 => limits.msgmnb = self.input.of(&[0, 1, 100, 16384, 100_000]),
            10 => limits.msgmni = self.input.of(&[0, 1, 2, 32768]),
            _ => *limits = Limits::DEFAULT,
        }
        let limits = *limits;
        self.ns(byte).set_limits(&limits).expect("its owner sets them, and they are within bounds");
        same("limits", self.ns(byte).limits(), Ok(limits));
        if limits.shm_rmid_forced {
            self.world.sweep();
        }
        let over = self.input.of(&[None, Some(Limits { shmmni: 32769, ..limits }), Some(Limits { semopm: 501, ..limits })]);
        if let Some(over) = over {
            same("limits beyond bounds", self.ns(byte).set_limits(&over), Err(Errno::INVAL));
        }
    }

    fn next_id(&mut self, byte: u8) {
        let id = self.input.of(&[0, 1, 2, 32768, 65535 * 32768, 7 * 32768 + 3, 32760, -1]);
        let id = Id::from_raw(id).ok();
        let which = self.input.byte() % 3;
        let ns = &self.stage.namespaces[usize::from(byte >> 6) % 3];
        let (set, model) = match which {
            0 => (ns.set_shm_next_id(id), &mut self.world.segments.table.next_id),
            1 => (ns.set_sem_next_id(id), &mut self.world.sets.next_id),
            _ => (ns.set_msg_next_id(id), &mut self.world.queues.next_id),
        };
        same("next_id", set, Ok(()));
        *model = id;
    }

    fn sweep(&mut self, byte: u8) {
        same("sweep", self.ns(byte).sweep(), Ok(()));
        same("repair_queues", self.ns(byte).repair_queues(), Ok(Vec::new()));
        self.world.sweep();
    }

    /// A child that makes some calls and then is no more: what it holds is given back by whoever looks next.
    fn child(&mut self, byte: u8) {
        let (set, segment, queue) = (self.id(self.sets).1, self.id(self.segments).1, self.id(self.queues).1);
        let (ops, len) = (self.operations(set, SemFlags::UNDO), self.input.of(&LENGTHS));
        let killed = byte & 0x40 != 0;
        if self.children == 0 {
            return;
        }
        self.children -= 1;
        let deed = Deed { set, segment, queue, ops, data: pattern(byte, len) };
        // The parent's calls by which it has its attachments hold for the child, too.
        for (_, id, _) in self.holds.into_iter().flatten() {
            let segment = self.world.segments.table.get(id).expect("it is attached");
            segment.nattch += 1;
            (segment.atime, segment.lpid) = (true, self.world.caller.pid);
        }
        // SAFETY: there is one thread; the child ends below.
        match unsafe { libc::fork() } {
            0 => {
                let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    let pid = std::process::id() as i32;
                    let real = deed.perform(self.ns(byte));
                    same("child", real, deed.model(&mut self.world, pid).0);
                }));
                if killed {
                    // SAFETY: the process's own.
                    unsafe { libc::raise(if judged.is_ok() { libc::SIGKILL } else { libc::SIGABRT }) };
                }
                // SAFETY: nothing runs after it.
                unsafe { libc::_exit(i32::from(judged.is_err())) };
            }
            -1 => panic!("no child can be had"),
            pid => {
                let mut status = 0;
                // SAFETY: a child of ours, and a place for its status.
                while unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {}
                assert_eq!(status, if killed { libc::SIGKILL } else { 0 }, "the child has seen a difference");
                let (_, adjustments) = deed.model(&mut self.world, pid);
                self.bury(&deed, pid, &adjustments);
                // Who changes a set need not know of a death for 4 ms (docs/semantics.md); who looks at it does.
                self.ns(byte).sets().expect("they can be listed");
            }
        }
    }

    /// What a child's end does.
    fn bury(&mut self, deed: &Deed, pid: i32, adjustments: &[i32]) {
        if let Ok(set) = self.world.sets.get(deed.set) {
            set.undo(pid, adjustments);
        }
        let attached = self.world.segments.table.get(deed.segment).is_ok_and(|segment| segment.lpid == pid);
        let inherited: Vec<i32> = self.holds.iter().flatten().map(|(_, id, _)| *id).collect();
        for id in inherited.into_iter().chain(attached.then_some(deed.segment)) {
            self.world.shmdt(id, pid).expect("it was attached");
        }
    }

    /// Everything there is, by value.
    fn look_at_everything(&mut self) {
        let ns = &self.stage.namespaces[0];
        let next = (ns.shm_next_id(), ns.sem_next_id(), ns.msg_next_id());
        let World { segments, sets, queues, caller, .. } = &mut self.world;
        same("next ids", next, (Ok(segments.table.next_id), Ok(sets.next_id), Ok(queues.next_id)));

        let listed = ns.segments().expect("they can be listed");
        let list: Vec<_> = listed.iter().map(|s| (s.stat.id, s.stat.nattch, s.stat.size, s.attached.clone(), s.orphan)).collect();
        let attached = |count: u64| {
            let count = count as u32;
            let one = quintet::Attacher { pid: caller.pid, uid: caller.uid, count, pid_visible: true };
            if count == 0 { Vec::new() } else { vec![one] }
        };
        let model: Vec<_> = segments.table.iter().map(|s| (s.perm.id, s.nattch, s.size, attached(s.nattch), false)).collect();
        same("segments", list, model);

        let listed = ns.sets().expect("they can be listed");
        let list: Vec<_> = listed.iter().map(|set| (set.stat.id, set.waiters.len(), set.orphan)).collect();
        same("sets", list, sets.iter().map(|set| (set.perm.id, 0, false)).collect());
        for (listed, set) in listed.iter().zip(sets.iter()) {
            let semaphores: Vec<_> =
                listed.semaphores.iter().map(|s| (i32::from(s.value), s.pid, s.waiting, s.waiting_for_zero)).collect();
            same("semaphores", semaphores, set.values.iter().zip(&set.pids).map(|(value, pid)| (*value, *pid, 0, 0)).collect());
            let undo: Vec<_> = listed.undo.iter().map(|undo| (undo.pid, undo.adjustments.clone())).collect();
            let adjusted = set.adjustments.iter().enumerate().filter(|(_, adjustment)| **adjustment != 0);
            let adjusted: Vec<_> = adjusted.map(|(num, adjustment)| (num as u16, *adjustment as i16)).collect();
            same("undo", undo, if adjusted.is_empty() { Vec::new() } else { vec![(caller.pid, adjusted)] });
        }

        let listed = ns.queues().expect("they can be listed");
        let list: Vec<_> =
            listed.iter().map(|queue| (queue.stat.id, queue.stat.messages, queue.waiters.len(), queue.orphan)).collect();
        same("queues", list, queues.iter().map(|queue| (queue.perm.id, queue.messages.len() as u64, 0, false)).collect());
        for (listed, queue) in listed.iter().zip(queues.iter()) {
            let mut types = std::collections::BTreeMap::<i64, (u64, u64)>::new();
            for message in &queue.messages {
                let (count, bytes) = types.entry(message.mtype).or_default();
                (*count, *bytes) = (*count + 1, *bytes + message.data.len() as u64);
            }
            let told = listed.types.iter().map(|of| (of.mtype, (of.messages, of.bytes))).collect();
            same("types", told, types);
            let oldest = queue.messages.first().map(|message| (message.mtype, message.data.len()));
            same("oldest", listed.oldest.map(|stat| (stat.mtype, stat.len)), oldest);
        }
        same("damaged queues", ns.damaged_queues(), Ok(Vec::new()));
    }

    /// Removes all there is; nothing may stay.
    fn end(&mut self) {
        let ns = &self.stage.namespaces[0];
        for (at, id, _) in std::mem::take(&mut self.holds).into_iter().flatten() {
            self.compare_bytes(at, id);
            // SAFETY: the address is forgotten.
            same("shmdt", unsafe { ns.shmdt(at) }, self.world.shmdt(id, self.world.caller.pid));
        }
        self.world.segments.table.iter().for_each(|segment| same("shm_remove", ns.shm_remove(segment.perm.id.raw()), Ok(())));
        self.world.sets.iter().for_each(|set| same("sem_remove", ns.sem_remove(set.perm.id.raw()), Ok(())));
        self.world.queues.iter().for_each(|queue| same("msg_remove", ns.msg_remove(queue.perm.id.raw()), Ok(())));
        self.world = World::new(self.world.caller);
        self.shm_usage(0);
        self.usage(0);
        same("sweep", ns.sweep(), Ok(()));
        let stage = self.stage;
        let mut left: Vec<String> = ["sem", "msg", "key"].into_iter().flat_map(|folder| stage.names(folder)).collect();
        left.extend(stage.names("shm").into_iter().filter(|name| name.ends_with(".data")));
        same("what is left", left, Vec::new());
        same("participants", ns.participants().map(|all| all.len() <= 1), Ok(true));
    }
}

/// What a child does.
struct Deed {
    set: i32,
    segment: i32,
    queue: i32,
    ops: Vec<SemOp>,
    data: Vec<u8>,
}

/// What its calls give.
type Given = [Result<(), Errno>; 4];

impl Deed {
    fn perform(&self, ns: &Namespace) -> Given {
        let flags = MsgFlags::NOWAIT;
        [
            ns.semtimedop(self.set, &self.ops, Some(Duration::ZERO)),
            ns.msgsnd(self.queue, 3, &self.data, flags, None),
            // SAFETY: without SHM_REMAP nothing is replaced.
            unsafe { ns.shmat(self.segment, 0, SHM_RDONLY) }.map(drop),
            ns.semtimedop(self.set, &self.ops, Some(Duration::ZERO)),
        ]
    }

    /// What the model has it give, and what is left to be undone.
    fn model(&self, world: &mut World, pid: i32) -> (Given, Vec<i32>) {
        let nsems = world.sets.get(self.set).map_or(0, |set| set.values.len());
        let (parent, mut adjustments) = (world.caller.pid, vec![0; nsems]);
        world.caller.pid = pid;
        let mut semop = |world: &mut World| {
            let set = world.set_for(self.set, &self.ops)?;
            set.perform(&self.ops, pid, &mut adjustments)
        };
        let first = semop(world);
        let sent = world.msgsnd(self.queue, 3, &self.data, pid);
        let attached = world.shmat(self.segment, SHM_RDONLY, false);
        let second = semop(world);
        world.caller.pid = parent;
        ([first, sent, attached, second], adjustments)
    }
}

fn names(perm: &crate::model::Perm) -> (Key, Id, u32) {
    (perm.key, perm.id, perm.mode)
}

fn owners(perm: &quintet::Permissions) -> (u32, u32, u32, u32) {
    (perm.uid, perm.gid, perm.cuid, perm.cgid)
}

/// Times are those of the clock's last tick, which may lie a second back.
fn check_time(call: &impl Debug, time: i64, set: bool, start: i64) {
    let right = if set { (start - 1..=now()).contains(&time) } else { time == 0 };
    assert!(right, "{call:?}: the time {time} cannot be, set: {set}");
}
