//! Creation, change and removal of a queue; its memory.

use super::*;
use crate::campaign::{Run, operations};

operations! { "queues::control": creating_in_private creating_in_shared giving_to_another_user removing_in_private removing_in_shared giving_memory_back }

fn making(run: &Run, kind: Kind) {
    Scenario {
        kind,
        setup: &nothing,
        victim: &|ns| _ = ns.msgget(KEY, libc::IPC_CREAT | libc::IPC_EXCL | 0o640).unwrap(),
        check: &|path, _| {
            fork(|| {
                let ns = Namespace::open(path).unwrap();
                let found = ns.msgget(KEY, 0);
                assert!(found.is_ok() || found == Err(Errno::NOENT) && !completed(), "{found:?}");
                let id = ns.msgget(KEY, libc::IPC_CREAT | 0o640).unwrap();
                assert!(found.is_err() || found == Ok(id));
                assert_eq!(ns.msg_stat(id.raw()).unwrap().perm.mode, 0o640);
                works(path, &ns, id.raw());
            })
            .succeeds();
        },
        // Finding an object that is being created needs the registry's lock, which has no timeout.
        attempt: Attempt { timed_out: None, ..scenario().attempt },
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

fn giving_to_another_user(run: &Run) {
    Scenario {
        kind: Kind::Shared,
        victim: &|ns| {
            let perm = ns.msg_stat(queue_of(ns)).unwrap().perm;
            ns.msg_set(queue_of(ns), perm.uid, perm.gid, 0o660, CAPACITY).unwrap();
        },
        check: &|path, _| {
            fork(|| {
                use std::os::unix::fs::PermissionsExt;
                let ns = Namespace::open(path).unwrap();
                let other = ns.msgget(Key::PRIVATE, 0o600).unwrap().raw();
                let mode = ns.msg_stat(queue_of(&ns)).unwrap().perm.mode;
                let of = |file: &str| std::fs::metadata(path.join(file)).unwrap().permissions().mode() & 0o777;
                let modes = (mode, of("msg/0"), of("msg/0.data"));
                assert!([(0o600, 0o644, 0o600), (0o660, 0o664, 0o660)].contains(&modes), "{modes:?}");
                ns.msg_remove(other).unwrap();
            })
            .succeeds();
            ends_with(path, &[vec![]]);
        },
        ..scenario()
    }
    .run(run);
}

/// A call that waits on a half-removed queue does not block forever, even if no other process
/// comes.
fn removing_it(run: &Run, kind: Kind) {
    Scenario {
        kind,
        setup: &|ns| {
            make_queue(ns);
            send(ns, queue_of(ns), 1, 1, CAPACITY as usize);
        },
        peers: &|path| {
            let all = vec![receiver(path, 100, 5, MsgFlags::empty()), sender(path, 2, 20, SMALL), sender(path, 2, 20, LONG)];
            until_waiting(path, 3);
            all
        },
        victim: &|ns| ns.msg_remove(queue_of(ns)).unwrap(),
        check: &|path, peers| {
            let gone = std::fs::read(path.join("msg/0")).is_ok_and(|file| file[QUEUE_HEAD] == 2);
            assert!(gone || !completed() || !path.join("msg/0").exists());
            if gone {
                for child in peers {
                    assert_eq!(child.end(), End::Exit(2));
                }
                return;
            }
            let stands = fork(|| {
                let ns = Namespace::open(path).unwrap();
                match ns.msgget(KEY, 0) {
                    Ok(id) => {
                        receive(&ns, id.raw(), 0, NOWAIT).unwrap();
                        send(&ns, id.raw(), 5, 5, SMALL);
                    }
                    Err(e) => {
                        assert_eq!(e, Errno::NOENT);
                        support::exit(2)
                    }
                }
            })
            .end();
            let ends: Vec<End> = peers.into_iter().map(Child::end).collect();
            if stands == End::Exit(0) {
                assert_eq!(ends, [End::Exit(105), End::Exit(0), End::Exit(0)]);
                let both = [(2, 20, SMALL), (2, 20, LONG)];
                ends_with(path, &[both.to_vec(), vec![both[1], both[0]]]);
            } else {
                assert_eq!((stands, ends), (End::Exit(2), vec![End::Exit(2); 3]));
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

/// A large queue that becomes empty returns its memory.
fn giving_memory_back(run: &Run) {
    const LARGE: usize = 17 << 20;
    Scenario {
        setup: &|ns| {
            let limits = ns.limits().unwrap();
            ns.set_limits(&Limits { msgmax: LARGE as u32, msgmnb: LARGE as u32, ..limits }).unwrap();
            let id = ns.msgget(KEY, libc::IPC_CREAT | 0o600).unwrap().raw();
            send(ns, id, 1, 1, 1);
            ns.msgsnd(id, 2, &vec![7; LARGE - 2], NOWAIT, None).unwrap();
            assert_eq!(ns.msgrcv(id, &mut [0], 2, NOERROR | NOWAIT, None), Ok((2, 1)));
            ns.set_limits(&Limits { msgmax: CAPACITY as u32, msgmnb: CAPACITY as u32, ..limits }).unwrap();
            let perm = ns.msg_stat(id).unwrap().perm;
            ns.msg_set(id, perm.uid, perm.gid, perm.mode, CAPACITY).unwrap();
        },
        victim: &|ns| assert_eq!(receive(ns, queue_of(ns), 0, NOWAIT), Ok((1, 1, 1))),
        check: &|path, _| ends_with(path, &[vec![(1, 1, 1)], vec![]]),
        attempt: attempt_to_look(),
        ..scenario()
    }
    .run(run);
}
