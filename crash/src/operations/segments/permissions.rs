//! Changes of the permissions of a segment.
//!
//! # Safety
//!
//! The raw calls cannot fail.
#![allow(unsafe_code)]

use super::*;
use crate::campaign::{Run, operations};
use crate::support::{become_user, begin, finish, is_root, open_to_all};

operations! { "segments::permissions": set_mode set_mode_closed set_owner set_owner_again another_user_takes_over }

fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Returns `true` if another user can read and write the segment.
fn user_gets_in(path: &Path, id: Id, uid: u32) -> bool {
    let granted = Signpost::new();
    fork(|| {
        become_user(uid);
        let ns = Namespace::open(path).unwrap();
        match Segment::open_id(&ns, id).unwrap().attach() {
            Ok(memory) => {
                memory.write(0, b"in").unwrap();
                granted.send_number(1);
            }
            Err(e) => {
                assert_eq!(e.errno(), Errno::ACCES, "{e}");
                granted.send_number(0);
            }
        }
    })
    .succeeds();
    granted.number() == 1
}

/// Status and access agree: both are the old ones or the new ones.
fn setting(run: &Run, kind: Kind, old: (u32, u32), new: (u32, u32)) {
    // SAFETY: cannot fail.
    let (euid, egid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let real = |uid: u32| if uid == 0 { euid } else { uid };
    let seen = Cell::new(None);
    open_to_all(run.directory());
    Case {
        kind,
        setup: &|ns| {
            let id = Segment::open_or_create(ns, KEY, 100).unwrap().id();
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
    }
    .run(run);
}

fn set_mode(run: &Run) {
    setting(run, Kind::Private, (0, 0o600), (0, 0o660));
    setting(run, Kind::Shared, (0, 0o600), (0, 0o666));
}

fn set_mode_closed(run: &Run) {
    setting(run, Kind::Shared, (0, 0o666), (0, 0o600));
}

fn set_owner(run: &Run) {
    if !is_root() {
        println!("skipped: only root may give segments away");
        return;
    }
    setting(run, Kind::Shared, (0, 0o600), (1234, 0o600));
}

fn set_owner_again(run: &Run) {
    if !is_root() {
        println!("skipped: only root may give segments away");
        return;
    }
    setting(run, Kind::Shared, (1234, 0o600), (5678, 0o600));
    setting(run, Kind::Shared, (1234, 0o660), (0, 0o600));
}

/// The process that repairs belongs to another user, and cannot access the victim's private
/// objects.
fn another_user_takes_over(run: &Run) {
    if !is_root() {
        println!("skipped: only root can become other users");
        return;
    }
    open_to_all(run.directory());
    Scenario {
        kind: Kind::Shared,
        setup: &|ns| _ = Segment::open_or_create(ns, OTHER, OTHER_BYTES).unwrap(),
        process: Some(&|path| {
            become_user(5678);
            let ns = Namespace::open(path).unwrap();
            begin();
            ns.shmget(KEY, 100, libc::IPC_CREAT | libc::IPC_EXCL | 0o666).unwrap();
            finish();
        }),
        check: &|path, _| {
            fork(|| {
                become_user(1234);
                let ns = Namespace::open(path).unwrap();
                consistent(&ns);
                let all = ns.segments().unwrap();
                assert!(all.iter().any(|s| s.stat.key == OTHER && s.stat.size == OTHER_BYTES), "{all:?}");
                let id = ns.shmget(KEY, 0, 0).unwrap_or_else(|e| {
                    assert_eq!((e, completed()), (Errno::NOENT, false));
                    ns.shmget(KEY, 100, libc::IPC_CREAT | 0o666).unwrap()
                });
                whole(&ns, id, KEY, 100, 0o666, true);
                assert_eq!(ns.shmget(OTHER, 0, 0o600), Err(Errno::ACCES));
                consistent(&ns);
            })
            .succeeds();
            fork(|| assert_eq!(Namespace::open(path).unwrap().segments().unwrap().len(), 2)).succeeds();
        },
        clear: &clear_all,
        ..Scenario::default()
    }
    .run(run);
}
