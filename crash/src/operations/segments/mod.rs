//! Operations on a segment. Attached processes stay attached. Other processes find the segment
//! intact or missing.

pub mod permissions;
pub mod share;

use crate::campaign::Run;
use crate::support::{Child, Scenario, Signpost, completed, fork, names};
use quintet::{Errno, Id, Key, Kind, Namespace, Segment};
use std::cell::{Cell, RefCell};
use std::path::Path;

pub const KEY: Key = Key::new(0x5eed);
/// A segment that exists all the time and that a survivor has attached.
const OTHER: Key = Key::new(0x07e4);
const OTHER_BYTES: u64 = 10_000;

fn page_sum(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.map(|size| size.div_ceil(4096)).sum()
}

/// Checks that the counters match the list after a sweep.
pub fn consistent(ns: &Namespace) {
    ns.sweep().unwrap();
    let all = ns.segments().unwrap();
    let usage = ns.shm_usage().unwrap();
    assert_eq!(usage.segments as usize, all.len(), "{all:?}");
    assert_eq!(usage.pages, page_sum(all.iter().map(|s| s.stat.size)), "{all:?}");
    assert_eq!(usage.max_index, all.iter().map(|s| u32::from(s.stat.id.index())).max().unwrap_or(0));
    for segment in all {
        let stat = ns.shm_stat_index(segment.stat.id.index().into(), true).unwrap();
        assert_eq!(stat, segment.stat);
        let attached: u64 = segment.attached.iter().map(|a| u64::from(a.count)).sum();
        assert_eq!(attached, stat.nattch);
    }
}

/// Checks that a segment is intact and every byte usable; and zeroed if `fresh`.
fn whole(ns: &Namespace, id: Id, key: Key, size: u64, mode: u32, fresh: bool) {
    let stat = ns.shm_stat(id.raw()).unwrap();
    assert_eq!((stat.key, stat.id, stat.size, stat.perm.mode), (key, id, size, mode));
    let memory = Segment::open_id(ns, id).unwrap().attach().unwrap();
    assert_eq!(ns.shm_stat(id.raw()).unwrap().nattch, stat.nattch + 1);
    if fresh {
        assert!(memory.to_vec(0..size as usize).unwrap().iter().all(|byte| *byte == 0), "not zeroed");
    }
    memory.fill(0, size as usize, 0xa5).unwrap();
    memory.fill(0, size as usize, 0).unwrap();
    memory.detach().unwrap();
    assert_eq!(ns.shm_stat(id.raw()).unwrap().nattch, stat.nattch);
}

/// Checks that the key is free or names an intact segment, and that creation works. Returns `true`
/// if it was in use.
pub fn free_or_whole(ns: &Namespace, size: u64, mode: u32, fresh: bool) -> bool {
    let found = ns.shmget(KEY, 0, 0);
    match found {
        Ok(id) => whole(ns, id, KEY, size, mode, fresh),
        Err(e) => assert_eq!(e, Errno::NOENT),
    }
    let id = ns.shmget(KEY, size, libc::IPC_CREAT | mode as i32).unwrap();
    assert!(found.is_err() || found == Ok(id));
    whole(ns, id, KEY, size, mode, found.is_err() && fresh);
    assert_eq!(ns.shmget(KEY, size, libc::IPC_CREAT | libc::IPC_EXCL | mode as i32), Err(Errno::EXIST));
    found.is_ok()
}

/// Removes all segments. No memory may remain, and reuse must not add files.
pub fn clear_all(path: &Path, ns: &Namespace) {
    for segment in ns.segments().unwrap() {
        ns.shm_remove(segment.stat.id.raw()).unwrap();
    }
    ns.sweep().unwrap();
    assert_eq!(ns.segments().unwrap(), []);
    let usage = ns.shm_usage().unwrap();
    assert_eq!((usage.segments, usage.pages, usage.resident, usage.max_index), (0, 0, 0, 0));
    let files = |folder: &str| names(&path.join(folder));
    let data: Vec<String> = files("shm").into_iter().filter(|name| name.ends_with(".data")).collect();
    assert_eq!(data, Vec::<String>::new(), "memory that no process will reclaim");
    assert_eq!(files("key"), Vec::<String>::new(), "keys that no process will reclaim");
    let before = files("shm").len();
    for _ in 0..3 {
        for size in [1, 65537] {
            let id = ns.shmget(KEY, size, libc::IPC_CREAT | libc::IPC_EXCL | 0o600).unwrap();
            whole(ns, id, KEY, size, 0o600, true);
            ns.shm_remove(id.raw()).unwrap();
        }
    }
    ns.sweep().unwrap();
    assert!(files("shm").len() <= before.max(1), "{:?}", files("shm"));
}

/// What a process does with segments, and the condition after a kill.
struct Case<'a> {
    kind: Kind,
    /// Runs before, in a process of its own.
    setup: &'a dyn Fn(&Namespace),
    /// Runs in the victim; calls `begin` and `finish`.
    victim: &'a dyn Fn(&Path),
    /// Checked by a survivor and by a new process, in either order.
    check: &'a dyn Fn(&Namespace),
}

fn nothing(_: &Namespace) {}

impl Case<'_> {
    /// Starts a process that has the other segment attached, and checks on command.
    fn survivor(&self, path: &Path, go: &Signpost, done: &Signpost) -> Child {
        let ready = Signpost::new();
        let child = fork(|| {
            let ns = Namespace::open(path).unwrap();
            let memory = Segment::open(&ns, OTHER).unwrap().attach().unwrap();
            memory.write(9_000, b"survivor").unwrap();
            ready.post(1);
            go.wait();
            self.check_by(&ns);
            assert_eq!(memory.to_vec(9_000..9_008).unwrap(), b"survivor");
            done.post(1);
            go.wait();
        });
        ready.wait();
        child
    }

    fn check_by(&self, ns: &Namespace) {
        consistent(ns);
        (self.check)(ns);
        let id = ns.shmget(OTHER, OTHER_BYTES, 0).unwrap();
        assert_eq!(ns.shm_stat(id.raw()).unwrap().nattch, 1);
        consistent(ns);
    }

    fn run(&self, run: &Run) {
        let posts = RefCell::new(None);
        let survivor_first = Cell::new(false);
        Scenario {
            kind: self.kind,
            setup: &|ns| {
                Segment::options().mode(0o600).create(ns, OTHER, OTHER_BYTES).unwrap();
                (self.setup)(ns);
            },
            peers: &|path| {
                let (go, done) = (Signpost::new(), Signpost::new());
                let survivor = self.survivor(path, &go, &done);
                posts.replace(Some((go, done)));
                vec![survivor]
            },
            process: Some(self.victim),
            check: &|path, peers| {
                let (go, done) = posts.take().unwrap();
                let ask_survivor = || {
                    go.post(1);
                    done.wait();
                };
                let first = survivor_first.replace(!survivor_first.get());
                if first {
                    ask_survivor();
                }
                fork(|| self.check_by(&Namespace::open(path).unwrap())).succeeds();
                if !first {
                    ask_survivor();
                }
                go.post(1);
                peers.into_iter().for_each(Child::succeeds);
            },
            clear: &clear_all,
            probe: &attach_the_other,
            ..Scenario::default()
        }
        .run(run);
    }
}

/// Works whatever else is going on.
fn attach_the_other(ns: &Namespace) {
    let memory = Segment::open(ns, OTHER).unwrap().attach().unwrap();
    memory.detach().unwrap();
}
