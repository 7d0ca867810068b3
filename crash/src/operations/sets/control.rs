//! Creation, change and removal of a set.

use super::*;
use crate::campaign::{Run, operations};

operations! { "sets::control": setting_one_value setting_all_values creating_in_private creating_in_shared removing_in_private removing_in_shared giving_to_another_user }

fn setting_one_value(run: &Run) {
    Scenario {
        // A process has taken 2 units and keeps them.
        peers: &|path| {
            let holder = fork(|| {
                let ns = Namespace::open(path).unwrap();
                ns.semtimedop(set_of(&ns), &[undo(0, -2), undo(1, -2)], None).unwrap();
                ns.semtimedop(set_of(&ns), &[op(4, 1)], None).unwrap();
                support::sleep_for_ever();
            });
            until_value(path, 4, 11);
            vec![holder]
        },
        victim: &|ns| ns.sem_set_value(set_of(ns), 0, 77).unwrap(),
        check: &|path, peers| {
            drop(peers);
            ends_with(path, &[changed(&[(4, 1)]), changed(&[(0, 67), (4, 1)])]);
        },
        ..scenario()
    }
    .run(run);
}

fn setting_all_values(run: &Run) {
    Scenario {
        peers: &|path| {
            let holder = fork(|| {
                let ns = Namespace::open(path).unwrap();
                ns.semtimedop(set_of(&ns), &[undo(0, -2), undo(1, 500)], None).unwrap();
                support::sleep_for_ever();
            });
            until_value(path, 1, 510);
            vec![holder]
        },
        victim: &|ns| ns.sem_set_values(set_of(ns), &[1, 2, 3, 4, 5, 6]).unwrap(),
        check: &|path, peers| {
            drop(peers);
            ends_with(path, &[START, [1, 2, 3, 4, 5, 6]]);
        },
        attempt: attempt_of_nothing(),
        ..scenario()
    }
    .run(run);
}

fn making(run: &Run, kind: Kind) {
    Scenario {
        kind,
        setup: &nothing,
        victim: &|ns| _ = ns.semget(KEY, 3, libc::IPC_CREAT | libc::IPC_EXCL | 0o640).unwrap(),
        check: &|path, _| {
            fork(|| {
                let ns = Namespace::open(path).unwrap();
                let found = ns.semget(KEY, 3, 0);
                assert!(found.is_ok() || found == Err(Errno::NOENT) && !completed(), "{found:?}");
                let id = ns.semget(KEY, 3, libc::IPC_CREAT | 0o640).unwrap();
                assert!(found.is_err() || found == Ok(id));
                assert_eq!(ns.sem_stat(id.raw()).unwrap().perm.mode, 0o640);
                assert_eq!(ns.sem_values(id.raw()).unwrap(), [0; 3]);
                works(&ns, id.raw(), &[0; 3]);
            })
            .succeeds();
        },
        // Finding an object that is being created needs the registry's lock, which has no timeout.
        attempt: Attempt { timed_out: None, ..attempt_of_nothing() },
        ..scenario()
    }
    .run(run);
}

fn creating_in_private(run: &Run) {
    making(run, Kind::Private);
}

fn creating_in_shared(run: &Run) {
    making(run, Kind::Shared);
}

/// A call that waits on a half-removed set does not block forever, even if no other process comes.
fn removing_it(run: &Run, kind: Kind) {
    Scenario {
        kind,
        peers: &|path| {
            let all = vec![sleeper(path, &[op(0, -11)]), sleeper(path, &[op(0, 0)])];
            until_waiting(path, 0, 2);
            all
        },
        victim: &|ns| ns.sem_remove(set_of(ns)).unwrap(),
        check: &|path, peers| {
            let stands = fork(|| {
                let ns = Namespace::open(path).unwrap();
                let id = match ns.semget(KEY, 0, 0) {
                    Ok(id) => id.raw(),
                    Err(e) => {
                        assert_eq!(e, Errno::NOENT);
                        support::exit(2)
                    }
                };
                ns.semtimedop(id, &[op(0, 1)], None).unwrap();
                ns.sem_set_value(id, 0, 0).unwrap();
            })
            .end();
            assert!(stands == End::Exit(0) && !completed() || stands == End::Exit(2), "{stands:?}");
            for child in peers {
                assert_eq!(child.end(), stands);
            }
            if stands == End::Exit(0) {
                ends_with(path, &[changed(&[(0, -10)])]);
            }
        },
        // Finding an object that is being removed needs the registry's lock, which has no timeout.
        attempt: Attempt { timed_out: None, ..scenario().attempt },
        ..scenario()
    }
    .run(run);
}

fn removing_in_private(run: &Run) {
    removing_it(run, Kind::Private);
}

fn removing_in_shared(run: &Run) {
    removing_it(run, Kind::Shared);
}

fn giving_to_another_user(run: &Run) {
    Scenario {
        kind: Kind::Shared,
        victim: &|ns| {
            let perm = ns.sem_stat(set_of(ns)).unwrap().perm;
            ns.sem_set(set_of(ns), perm.uid, perm.gid, 0o660).unwrap();
        },
        check: &|path, _| {
            fork(|| {
                use std::os::unix::fs::PermissionsExt;
                let ns = Namespace::open(path).unwrap();
                ns.semget(Key::PRIVATE, 1, 0o600).unwrap();
                let mode = ns.sem_stat(set_of(&ns)).unwrap().perm.mode;
                let file = std::fs::metadata(path.join("sem/0")).unwrap().permissions().mode() & 0o777;
                assert!((mode, file) == (0o600, 0o644) || (mode, file) == (0o660, 0o664), "{mode:o} {file:o}");
                let private = ns.sets().unwrap().into_iter().find(|set| set.stat.key.is_private()).unwrap();
                ns.sem_remove(private.stat.id.raw()).unwrap();
            })
            .succeeds();
            ends_with(path, &[START]);
        },
        ..scenario()
    }
    .run(run);
}
