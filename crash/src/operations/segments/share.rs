//! Creation, lookup, attach, detach and removal of segments.

use super::*;
use crate::campaign::{Run, operations};
use crate::support::{begin, finish};

operations! { "segments::share": join create_in_private create_in_private_large create_in_shared create_in_shared_large create_again create_without_key find attach attach_again detach remove last_detach remove_attached }

fn join(run: &Run) {
    Case {
        kind: Kind::Private,
        setup: &nothing,
        victim: &|path| {
            let ns = Namespace::open(path).unwrap();
            begin();
            ns.sweep().unwrap();
            finish();
        },
        check: &|ns| {
            // Two survivors and the checker; no entry for the victim.
            assert!(ns.participants().unwrap().len() <= 3);
        },
    }
    .run(run);
}

fn creating(run: &Run, kind: Kind, size: u64) {
    Case {
        kind,
        setup: &nothing,
        victim: &|path| {
            let ns = Namespace::open(path).unwrap();
            begin();
            ns.shmget(KEY, size, libc::IPC_CREAT | libc::IPC_EXCL | 0o640).unwrap();
            finish();
        },
        check: &|ns| assert!(free_or_whole(ns, size, 0o640, true) || !completed()),
    }
    .run(run);
}

fn create_in_private(run: &Run) {
    creating(run, Kind::Private, 100);
}

fn create_in_private_large(run: &Run) {
    creating(run, Kind::Private, 65537);
}

fn create_in_shared(run: &Run) {
    creating(run, Kind::Shared, 100);
}

fn create_in_shared_large(run: &Run) {
    creating(run, Kind::Shared, 65537);
}

/// The memory of a removed segment is reused.
fn create_again(run: &Run) {
    for kind in [Kind::Private, Kind::Shared] {
        Case {
            kind,
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
        }
        .run(run);
    }
}

fn create_without_key(run: &Run) {
    Case {
        kind: Kind::Shared,
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
    }
    .run(run);
}

fn find(run: &Run) {
    for kind in [Kind::Private, Kind::Shared] {
        Case {
            kind,
            setup: &|ns| {
                Segment::open_or_create(ns, KEY, 100).unwrap();
            },
            victim: &|path| {
                let ns = Namespace::open(path).unwrap();
                begin();
                ns.shmget(KEY, 100, libc::IPC_CREAT | 0o600).unwrap();
                finish();
            },
            check: &|ns| assert!(free_or_whole(ns, 100, 0o600, false)),
        }
        .run(run);
    }
}

fn attaching(run: &Run, size: u64, victim: &dyn Fn(&Path)) {
    Case {
        kind: Kind::Private,
        setup: &|ns| {
            Segment::open_or_create(ns, KEY, size).unwrap();
        },
        victim,
        check: &|ns| {
            let id = ns.shmget(KEY, size, 0).unwrap();
            assert_eq!(ns.shm_stat(id.raw()).unwrap().nattch, 0);
            assert!(free_or_whole(ns, size, 0o600, false));
        },
    }
    .run(run);
}

fn attach(run: &Run) {
    attaching(run, 70_000, &|path| {
        let ns = Namespace::open(path).unwrap();
        let segment = Segment::open(&ns, KEY).unwrap();
        begin();
        let _memory = segment.attach().unwrap();
        finish();
    });
}

fn attach_again(run: &Run) {
    attaching(run, 100, &|path| {
        let ns = Namespace::open(path).unwrap();
        let segment = Segment::open(&ns, KEY).unwrap();
        let _first = segment.attach().unwrap();
        let _second = segment.attach().unwrap();
        begin();
        let _third = segment.attach().unwrap();
        finish();
    });
}

fn detach(run: &Run) {
    attaching(run, 100, &|path| {
        let ns = Namespace::open(path).unwrap();
        let segment = Segment::open(&ns, KEY).unwrap();
        let _first = segment.attach().unwrap();
        let second = segment.attach().unwrap();
        begin();
        second.detach().unwrap();
        finish();
    });
}

fn remove(run: &Run) {
    for (kind, size) in [(Kind::Private, 100), (Kind::Shared, 70_000)] {
        Case {
            kind,
            setup: &|ns| {
                Segment::open_or_create(ns, KEY, size).unwrap();
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
        }
        .run(run);
    }
}

/// The last attachment of a removed segment ends, by a detach or a kill.
fn last_detach(run: &Run) {
    for kind in [Kind::Private, Kind::Shared] {
        Case {
            kind,
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
        }
        .run(run);
    }
}

/// The survivor has attached the segment that is removed.
fn remove_attached(run: &Run) {
    for kind in [Kind::Private, Kind::Shared] {
        let posts = RefCell::new(None);
        Scenario {
            kind,
            setup: &|ns| _ = Segment::options().mode(0o600).create(ns, OTHER, OTHER_BYTES).unwrap(),
            peers: &|path| {
                let (ready, go, done) = (Signpost::new(), Signpost::new(), Signpost::new());
                let attached = fork(|| {
                    let ns = Namespace::open(path).unwrap();
                    let memory = Segment::open(&ns, OTHER).unwrap().attach().unwrap();
                    memory.write(0, b"mine").unwrap();
                    ready.post(1);
                    go.wait();
                    assert_eq!(memory.to_vec(0..4).unwrap(), b"mine");
                    memory.detach().unwrap();
                    done.post(1);
                });
                ready.wait();
                posts.replace(Some((go, done)));
                vec![attached]
            },
            process: Some(&|path| {
                let ns = Namespace::open(path).unwrap();
                let segment = Segment::open(&ns, OTHER).unwrap();
                begin();
                segment.remove().unwrap();
                finish();
            }),
            check: &|path, attached| {
                let (go, done) = posts.take().unwrap();
                fork(|| removed_or_not(&Namespace::open(path).unwrap(), &go, &done)).succeeds();
                attached.into_iter().for_each(Child::succeeds);
            },
            clear: &clear_all,
            ..Scenario::default()
        }
        .run(run);
    }
}

fn removed_or_not(ns: &Namespace, go: &Signpost, done: &Signpost) {
    consistent(ns);
    let all = ns.segments().unwrap();
    assert_eq!(all.len(), 1);
    let stat = all[0].stat;
    assert_eq!((stat.nattch, stat.size), (1, OTHER_BYTES));
    let removed = !stat.flags.is_empty();
    assert!(removed || !completed());
    assert_eq!(ns.shmget(OTHER, 0, 0), if removed { Err(Errno::NOENT) } else { Ok(stat.id) });
    let more = Segment::open_id(ns, stat.id).unwrap().attach().unwrap();
    assert_eq!(more.to_vec(0..4).unwrap(), b"mine");
    if removed {
        assert_eq!(stat.key, Key::PRIVATE);
        let new = ns.shmget(OTHER, 50, libc::IPC_CREAT | libc::IPC_EXCL | 0o600).unwrap();
        assert_ne!(new, stat.id);
    }
    drop(more);
    go.post(1);
    done.wait();
    if removed {
        assert_eq!(ns.shm_stat(stat.id.raw()), Err(Errno::INVAL));
    } else {
        assert_eq!(ns.shm_stat(stat.id.raw()).unwrap().nattch, 0);
    }
    consistent(ns);
}
