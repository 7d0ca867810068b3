//! Calls on all three classes in one process, each compared with the [model](crate::model).

mod child;
mod namespace;
mod queues;
mod segments;
mod sets;

use crate::input::Input;
use crate::model::{Caller, Model};
use libc::{IPC_CREAT, IPC_EXCL, SHM_NORESERVE};
use quintet::{Id, Key, Kind, Limits, Namespace};
use std::fmt::Debug;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// More calls per input find nothing that fewer would not.
const CALLS: usize = 100;
const REGISTERS: usize = 5;
const ATTACHMENTS: usize = 4;

const KEYS: [i32; 8] = [0, 1, 2, 3, -1, i32::MIN, i32::MAX, 0x1234_5678];
const MODES: [i32; 8] = [0o600, 0o666, 0o777, 0o400, 0o200, 0o640, 0o044, 0];
const GET: [i32; 6] = [IPC_CREAT, IPC_CREAT, IPC_CREAT | IPC_EXCL, 0, IPC_EXCL, IPC_CREAT | SHM_NORESERVE];
const LENGTHS: [usize; 16] = [0, 1, 7, 79, 80, 81, 208, 209, 500, 1000, 2000, 4048, 4049, 8192, 20480, 33000];

/// A namespace that runs one program after another. Each program restores it.
pub struct Fixture {
    namespaces: [Namespace; 3],
    path: PathBuf,
    registry: File,
    caller: Caller,
}

/// A program that is running.
struct Run<'a> {
    fixture: &'a Fixture,
    model: Model,
    input: Input<'a>,
    start: i64,
    segments: [i32; REGISTERS],
    sets: [i32; REGISTERS],
    queues: [i32; REGISTERS],
    /// For each slot the address, the identifier, and whether it is writable.
    attachments: [Option<(usize, i32, bool)>; ATTACHMENTS],
    /// Number of children that may still be forked.
    children: u32,
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// Returns the caller's ids and capabilities.
fn caller() -> Caller {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    let id = |name: &str| field(name).split_whitespace().nth(1).and_then(|id| id.parse().ok()).unwrap_or_default();
    let capabilities = u64::from_str_radix(field("CapEff:"), 16).unwrap_or_default();
    Caller {
        pid: std::process::id() as i32,
        uid: id("Uid:"),
        gid: id("Gid:"),
        ignores_modes: capabilities >> 15 & 1 != 0,
        ignores_msgmnb: capabilities >> 24 & 1 != 0,
    }
}

/// Asserts that library and model agree.
fn compare<T: PartialEq + Debug>(call: impl Debug, engine: T, model: T) {
    assert_eq!(engine, model, "left: library, right: model, call: {call:?}");
}

/// Returns the bytes of a message or a write, derived from the input.
fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| seed.wrapping_add(i as u8).wrapping_mul(i as u8 | 1)).collect()
}

impl Fixture {
    /// Creates a namespace in `parent`.
    pub fn new(parent: &Path, kind: Kind) -> Fixture {
        let path = parent.join(if kind == Kind::Private { "private" } else { "shared" });
        let first = Namespace::create(&path, kind).expect("create a namespace");
        let others = [(); 2].map(|()| Namespace::open(&path).expect("the namespace exists"));
        let [second, third] = others;
        let registry = File::options().write(true).open(path.join("registry")).expect("the namespace exists");
        Fixture { namespaces: [first, second, third], path, registry, caller: caller() }
    }

    /// Runs a program and checks the whole namespace afterwards.
    pub fn run(&self, data: &[u8]) {
        let (first, data) = data.split_first().unwrap_or((&0, &[]));
        self.begin();
        let mut run = Run {
            fixture: self,
            model: Model::new(self.caller),
            input: Input(data),
            start: now(),
            segments: [0; REGISTERS],
            sets: [0; REGISTERS],
            queues: [0; REGISTERS],
            attachments: [None; ATTACHMENTS],
            // A fork takes long, so few programs have any.
            children: u32::from(first >> 4 == 7),
        };
        for _ in 0..CALLS {
            match run.input.first() {
                Some(byte) => run.call(byte),
                None => break,
            }
        }
        run.check_everything();
        run.end();
    }

    /// Resets the identifiers, as in a new namespace.
    fn begin(&self) {
        let ns = &self.namespaces[0];
        if ns.limits() != Ok(Limits::DEFAULT) {
            ns.set_limits(&Limits::DEFAULT).expect("the owner may set limits");
        }
        for class in 0..3 {
            for (field, value) in [(4, 0), (16, -1), (24, -1)] {
                let at = 32 + 32 * class + field;
                self.registry.write_all_at(&i32::to_ne_bytes(value), at).expect("write the registry");
            }
        }
    }

    /// Returns the names in a directory of the namespace.
    fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path.join(folder)).expect("the directory exists");
        entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Run<'_> {
    /// Returns one of the handles to the same namespace.
    fn ns(&self, byte: u8) -> &Namespace {
        &self.fixture.namespaces[usize::from(byte >> 6) % 3]
    }

    /// Picks an identifier: mostly a known one, sometimes a wrong one.
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
            61 => self.check_everything(),
            62 => self.peek(byte),
            _ => self.usage(byte),
        }
    }

    fn key_and_flags(&mut self) -> (Key, i32) {
        (Key::new(self.input.of(&KEYS)), self.input.of(&GET) | self.input.of(&MODES))
    }

    /// Picks owner and group to set, and whether they are valid.
    fn owners(&mut self) -> (u32, u32, bool) {
        let Caller { uid, gid, .. } = self.model.caller;
        match self.input.byte() {
            0..0xf0 => (uid, gid, true),
            0xf0..0xf8 => (u32::MAX, gid, false),
            _ => (uid, u32::MAX, false),
        }
    }
}

fn names(perm: &crate::model::Perm) -> (Key, Id, u32) {
    (perm.key, perm.id, perm.mode)
}

fn owners(perm: &quintet::Permissions) -> (u32, u32, u32, u32) {
    (perm.uid, perm.gid, perm.cuid, perm.cgid)
}

/// Asserts a time. The clock's last tick may be a second back.
fn check_time(call: &impl Debug, time: i64, set: bool, start: i64) {
    let right = if set { (start - 1..=now()).contains(&time) } else { time == 0 };
    assert!(right, "{call:?}: invalid time {time}, set: {set}");
}
