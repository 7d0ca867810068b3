//! Killed anywhere: a process that is in the middle of an operation is ended by SIGKILL at each of its system calls,
//! and after each of its stores to shared memory; those who are there, and those who come, carry on.
//!
//! Between two stores to shared memory and two system calls nothing happens that others could see, so this is
//! each instruction. `QUINTET_CRASH_EVERY=n` takes only every n-th point.
#![allow(unsafe_code)]

mod support;

use quintet::{Errno, Id, Key, Kind, Namespace, Segment};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use support::{Child, End, Point, Signpost, Stop, Tracee, Watch, alone, become_user, begin, finish, fork, is_root, names, until};

const KEY: Key = Key::new(0x5eed);
/// A segment that is there all the time, and attached by a survivor.
const OTHER: Key = Key::new(0x07e4);
const OTHER_BYTES: u64 = 10_000;

fn page_sum(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.map(|size| size.div_ceil(4096)).sum()
}

/// After a sweep the counters say what the list says.
fn consistent(ns: &Namespace) {
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

/// A segment of this key is whole, and can be used in every byte; it is as new if `fresh`.
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

/// The key is free, or leads to a whole segment; creating it works either way.
fn free_or_whole(ns: &Namespace, size: u64, mode: u32, fresh: bool) -> bool {
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

/// Removes everything; nothing is left that takes memory, and files do not get more.
fn clear_all(path: &Path, ns: &Namespace) {
    for segment in ns.segments().unwrap() {
        ns.shm_remove(segment.stat.id.raw()).unwrap();
    }
    ns.sweep().unwrap();
    assert_eq!(ns.segments().unwrap(), []);
    let usage = ns.shm_usage().unwrap();
    assert_eq!((usage.segments, usage.pages, usage.resident, usage.max_index), (0, 0, 0, 0));
    let files = |folder: &str| names(&path.join(folder));
    let data: Vec<String> = files("shm").into_iter().filter(|name| name.ends_with(".data")).collect();
    assert_eq!(data, Vec::<String>::new(), "memory that nothing will ever clear");
    assert_eq!(files("key"), Vec::<String>::new(), "keys that nothing will ever clear");
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

/// What is done, and what must be true when it was done in part.
struct Scenario<'a> {
    name: &'a str,
    kind: Option<Kind>,
    /// In a process of its own, before.
    setup: &'a dyn Fn(&Namespace),
    /// In the process that is killed: calls `begin` and `finish`.
    victim: &'a dyn Fn(&Path),
    /// By a survivor and by a newcomer, in either order.
    check: &'a dyn Fn(&Namespace),
    /// Whether the single steps of it are worth their time.
    stores: bool,
}

fn nothing(_: &Namespace) {}

impl Scenario<'_> {
    fn prepare(&self, path: &Path) {
        let Some(kind) = self.kind else { return };
        fork(|| {
            let ns = Namespace::create(path, kind).unwrap();
            Segment::options().mode(0o600).create(&ns, OTHER, OTHER_BYTES).unwrap();
            (self.setup)(&ns);
        })
        .succeeds();
    }

    /// A process that has the other segment attached, and checks when told.
    fn survivor(&self, path: &Path, go: &Signpost, done: &Signpost) -> Option<Child> {
        self.kind?;
        let ready = Signpost::new();
        let child = fork(|| {
            let ns = Namespace::open(path).unwrap();
            let memory = Segment::open(&ns, OTHER).unwrap().attach().unwrap();
            memory.write(9_000, b"survivor").unwrap();
            ready.tell(1);
            go.wait();
            self.check_by(&ns);
            assert_eq!(memory.to_vec(9_000..9_008).unwrap(), b"survivor");
            done.tell(1);
            go.wait();
        });
        ready.wait();
        Some(child)
    }

    fn check_by(&self, ns: &Namespace) {
        consistent(ns);
        (self.check)(ns);
        if self.kind.is_some() {
            let id = ns.shmget(OTHER, OTHER_BYTES, 0).unwrap();
            assert_eq!(ns.shm_stat(id.raw()).unwrap().nattch, 1);
        }
        consistent(ns);
    }

    fn open(&self, path: &Path) -> Namespace {
        match self.kind {
            Some(_) => Namespace::open(path).unwrap(),
            None => Namespace::create(path, Kind::Private).unwrap(),
        }
    }

    /// The points at which to kill, found with a survivor there, as it will be.
    fn points(&self, path: &Path) -> Vec<Point> {
        self.prepare(path);
        let _survivor = self.survivor(path, &Signpost::new(), &Signpost::new());
        Tracee::start(|| (self.victim)(path)).all_points(&mut Watch::new(path), self.stores)
    }

    /// After the victim's death.
    fn aftermath(&self, path: &Path, survivor: Option<Child>, survivor_first: bool, go: &Signpost, done: &Signpost) {
        let ask_survivor = || {
            if survivor.is_some() {
                go.tell(1);
                done.wait();
            }
        };
        if survivor_first {
            ask_survivor();
        }
        fork(|| self.check_by(&self.open(path))).succeeds();
        if !survivor_first {
            ask_survivor();
        }
        go.tell(1);
        if let Some(survivor) = survivor {
            survivor.succeeds();
        }
        fork(|| clear_all(path, &self.open(path))).succeeds();
    }

    fn run(&self, directory: &Path) {
        let points = every(self.points(&directory.join(format!("{}-points", self.name))));
        // A store of the time changes memory only when a second has gone by: then it dies a little later.
        let (mut held, mut missed) = (0, 0);
        for (i, point) in points.iter().enumerate() {
            let path = directory.join(format!("{}-{i}", self.name));
            self.prepare(&path);
            let (go, done) = (Signpost::new(), Signpost::new());
            let survivor = self.survivor(&path, &go, &done);
            let mut tracee = Tracee::start(|| (self.victim)(&path));
            let mut watch = Watch::new(&path);
            missed += usize::from(!tracee.run_to(*point, &mut watch));
            held += u32::from(tracee.lock_held);
            tracee.kill();
            println!("{}: killed at {point:?}", self.name);
            self.aftermath(&path, survivor, i % 2 == 0, &go, &done);
            let _ = std::fs::remove_dir_all(&path);
        }
        assert!(missed <= 2 + points.len() / 4, "{missed} of {} points are not reached", points.len());
        let stores = points.iter().filter(|p| matches!(p, Point::Store(..))).count();
        println!("{}: {} points, {stores} of them stores, {held} with the lock held", self.name, points.len());
    }
}

/// `QUINTET_CRASH_EVERY`.
fn every(points: Vec<Point>) -> Vec<Point> {
    let n = std::env::var("QUINTET_CRASH_EVERY").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    points.into_iter().step_by(n).collect()
}

fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn assert_furnished(path: &Path, kind: Kind) {
    let (folder, header, registry) = match kind {
        Kind::Private => (0o700, 0o600, 0o600),
        Kind::Shared => (0o1777, 0o644, 0o666),
    };
    let modes = ["", "shm", "sem", "msg", "key", "namespace", "registry"].map(|name| mode_of(&path.join(name)));
    let expected = [folder, folder, folder, folder, folder, header, registry];
    assert_eq!(modes.map(|m| format!("{m:o}")), expected.map(|m| format!("{m:o}")));
    assert_eq!(names(path), ["key", "msg", "namespace", "registry", "sem", "shm"]);
}

fn creating_a_namespace(directory: &Path, name: &str, first: Kind, second: Kind) {
    let victim = |path: &Path| {
        begin();
        Namespace::create(path, first).unwrap();
        finish();
    };
    let points =
        every(Tracee::start(|| victim(&directory.join(format!("{name}-points")))).all_points(&mut Watch::new(directory), false));
    for (i, point) in points.iter().enumerate() {
        let path = directory.join(format!("{name}-{i}"));
        let mut tracee = Tracee::start(|| victim(&path));
        tracee.run_to(*point, &mut Watch::new(&path));
        tracee.kill();
        println!("{name}: killed at {point:?}");
        fork(|| {
            let complete = Namespace::open(&path).map(|ns| ns.kind());
            match (&complete, Namespace::create(&path, second)) {
                (Ok(kind), Err(e)) => {
                    assert_eq!((*kind, e.errno()), (first, Errno::EXIST));
                    assert_ne!(first, second);
                    return;
                }
                (Ok(kind), Ok(_)) => assert_eq!((*kind, first), (second, second)),
                (Err(e), created) => {
                    assert_eq!(e.errno(), Errno::NOENT, "{e}");
                    created.unwrap();
                }
            }
            assert_furnished(&path, second);
            let ns = Namespace::open(&path).unwrap();
            consistent(&ns);
            assert!(!free_or_whole(&ns, 100, 0o600, true));
            clear_all(&path, &ns);
            ns.destroy(false).unwrap();
            assert!(!path.exists());
        })
        .succeeds();
        let _ = std::fs::remove_dir_all(&path);
    }
    println!("{name}: {} points", points.len());
}

#[test]
fn create_private_namespace() {
    alone("create_private_namespace", |directory| creating_a_namespace(directory, "private", Kind::Private, Kind::Private));
}

#[test]
fn create_shared_namespace() {
    alone("create_shared_namespace", |directory| creating_a_namespace(directory, "shared", Kind::Shared, Kind::Shared));
}

/// What a private creator left half done is finished by one who wants a shared namespace, and the other way round.
#[test]
fn create_namespace_of_the_other_kind() {
    alone("create_namespace_of_the_other_kind", |directory| {
        creating_a_namespace(directory, "private-shared", Kind::Private, Kind::Shared);
        creating_a_namespace(directory, "shared-private", Kind::Shared, Kind::Private);
    });
}

#[test]
fn join() {
    alone("join", |directory| {
        Scenario {
            name: "join",
            kind: Some(Kind::Private),
            setup: &nothing,
            victim: &|path| {
                let ns = Namespace::open(path).unwrap();
                begin();
                ns.sweep().unwrap();
                finish();
            },
            check: &|ns| {
                // The survivor, the checker; nobody dead.
                assert!(ns.participants().unwrap().len() <= 2);
            },
            stores: true,
        }
        .run(directory);
    });
}

fn creating(directory: &Path, kind: Kind, size: u64) {
    Scenario {
        name: &format!("create-{kind:?}-{size}"),
        kind: Some(kind),
        setup: &nothing,
        victim: &|path| {
            let ns = Namespace::open(path).unwrap();
            begin();
            ns.shmget(KEY, size, libc::IPC_CREAT | libc::IPC_EXCL | 0o640).unwrap();
            finish();
        },
        check: &|ns| {
            free_or_whole(ns, size, 0o640, true);
        },
        stores: true,
    }
    .run(directory);
}

#[test]
fn create_in_private() {
    alone("create_in_private", |directory| creating(directory, Kind::Private, 100));
}

#[test]
fn create_in_private_large() {
    alone("create_in_private_large", |directory| creating(directory, Kind::Private, 65537));
}

#[test]
fn create_in_shared() {
    alone("create_in_shared", |directory| creating(directory, Kind::Shared, 100));
}

#[test]
fn create_in_shared_large() {
    alone("create_in_shared_large", |directory| creating(directory, Kind::Shared, 65537));
}

/// The memory of a removed segment is taken again.
#[test]
fn create_again() {
    alone("create_again", |directory| {
        for kind in [Kind::Private, Kind::Shared] {
            Scenario {
                name: &format!("create-again-{kind:?}"),
                kind: Some(kind),
                setup: &|ns| {
                    let segment = Segment::options().mode(0o640).create(ns, KEY, 5000).unwrap();
                    let memory = segment.attach().unwrap();
                    memory.fill(0, 5000, 0xff).unwrap();
                    memory.detach().unwrap();
                    segment.remove().unwrap();
                },
                victim: &|path| {
                    let ns = Namespace::open(path).unwrap();
                    begin();
                    ns.shmget(KEY, 5000, libc::IPC_CREAT | libc::IPC_EXCL | 0o640).unwrap();
                    finish();
                },
                check: &|ns| {
                    free_or_whole(ns, 5000, 0o640, true);
                },
                stores: true,
            }
            .run(directory);
        }
    });
}

#[test]
fn create_without_key() {
    alone("create_without_key", |directory| {
        Scenario {
            name: "create-without-key",
            kind: Some(Kind::Shared),
            setup: &nothing,
            victim: &|path| {
                let ns = Namespace::open(path).unwrap();
                begin();
                ns.shmget(Key::PRIVATE, 100, 0o600).unwrap();
                finish();
            },
            check: &|ns| {
                let all = ns.segments().unwrap();
                let new: Vec<_> = all.iter().filter(|s| s.stat.key.is_private()).collect();
                assert!(new.len() <= 1);
                for segment in new {
                    assert!(segment.orphan);
                    whole(ns, segment.stat.id, Key::PRIVATE, 100, 0o600, false);
                }
                free_or_whole(ns, 100, 0o600, true);
            },
            stores: true,
        }
        .run(directory);
    });
}

#[test]
fn find() {
    alone("find", |directory| {
        for kind in [Kind::Private, Kind::Shared] {
            Scenario {
                name: &format!("find-{kind:?}"),
                kind: Some(kind),
                setup: &|ns| {
                    Segment::create(ns, KEY, 100).unwrap();
                },
                victim: &|path| {
                    let ns = Namespace::open(path).unwrap();
                    begin();
                    ns.shmget(KEY, 100, libc::IPC_CREAT | 0o600).unwrap();
                    finish();
                },
                check: &|ns| assert!(free_or_whole(ns, 100, 0o600, false)),
                stores: true,
            }
            .run(directory);
        }
    });
}

fn attaching(directory: &Path, name: &str, size: u64, victim: &dyn Fn(&Path)) {
    Scenario {
        name,
        kind: Some(Kind::Private),
        setup: &|ns| {
            Segment::create(ns, KEY, size).unwrap();
        },
        victim,
        check: &|ns| {
            let id = ns.shmget(KEY, size, 0).unwrap();
            assert_eq!(ns.shm_stat(id.raw()).unwrap().nattch, 0);
            assert!(free_or_whole(ns, size, 0o600, false));
        },
        stores: true,
    }
    .run(directory);
}

#[test]
fn attach() {
    alone("attach", |directory| {
        attaching(directory, "attach", 70_000, &|path| {
            let ns = Namespace::open(path).unwrap();
            let segment = Segment::open(&ns, KEY).unwrap();
            begin();
            let _memory = segment.attach().unwrap();
            finish();
        });
    });
}

#[test]
fn attach_again() {
    alone("attach_again", |directory| {
        attaching(directory, "attach-again", 100, &|path| {
            let ns = Namespace::open(path).unwrap();
            let segment = Segment::open(&ns, KEY).unwrap();
            let _first = segment.attach().unwrap();
            let _second = segment.attach().unwrap();
            begin();
            let _third = segment.attach().unwrap();
            finish();
        });
    });
}

#[test]
fn detach() {
    alone("detach", |directory| {
        attaching(directory, "detach", 100, &|path| {
            let ns = Namespace::open(path).unwrap();
            let segment = Segment::open(&ns, KEY).unwrap();
            let _first = segment.attach().unwrap();
            let second = segment.attach().unwrap();
            begin();
            second.detach().unwrap();
            finish();
        });
    });
}

/// Whether another user gets at the bytes, for reading and writing.
fn user_gets_in(path: &Path, id: Id, uid: u32) -> bool {
    let granted = Signpost::new();
    fork(|| {
        become_user(uid);
        let ns = Namespace::open(path).unwrap();
        match Segment::open_id(&ns, id).unwrap().attach() {
            Ok(memory) => {
                memory.write(0, b"in").unwrap();
                granted.tell_number(1);
            }
            Err(e) => {
                assert_eq!(e.errno(), Errno::ACCES, "{e}");
                granted.tell_number(0);
            }
        }
    })
    .succeeds();
    granted.number() == 1
}

/// The rights are the old ones or the new ones, for the eye and for the hand.
fn setting(directory: &Path, name: &str, kind: Kind, old: (u32, u32), new: (u32, u32)) {
    // SAFETY: cannot fail.
    let (euid, egid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let real = |uid: u32| if uid == 0 { euid } else { uid };
    let seen = Cell::new(None);
    support::open_to_all(directory);
    Scenario {
        name,
        kind: Some(kind),
        setup: &|ns| {
            let id = Segment::create(ns, KEY, 100).unwrap().id();
            ns.shm_set(id.raw(), real(old.0), egid, old.1).unwrap();
        },
        victim: &|path| {
            let ns = Namespace::open(path).unwrap();
            let id = Segment::open(&ns, KEY).unwrap().id();
            begin();
            ns.shm_set(id.raw(), real(new.0), egid, new.1).unwrap();
            finish();
        },
        check: &|ns| {
            let id = ns.shmget(KEY, 100, 0).unwrap();
            let perm = ns.shm_stat(id.raw()).unwrap().perm;
            let now = (perm.uid, perm.mode);
            assert!([old, new].map(|(uid, mode)| (real(uid), mode)).contains(&now), "{perm:?}");
            assert!(seen.get().is_none_or(|before| before == now));
            seen.set(Some(now));
            if is_root() && kind == Kind::Shared {
                for uid in [1234, 5678] {
                    let granted = if uid == now.0 { now.1 >> 6 } else { now.1 } & 6 == 6;
                    assert_eq!(user_gets_in(ns.path().unwrap(), id, uid), granted, "user {uid}, {perm:?}");
                }
            }
            let file = mode_of(&ns.path().unwrap().join(format!("shm/{}.data", id.index())));
            if kind == Kind::Private {
                assert_eq!(file, now.1, "{perm:?}");
            }
            whole(ns, id, KEY, 100, now.1, false);
        },
        stores: true,
    }
    .run(directory);
}

#[test]
fn set_mode() {
    alone("set_mode", |directory| {
        setting(directory, "set-mode-private", Kind::Private, (0, 0o600), (0, 0o660));
        setting(directory, "set-mode-open", Kind::Shared, (0, 0o600), (0, 0o666));
    });
}

#[test]
fn set_mode_closed() {
    alone("set_mode_closed", |directory| setting(directory, "set-mode-closed", Kind::Shared, (0, 0o666), (0, 0o600)));
}

#[test]
fn set_owner() {
    if !is_root() {
        println!("skipped: only root may give segments away");
        return;
    }
    alone("set_owner", |directory| setting(directory, "set-owner", Kind::Shared, (0, 0o600), (1234, 0o600)));
}

#[test]
fn set_owner_again() {
    if !is_root() {
        println!("skipped: only root may give segments away");
        return;
    }
    alone("set_owner_again", |directory| {
        setting(directory, "set-owner-other", Kind::Shared, (1234, 0o600), (5678, 0o600));
        setting(directory, "set-owner-back", Kind::Shared, (1234, 0o660), (0, 0o600));
    });
}

#[test]
fn remove() {
    alone("remove", |directory| {
        for (kind, size) in [(Kind::Private, 100), (Kind::Shared, 70_000)] {
            Scenario {
                name: &format!("remove-{kind:?}"),
                kind: Some(kind),
                setup: &|ns| {
                    Segment::create(ns, KEY, size).unwrap();
                },
                victim: &|path| {
                    let ns = Namespace::open(path).unwrap();
                    let segment = Segment::open(&ns, KEY).unwrap();
                    begin();
                    segment.remove().unwrap();
                    finish();
                },
                check: &|ns| {
                    assert!(ns.segments().unwrap().iter().all(|s| s.stat.flags.is_empty()));
                    free_or_whole(ns, size, 0o600, true);
                },
                stores: true,
            }
            .run(directory);
        }
    });
}

/// The survivor is attached to what is being removed.
#[test]
fn remove_attached() {
    alone("remove_attached", |directory| {
        for kind in [Kind::Private, Kind::Shared] {
            let scenario = Scenario {
                name: &format!("remove-attached-{kind:?}"),
                kind: Some(kind),
                setup: &nothing,
                victim: &|path| {
                    let ns = Namespace::open(path).unwrap();
                    let segment = Segment::open(&ns, OTHER).unwrap();
                    begin();
                    segment.remove().unwrap();
                    finish();
                },
                check: &nothing,
                stores: true,
            };
            let points = every(scenario.points(&directory.join(format!("{kind:?}-points"))));
            for (i, point) in points.iter().enumerate() {
                let path = directory.join(format!("{kind:?}-{i}"));
                scenario.prepare(&path);
                let (ready, go, done) = (Signpost::new(), Signpost::new(), Signpost::new());
                let attached = fork(|| {
                    let ns = Namespace::open(&path).unwrap();
                    let memory = Segment::open(&ns, OTHER).unwrap().attach().unwrap();
                    memory.write(0, b"mine").unwrap();
                    ready.tell(1);
                    go.wait();
                    assert_eq!(memory.to_vec(0..4).unwrap(), b"mine");
                    memory.detach().unwrap();
                    done.tell(1);
                });
                ready.wait();
                let mut tracee = Tracee::start(|| (scenario.victim)(&path));
                tracee.run_to(*point, &mut Watch::new(&path));
                tracee.kill();
                println!("{}: killed at {point:?}", scenario.name);
                fork(|| {
                    let ns = Namespace::open(&path).unwrap();
                    consistent(&ns);
                    let all = ns.segments().unwrap();
                    assert_eq!(all.len(), 1);
                    let stat = all[0].stat;
                    assert_eq!((stat.nattch, stat.size), (1, OTHER_BYTES));
                    let removed = !stat.flags.is_empty();
                    assert_eq!(ns.shmget(OTHER, 0, 0), if removed { Err(Errno::NOENT) } else { Ok(stat.id) });
                    let more = Segment::open_id(&ns, stat.id).unwrap().attach().unwrap();
                    assert_eq!(more.to_vec(0..4).unwrap(), b"mine");
                    if removed {
                        assert_eq!(stat.key, Key::PRIVATE);
                        let new = ns.shmget(OTHER, 50, libc::IPC_CREAT | libc::IPC_EXCL | 0o600).unwrap();
                        assert_ne!(new, stat.id);
                    }
                    drop(more);
                    go.tell(1);
                    done.wait();
                    if removed {
                        assert_eq!(ns.shm_stat(stat.id.raw()), Err(Errno::INVAL));
                    } else {
                        assert_eq!(ns.shm_stat(stat.id.raw()).unwrap().nattch, 0);
                    }
                    consistent(&ns);
                    clear_all(&path, &ns);
                })
                .succeeds();
                attached.succeeds();
                let _ = std::fs::remove_dir_all(&path);
            }
            println!("{}: {} points", scenario.name, points.len());
        }
    });
}

/// The last attachment of a removed segment ends, or its process does.
#[test]
fn last_detach() {
    alone("last_detach", |directory| {
        for kind in [Kind::Private, Kind::Shared] {
            Scenario {
                name: &format!("last-detach-{kind:?}"),
                kind: Some(kind),
                setup: &nothing,
                victim: &|path| {
                    let ns = Namespace::open(path).unwrap();
                    let segment = Segment::create_new(&ns, KEY, 100).unwrap();
                    let memory = segment.attach().unwrap();
                    segment.remove().unwrap();
                    begin();
                    memory.detach().unwrap();
                    finish();
                },
                check: &|ns| {
                    assert!(ns.segments().unwrap().iter().all(|s| s.stat.flags.is_empty()));
                    free_or_whole(ns, 100, 0o600, true);
                },
                stores: true,
            }
            .run(directory);
        }
    });
}

/// A fork in which the parent, or the child, is killed; the other has what a fork gives.
#[test]
fn fork_killed() {
    alone("fork_killed", |directory| {
        let prepare = |path: &Path| {
            fork(|| {
                let ns = Namespace::create(path, Kind::Private).unwrap();
                Segment::create(&ns, KEY, 100).unwrap();
            })
            .succeeds();
        };
        // Both processes go on to `finish`; the child says that it is there and waits for its end.
        let victim = |path: &Path, there: &Signpost, never: &Signpost| {
            let ns = Namespace::open(path).unwrap();
            let segment = Segment::open(&ns, KEY).unwrap();
            let memory = segment.attach().unwrap();
            let _second = segment.attach().unwrap();
            begin();
            // SAFETY: a process of one thread.
            let child = unsafe { libc::fork() };
            if child == 0 {
                memory.write(0, b"child").unwrap();
                there.tell_number(segment.stat().unwrap().nattch as i64);
                never.wait();
            }
            finish();
            there.wait();
        };
        let nattch = |path: &Path| {
            let answer = Signpost::new();
            fork(|| {
                let ns = Namespace::open(path).unwrap();
                let id = ns.shmget(KEY, 0, 0).unwrap();
                let nattch = ns.shm_stat(id.raw()).unwrap().nattch;
                consistent(&ns);
                answer.tell_number(nattch as i64);
            })
            .succeeds();
            answer.number()
        };
        let end = |path: &Path| {
            assert_eq!(nattch(path), 0);
            fork(|| clear_all(path, &Namespace::open(path).unwrap())).succeeds();
            std::fs::remove_dir_all(path).unwrap();
        };
        let mut i = 0;
        loop {
            let path = directory.join(format!("parent-{i}"));
            prepare(&path);
            let (there, never) = (Signpost::new(), Signpost::new());
            let mut parent = Tracee::start(|| victim(&path, &there, &never));
            let mut child = None;
            let mut finished = false;
            for _ in 0..i {
                match parent.next() {
                    Stop::Finished => {
                        finished = true;
                        break;
                    }
                    Stop::Forked(pid) => {
                        let newborn = Tracee::newborn(pid);
                        assert_eq!(nattch(&path), 4, "both, from the child's first instant");
                        child = Some(newborn);
                    }
                    Stop::Call => {}
                }
            }
            println!("parent killed at {i}, child {:?}", child.as_ref().map(|c| c.pid));
            parent.kill();
            if let Some(child) = child {
                assert_eq!(nattch(&path), 2, "the child before its first instruction");
                let child = child.release(0);
                assert_eq!(there.number(), 2);
                assert_eq!(nattch(&path), 2);
                child.kill();
            }
            end(&path);
            i += 1;
            if finished {
                break;
            }
        }
        println!("fork: parent killed at {i} points");
        let mut k = 0;
        loop {
            let path = directory.join(format!("child-{k}"));
            prepare(&path);
            let (there, never) = (Signpost::new(), Signpost::new());
            let mut parent = Tracee::start(|| victim(&path, &there, &never));
            let mut child = loop {
                match parent.next() {
                    Stop::Forked(pid) => break Tracee::newborn(pid),
                    stop => assert_eq!(stop, Stop::Call),
                }
            };
            let mut told = false;
            for _ in 0..k {
                assert_eq!(child.next(), Stop::Call);
                // It waits in the end: its last call does not return.
                told = support::tells(&there);
                if told {
                    break;
                }
            }
            println!("child killed at {k}");
            child.kill();
            while parent.next() != Stop::Finished {}
            assert_eq!(nattch(&path), 2, "the parent alone");
            there.tell(1);
            if told {
                assert_eq!(there.number() & 0xff, 4);
            }
            parent.kill();
            end(&path);
            k += 1;
            if told {
                break;
            }
        }
        println!("fork: child killed at {k} points");
    });
}

/// Who takes over from a dead owner of the lock is killed, too.
fn recovering(directory: &Path, name: &str, setup: &dyn Fn(&Namespace), first: &dyn Fn(&Path), check: &dyn Fn(&Namespace)) {
    let scenario = Scenario { name, kind: Some(Kind::Private), setup, victim: first, check, stores: true };
    let second = |path: &Path| {
        let ns = Namespace::open(path).unwrap();
        begin();
        ns.sweep().unwrap();
        finish();
    };
    // Where the first one dies with the lock.
    let alone = directory.join(format!("{name}-points"));
    scenario.prepare(&alone);
    let points = Tracee::start(|| first(&alone)).all_points(&mut Watch::new(&alone), true);
    let mut deaths = Vec::new();
    for (i, point) in points.into_iter().enumerate() {
        let path = directory.join(format!("{name}-probe-{i}"));
        scenario.prepare(&path);
        let mut tracee = Tracee::start(|| first(&path));
        tracee.run_to(point, &mut Watch::new(&path));
        if tracee.lock_held {
            deaths.push(point);
        }
        tracee.kill();
        std::fs::remove_dir_all(&path).unwrap();
    }
    assert!(deaths.len() > 10, "{deaths:?}");
    let step = std::env::var("QUINTET_CRASH_RECOVERY").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let mut runs = 0;
    for (d, death) in deaths.iter().enumerate().step_by(step) {
        let die_first = |path: &Path| {
            scenario.prepare(path);
            let mut tracee = Tracee::start(|| first(path));
            tracee.run_to(*death, &mut Watch::new(path));
            tracee.kill();
        };
        let path = directory.join(format!("{name}-{d}-points"));
        die_first(&path);
        let points = Tracee::start(|| second(&path)).all_points(&mut Watch::new(&path), true);
        for (i, point) in points.iter().enumerate().skip(d % 3).step_by(3) {
            let path = directory.join(format!("{name}-{d}-{i}"));
            die_first(&path);
            let (go, done) = (Signpost::new(), Signpost::new());
            let mut tracee = Tracee::start(|| second(&path));
            tracee.run_to(*point, &mut Watch::new(&path));
            tracee.kill();
            println!("{name}: killed at {death:?}, its successor at {point:?}");
            let survivor = scenario.survivor(&path, &go, &done);
            scenario.aftermath(&path, survivor, i % 2 == 0, &go, &done);
            let _ = std::fs::remove_dir_all(&path);
            runs += 1;
        }
    }
    println!("{name}: {} deaths with the lock, {runs} runs", deaths.len());
}

#[test]
fn recover_from_create() {
    alone("recover_from_create", |directory| {
        let first = |path: &Path| {
            let ns = Namespace::open(path).unwrap();
            begin();
            ns.shmget(KEY, 100, libc::IPC_CREAT | libc::IPC_EXCL | 0o640).unwrap();
            finish();
        };
        recovering(directory, "recover-create", &nothing, &first, &|ns| {
            free_or_whole(ns, 100, 0o640, true);
        });
    });
}

#[test]
fn recover_from_remove() {
    alone("recover_from_remove", |directory| {
        let first = |path: &Path| {
            let ns = Namespace::open(path).unwrap();
            let segment = Segment::open(&ns, KEY).unwrap();
            begin();
            segment.remove().unwrap();
            finish();
        };
        let setup = |ns: &Namespace| {
            Segment::create(ns, KEY, 100).unwrap();
        };
        recovering(directory, "recover-remove", &setup, &first, &|ns| {
            free_or_whole(ns, 100, 0o600, true);
        });
    });
}

/// Who takes over from the dead is another user, and may not touch what is not his.
#[test]
fn another_user_takes_over() {
    if !is_root() {
        println!("skipped: only root can be two users");
        return;
    }
    alone("another_user_takes_over", |directory| {
        support::open_to_all(directory);
        let victim = |path: &Path| {
            become_user(5678);
            let ns = Namespace::open(path).unwrap();
            begin();
            ns.shmget(KEY, 100, libc::IPC_CREAT | libc::IPC_EXCL | 0o666).unwrap();
            finish();
        };
        let prepare = |path: &Path| {
            fork(|| {
                let ns = Namespace::create(path, Kind::Shared).unwrap();
                Segment::create(&ns, OTHER, OTHER_BYTES).unwrap();
            })
            .succeeds();
        };
        let points_path = directory.join("points");
        prepare(&points_path);
        let points = Tracee::start(|| victim(&points_path)).all_points(&mut Watch::new(&points_path), true);
        println!("another user takes over: {} points", points.len());
        for (i, point) in every(points).into_iter().enumerate() {
            let path = directory.join(i.to_string());
            prepare(&path);
            let mut tracee = Tracee::start(|| victim(&path));
            tracee.run_to(point, &mut Watch::new(&path));
            tracee.kill();
            println!("another user takes over: killed at {point:?}");
            fork(|| {
                become_user(1234);
                let ns = Namespace::open(&path).unwrap();
                consistent(&ns);
                let all = ns.segments().unwrap();
                assert!(all.iter().any(|s| s.stat.key == OTHER && s.stat.size == OTHER_BYTES), "{all:?}");
                match ns.shmget(KEY, 0, 0) {
                    Ok(id) => whole(&ns, id, KEY, 100, 0o666, true),
                    Err(e) => {
                        assert_eq!(e, Errno::NOENT);
                        let id = ns.shmget(KEY, 100, libc::IPC_CREAT | 0o666).unwrap();
                        whole(&ns, id, KEY, 100, 0o666, true);
                    }
                }
                assert_eq!(ns.shmget(OTHER, 0, 0o600), Err(Errno::ACCES));
                consistent(&ns);
            })
            .succeeds();
            fork(|| {
                let ns = Namespace::open(&path).unwrap();
                assert_eq!(ns.segments().unwrap().len(), 2);
                consistent(&ns);
                clear_all(&path, &ns);
            })
            .succeeds();
            std::fs::remove_dir_all(&path).unwrap();
        }
    });
}

/// A process that is stopped while it holds the lock keeps it: others wait, and go on when it does.
#[test]
fn stopped_owner_keeps_the_lock() {
    alone("stopped_owner_keeps_the_lock", |directory| {
        let path = directory.join("ns");
        fork(|| {
            let ns = Namespace::create(&path, Kind::Private).unwrap();
            Segment::create(&ns, OTHER, OTHER_BYTES).unwrap();
        })
        .succeeds();
        let mut watch = Watch::new(&path);
        let mut tracee = Tracee::start(|| {
            let ns = Namespace::open(&path).unwrap();
            begin();
            ns.shmget(KEY, 100, libc::IPC_CREAT | libc::IPC_EXCL | 0o600).unwrap();
        });
        while watch.lock_word() == 0 {
            assert_eq!(tracee.next(), Stop::Call);
        }
        let owner = watch.lock_word();
        let stopped = tracee.release(libc::SIGSTOP);
        let waiter = fork(|| {
            let ns = Namespace::open(&path).unwrap();
            ns.shmget(Key::new(0x77), 100, libc::IPC_CREAT | libc::IPC_EXCL | 0o600).unwrap();
        });
        const SLEEPERS: u32 = 1 << 31;
        until("somebody sleeps on the lock", || watch.lock_word() == owner | SLEEPERS);
        // It looks whether the owner lives, many times, and leaves it the lock.
        let sleeps = || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", waiter.pid)).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
            line.trim().parse::<u32>().unwrap()
        };
        let before = sleeps();
        until("the waiter has slept 20 times", || sleeps() >= before + 20);
        assert_eq!(watch.lock_word(), owner | SLEEPERS);
        assert!(!support::ends_within(waiter.pid, std::time::Duration::ZERO));
        // Finding needs no lock.
        fork(|| {
            let ns = Namespace::open(&path).unwrap();
            let id = ns.shmget(OTHER, 0, 0).unwrap();
            assert_eq!(ns.shm_stat(id.raw()).unwrap().size, OTHER_BYTES);
            assert_eq!(ns.shm_usage().unwrap().segments, 1);
        })
        .succeeds();
        assert_eq!(watch.lock_word(), owner | SLEEPERS);
        stopped.signal(libc::SIGCONT);
        assert_eq!(stopped.end(), End::Exit(0));
        waiter.succeeds();
        watch.reopen();
        assert_eq!(watch.lock_word(), 0);
        fork(|| {
            let ns = Namespace::open(&path).unwrap();
            consistent(&ns);
            assert_eq!(ns.segments().unwrap().len(), 3);
            clear_all(&path, &ns);
        })
        .succeeds();
        let _: PathBuf = path;
    });
}
