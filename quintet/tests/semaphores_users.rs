//! Several users share semaphore sets: permissions, and what a user with access to one set cannot
//! reach.

mod common;
use crash::support;

use common::{op, undo};
use quintet::{Errno, Key, Kind, Namespace, SemFlags};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use support::{Signpost, Window, alone, become_user, fork, is_root, open_to_all};

const KEY: Key = Key::new(0xbad);
const OTHER: Key = Key::new(0x600d);

// Offsets in the file: docs/format.md.
const HEAD: usize = 8;
const SET_KEY: usize = 80;

/// A user that may alter a set writes false values to its file. Other sets of the owner must not
/// change.
#[test]
fn a_user_that_may_alter_a_set_cannot_change_another() {
    if !is_root() {
        println!("skipped: changing users needs root");
        return;
    }
    alone("a_user_that_may_alter_a_set_cannot_change_another", |directory| {
        open_to_all(directory);
        for kind in [0u64, 1, 2] {
            let path = directory.join(kind.to_string());
            fork(|| _ = Namespace::create(&path, Kind::Shared).unwrap()).succeeds();
            fork(|| {
                become_user(4001);
                let ns = Namespace::open(&path).unwrap();
                let first = ns.semget(KEY, 2, libc::IPC_CREAT | 0o666).unwrap();
                let second = ns.semget(OTHER, 2, libc::IPC_CREAT | 0o600).unwrap();
                assert_eq!((first.index(), second.index()), (0, 1));
                ns.sem_set_values(second.raw(), &[7, 8]).unwrap();
            })
            .succeeds();
            fork(|| {
                become_user(4002);
                let ns = Namespace::open(&path).unwrap();
                let id = ns.semget(OTHER, 0, 0).unwrap().raw();
                assert_eq!(ns.sem_value(id, 0), Err(Errno::ACCES));
                assert_eq!(ns.semtimedop(id, &[op(0, 0)], None), Err(Errno::ACCES));
                assert_eq!(ns.sem_remove(id), Err(Errno::PERM));
                assert!(Window::open(&path.join("sem/1"), 0, 4096).is_none());
                let window = Window::open(&path.join("sem/0"), 0, 4096).unwrap();
                window.long(HEAD).store((id as u64) << 32 | kind, SeqCst);
                window.word(SET_KEY).store(OTHER.raw() as u32, SeqCst);
            })
            .succeeds();
            for user in [4001, 0] {
                fork(|| {
                    if user != 0 {
                        become_user(user);
                    }
                    let ns = Namespace::open(&path).unwrap();
                    ns.sweep().unwrap();
                    let id = ns.semget(OTHER, 2, 0).unwrap();
                    assert_eq!(id.index(), 1);
                    assert_eq!(ns.sem_values(id.raw()).unwrap(), [7, 8]);
                    let stat = ns.sem_stat(id.raw()).unwrap();
                    assert_eq!((stat.perm.uid, stat.perm.cuid, stat.perm.mode, stat.key), (4001, 4001, 0o600, OTHER));
                })
                .succeeds();
            }
        }
    });
}

/// Read permission allows write_waiter for zero and no other operation. Changed permissions take
/// effect at the next call.
#[test]
fn a_reader_can_only_wait_for_zero() {
    if !is_root() {
        println!("skipped: changing users needs root");
        return;
    }
    alone("a_reader_can_only_wait_for_zero", |directory| {
        open_to_all(directory);
        let path = directory.join("ns");
        fork(|| _ = Namespace::create(&path, Kind::Shared).unwrap()).succeeds();
        fork(|| {
            become_user(4001);
            let ns = Namespace::open(&path).unwrap();
            let id = ns.semget(KEY, 2, libc::IPC_CREAT | 0o644).unwrap().raw();
            ns.sem_set_values(id, &[1, 0]).unwrap();
        })
        .succeeds();
        let (done, go) = (Signpost::new(), Signpost::new());
        let reader = fork(|| {
            become_user(4002);
            let ns = Namespace::open(&path).unwrap();
            let id = ns.semget(KEY, 0, 0o444).unwrap().raw();
            assert_eq!(ns.semget(KEY, 0, 0o222), Err(Errno::ACCES));
            assert_eq!(ns.sem_values(id).unwrap(), [1, 0]);
            for ops in [&[op(0, -1)][..], &[op(1, 1)], &[op(1, 0), undo(0, -1)]] {
                assert_eq!(ns.semtimedop(id, ops, None), Err(Errno::ACCES));
            }
            assert_eq!(ns.sem_set_value(id, 0, 0), Err(Errno::ACCES));
            assert_eq!(ns.sem_set_values(id, &[0, 0]), Err(Errno::ACCES));
            assert_eq!(ns.sem_set(id, 4002, 4002, 0o666), Err(Errno::PERM));
            let zero = [op(0, 0), op(1, 0)];
            assert_eq!(ns.semtimedop(id, &[zero[0].flags(SemFlags::NOWAIT)], None), Err(Errno::AGAIN));
            assert_eq!(ns.semtimedop(id, &zero, Some(Duration::from_millis(1))), Err(Errno::AGAIN));
            done.post(1);
            ns.semtimedop(id, &zero, None).unwrap();
            done.post(1);
            go.wait();
            // The owner has granted write permission.
            ns.semtimedop(id, &[undo(0, 3)], None).unwrap();
            ns.semtimedop(id, &[op(0, 1), op(1, 1)], None).unwrap();
            done.post(1);
            go.wait();
            // The owner has revoked all permissions. The adjustment is undone all the same.
            assert_eq!(ns.sem_value(id, 0), Err(Errno::ACCES));
            assert_eq!(ns.semtimedop(id, &[op(0, 1)], None), Err(Errno::ACCES));
            assert_eq!(ns.semtimedop(id, &[undo(0, 1), op(1, 1)], None), Err(Errno::ACCES));
            assert_eq!(ns.semtimedop(id, &[op(1, 0)], None), Err(Errno::ACCES));
        });
        let owner = |act: &dyn Fn(&Namespace, i32)| {
            fork(|| {
                become_user(4001);
                let ns = Namespace::open(&path).unwrap();
                act(&ns, ns.semget(KEY, 0, 0).unwrap().raw());
            })
            .succeeds();
        };
        done.wait();
        owner(&|ns, id| ns.semtimedop(id, &[op(0, -1)], None).unwrap());
        done.wait();
        owner(&|ns, id| ns.sem_set(id, 4001, 4001, 0o666).unwrap());
        go.post(1);
        done.wait();
        owner(&|ns, id| ns.sem_set(id, 4001, 4001, 0o600).unwrap());
        go.post(1);
        reader.succeeds();
        owner(&|ns, id| {
            ns.sweep().unwrap();
            assert_eq!(ns.sem_values(id).unwrap(), [1, 1]);
            assert_eq!(ns.sem_stat(id).unwrap().perm.mode, 0o600);
            ns.sem_remove(id).unwrap();
        });
    });
}

/// Creating a set fails after its file exists. Another process can create a set with the same key
/// and index.
#[test]
fn a_failed_creation_does_not_hide_a_new_set() {
    alone("a_failed_creation_does_not_hide_a_new_set", |directory| {
        use std::os::unix::fs::PermissionsExt;
        open_to_all(directory);
        let path = directory.join("ns");
        std::fs::create_dir(&path).unwrap();
        if is_root() {
            std::os::unix::fs::chown(&path, Some(4001), Some(4001)).unwrap();
        }
        fork(|| {
            if is_root() {
                become_user(4001);
            }
            let ns = Namespace::create(&path, Kind::Shared).unwrap();
            let keys = |mode| std::fs::set_permissions(path.join("key"), std::fs::Permissions::from_mode(mode)).unwrap();
            keys(0o555);
            assert_eq!(ns.semget(KEY, 2, libc::IPC_CREAT | 0o600), Err(Errno::ACCES));
            assert_eq!((ns.sem_usage().unwrap().sets, ns.sets().unwrap().len()), (0, 0));
            assert_eq!(support::names(&path.join("sem")), Vec::<String>::new());
            keys(0o1777);
            fork(|| {
                let ns = Namespace::open(&path).unwrap();
                let id = ns.semget(KEY, 3, libc::IPC_CREAT | 0o600).unwrap();
                assert_eq!(id.index(), 0);
                ns.sem_set_values(id.raw(), &[1, 2, 3]).unwrap();
            })
            .succeeds();
            let id = ns.semget(KEY, 3, 0).unwrap().raw();
            assert_eq!(ns.sem_values(id).unwrap(), [1, 2, 3]);
        })
        .succeeds();
    });
}
