//! The files of a namespace, written by a user with permission: valid files with some words
//! changed, before and between calls, or arbitrary bytes instead. Every call must return.
#![allow(unsafe_code)]

use crate::input::Input;
use quintet::{Id, Key, Kind, Limits, MsgFlags, Namespace, SemFlags, SemOp};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

const KEYS: [Key; 3] = [Key::new(1), Key::new(2), Key::new(3)];
const SIZE: u64 = 8192;
const NSEMS: i32 = 5;
const STEPS: usize = 60;
/// The part of the registry that a run changes: header, used indexes and first participants.
const REGISTRY: usize = 20480;
/// The limits in the namespace's header.
const HEADER: usize = 76;
/// These files cannot be replaced: they stay mapped while the process lives.
const FIXED: usize = 2;

const VALUES: [u64; 16] =
    [0, 1, 2, 3, 4, 7, 8, 32, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 32, 1 << 63, i64::MAX as u64, u64::MAX];

/// A namespace with a segment, a set and a queue.
pub struct Fixture {
    ns: Namespace,
    path: PathBuf,
    original: Vec<Original>,
    links: Vec<(PathBuf, PathBuf)>,
}

/// The valid content of a file.
struct Original {
    name: &'static str,
    mode: u32,
    bytes: Vec<u8>,
    /// The current or last file at its path.
    file: Mutex<File>,
}

impl Original {
    fn of(path: &Path, name: &'static str) -> Option<Original> {
        let file = File::options().read(true).write(true).open(path.join(name)).ok()?;
        let (bytes, mode) = (fs::read(path.join(name)).ok()?, file.metadata().ok()?.permissions().mode());
        Some(Original { name, mode, bytes, file: file.into() })
    }

    fn file(&self) -> MutexGuard<'_, File> {
        self.file.lock().expect("a panic ends the process")
    }

    /// Returns the length of the part that has an effect.
    fn changeable(&self) -> usize {
        match self.name {
            "namespace" => HEADER,
            "registry" => REGISTRY,
            "shm/0" => 1024,
            _ => self.bytes.len(),
        }
    }

    /// Retires the file and creates one with this content at its path.
    fn replace(&self, path: &Path, content: &[u8]) {
        let path = path.join(self.name);
        let mut file = self.file();
        retire(&file);
        let _ = fs::remove_file(&path);
        *file = File::options().read(true).write(true).create_new(true).open(&path).expect("the path is free");
        file.set_permissions(fs::Permissions::from_mode(self.mode)).expect("the owner may");
        file.write_all_at(content, 0).expect("there is room");
    }

    /// Restores the valid content.
    fn restore(&self, path: &Path, fixed: bool) {
        let there = fs::metadata(path.join(self.name));
        let file = self.file();
        let is_same_file = there
            .is_ok_and(|there| there.len() == self.bytes.len() as u64 && there.ino() == file.metadata().map_or(0, |m| m.ino()));
        if is_same_file || fixed {
            let len = if self.name == "shm/0" || fixed { self.changeable() } else { self.bytes.len() };
            file.write_all_at(&self.bytes[..len], 0).expect("overwrite a file");
        } else {
            drop(file);
            self.replace(path, &self.bytes);
        }
    }
}

/// Marks a file as retired for processes that have it mapped.
fn retire(file: &File) {
    let len = file.metadata().map_or(0, |meta| meta.len()).min(4096);
    file.write_all_at(&vec![0; len as usize], 0).expect("overwrite a file");
}

impl Fixture {
    /// Creates a namespace in `parent`.
    pub fn new(parent: &Path, kind: Kind) -> Fixture {
        let path = parent.join(if kind == Kind::Private { "private" } else { "shared" });
        let ns = Namespace::create(&path, kind).expect("create a namespace");
        let [of_segment, of_set, of_queue] = KEYS;
        let get = libc::IPC_CREAT | 0o600;
        let segment = ns.shmget(of_segment, SIZE, get).expect("there is room");
        let set = ns.semget(of_set, NSEMS, get).expect("there is room");
        ns.sem_set_values(set.raw(), &[3, 0, 1, 2, 32767]).expect("the set exists");
        let undone = [SemOp::new(0, -1).flags(SemFlags::UNDO)];
        ns.semtimedop(set.raw(), &undone, None).expect("it does not block");
        let queue = ns.msgget(of_queue, get).expect("there is room");
        for nth in 0..40u8 {
            let data = vec![nth; usize::from(nth) * 17 * usize::from(nth % 3)];
            ns.msgsnd(queue.raw(), i64::from(nth % 5) + 1, &data, MsgFlags::NOWAIT, None).expect("there is room");
        }
        // This creates an index by type.
        let _ = ns.msgrcv(queue.raw(), &mut [0; 8192], 4, MsgFlags::NOWAIT, None).expect("a message of this type exists");
        assert_eq!([segment, set, queue].map(Id::raw), [0; 3]);
        let names = ["registry", "namespace", "shm/0", "sem/0", "msg/0", "msg/0.data", "shm/0.data"];
        let original = names.into_iter().filter_map(|name| Original::of(&path, name)).collect();
        let keys = fs::read_dir(path.join("key")).expect("the directory exists").flatten();
        let links = keys.map(|key| (fs::read_link(key.path()).expect("a symbolic link"), key.path())).collect();
        Fixture { ns, path, original, links }
    }

    /// Runs a program.
    pub fn run(&self, data: &[u8]) {
        let mut input = Input(data);
        let mut attached = Vec::new();
        for _ in 0..STEPS {
            let Some(step) = input.first() else { break };
            match step % 32 {
                0..14 => self.corrupt_word(&mut input),
                14 => self.replace(&mut input),
                _ => self.call(step % 32, &mut input, &mut attached),
            }
        }
        self.call(15, &mut input, &mut attached);
        for at in attached {
            // SAFETY: the address is not used again.
            let _ = unsafe { self.ns.shmdt(at) };
        }
        self.restore();
    }

    fn corrupt_word(&self, input: &mut Input<'_>) {
        let original = &self.original[usize::from(input.byte()) % self.original.len()];
        let (at, how) = (usize::from(input.short()) * 2, input.byte());
        let value = if how & 0x80 == 0 { VALUES[usize::from(how) % VALUES.len()] } else { input.long() };
        let width = [8, 4, 2, 1][usize::from(how >> 4 & 3)];
        let at = at % (original.changeable() - 8);
        let file = original.file();
        // A replaced file may be shorter.
        if file.metadata().is_ok_and(|meta| meta.len() >= (at + width) as u64) {
            file.write_all_at(&value.to_ne_bytes()[..width], at as u64).expect("overwrite a file");
        }
    }

    /// Replaces a file by arbitrary bytes, or by a prefix of the valid content.
    fn replace(&self, input: &mut Input<'_>) {
        let (nth, len, how) = (usize::from(input.byte()), usize::from(input.short()), input.byte());
        let original = &self.original[FIXED + nth % (self.original.len() - FIXED)];
        if how & 1 == 0 {
            original.replace(&self.path, input.bytes(len % 512));
        } else {
            original.replace(&self.path, &original.bytes[..len.min(original.bytes.len())]);
        }
    }

    fn call(&self, which: u8, input: &mut Input<'_>, attached: &mut Vec<usize>) {
        let ns = &self.ns;
        let id = input.of(&[0, 0, 0, 1, 32768]);
        let [of_segment, of_set, of_queue] = KEYS;
        let zero = Some(Duration::ZERO);
        match which {
            15 => self.read_everything(),
            16 => {
                let undo = if input.byte() & 1 == 0 { SemFlags::empty() } else { SemFlags::UNDO };
                let mut op = || SemOp::new(u16::from(input.byte() % 6), i16::from(input.byte() as i8) % 4).flags(undo);
                let ops = [op(), op(), op()];
                let _ = ns.semtimedop(id, &ops[..1], zero);
                let _ = ns.semtimedop(id, &ops, zero);
            }
            17 => drop(ns.sem_set_value(id, i32::from(input.byte() % 6), 2)),
            18 => drop(ns.sem_set_values(id, &[1; NSEMS as usize])),
            19 => {
                let data = vec![7; input.of(&[0, 10, 100, 300, 5000, 8192])];
                let _ = ns.msgsnd(id, i64::from(input.byte() % 6), &data, MsgFlags::NOWAIT, None);
            }
            20..23 => {
                let (mtype, how) = (i64::from(input.byte() as i8) % 8, input.byte());
                let mut buffer = vec![0; input.of(&[0, 20, 1000, 8192])];
                let flags =
                    MsgFlags::NOWAIT | input.of(&[MsgFlags::empty(), MsgFlags::NOERROR, MsgFlags::COPY, MsgFlags::EXCEPT]);
                for _ in 0..how % 8 {
                    if let Ok((_, len)) = ns.msgrcv(id, &mut buffer, mtype, flags, None) {
                        assert!(len <= buffer.len());
                    }
                }
            }
            23 => {
                // SAFETY: without SHM_REMAP nothing is replaced.
                if let Ok(at) = unsafe { ns.shmat(id, 0, 0) } {
                    attached.push(at as usize);
                    // SAFETY: at least one byte is attached.
                    unsafe { at.cast::<u8>().write_volatile(1) };
                }
            }
            24 => {
                if let Some(at) = attached.pop() {
                    // SAFETY: the address is not used again.
                    let _ = unsafe { ns.shmdt(at) };
                }
            }
            25 => {
                let flags = input.of(&[0, libc::IPC_CREAT, libc::IPC_CREAT | libc::IPC_EXCL]) | 0o600;
                let _ = ns.shmget(if id == 0 { of_segment } else { Key::PRIVATE }, 100, flags);
                let _ = ns.semget(if id == 0 { of_set } else { Key::PRIVATE }, 2, flags);
                let _ = ns.msgget(if id == 0 { of_queue } else { Key::PRIVATE }, flags);
            }
            26 => match input.byte() % 3 {
                0 => drop(ns.shm_remove(id)),
                1 => drop(ns.sem_remove(id)),
                _ => drop(ns.msg_remove(id)),
            },
            27 => {
                let (uid, gid, mode) = self.owner();
                match input.byte() % 3 {
                    0 => drop(ns.shm_set(id, uid, gid, mode)),
                    1 => drop(ns.sem_set(id, uid, gid, mode)),
                    _ => drop(ns.msg_set(id, uid, gid, mode, 16384)),
                }
            }
            28 => drop(ns.sweep()),
            29 => drop((ns.damaged_queues(), ns.repair_queues())),
            30 => drop((ns.peek(id, |stat, data| stat.len == data.len()), ns.participants())),
            _ => drop((ns.sem_ncnt(id, 0), ns.sem_zcnt(id, 1), ns.sem_pid(id, 2), ns.sem_value(id, 3))),
        }
    }

    fn owner(&self) -> (u32, u32, u32) {
        fs::metadata(&self.path).map_or((0, 0, 0), |meta| (meta.uid(), meta.gid(), 0o640))
    }

    /// Makes all calls that only read.
    fn read_everything(&self) {
        let ns = &self.ns;
        for id in [0, 1, 32768] {
            let _ = (ns.shm_stat(id), ns.sem_stat(id), ns.msg_stat(id));
            let _ = (ns.shm_stat_index(id, true), ns.sem_stat_index(id, true), ns.msg_stat_index(id, true));
            assert!(
                ns.sem_values(id).is_ok_and(|values| values.iter().all(|value| *value <= Limits::SEMVMX))
                    || ns.sem_values(id).is_err()
            );
        }
        let _ = (ns.shm_usage(), ns.sem_usage(), ns.msg_usage(), ns.limits());
        let _ = (ns.segments().map(|all| all.len()), ns.sets().map(|all| all.len()), ns.queues().map(|all| all.len()));
        let _ = (ns.damaged_queues(), ns.participants());
    }

    fn restore(&self) {
        for folder in ["shm", "sem", "msg"] {
            for entry in fs::read_dir(self.path.join(folder)).expect("the directory exists").flatten() {
                let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
                if !self.original.iter().any(|original| original.name == name) {
                    File::options().write(true).open(entry.path()).iter().for_each(retire);
                    fs::remove_file(entry.path()).expect("the owner may");
                }
            }
        }
        self.original.iter().enumerate().for_each(|(nth, original)| original.restore(&self.path, nth < FIXED));
        self.restore_keys();
    }

    fn restore_keys(&self) {
        for entry in fs::read_dir(self.path.join("key")).expect("the directory exists").flatten() {
            fs::remove_file(entry.path()).expect("the owner may");
        }
        self.links.iter().for_each(|(to, path)| std::os::unix::fs::symlink(to, path).expect("the path is free"));
        // In a private namespace, the keys are at the end of the registry. This restores the key of
        // the first object of each class.
        let registry = &self.original[0];
        let table = 536_576;
        for at in [table, table + 131_072, table + 2 * 131_072] {
            registry.file().write_all_at(&registry.bytes[at..at + 64], at as u64).expect("overwrite a file");
        }
    }
}
