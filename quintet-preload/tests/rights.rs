//! A thread's rights are asked for again when the program changes them.
//!
//! # Safety
//!
//! Numbers, and pointers to locals; the children of `fork` have one thread.
#![allow(unsafe_code)]

mod support;

use libc::{EACCES, c_int, gid_t, uid_t};
use support::*;

const SOMEBODY: uid_t = 65533;
const SOME_GROUP: gid_t = 65532;

/// A call that changes rights must succeed.
#[track_caller]
fn done(ret: c_int) {
    assert_eq!(ret, 0, "{}", std::io::Error::last_os_error());
}

/// Runs `body` as root in a child, which ends well.
fn as_root(name: &str, body: impl Fn()) {
    preloaded(name, || {
        if !is_root() {
            return println!("skipped: not root");
        }
        assert_eq!(end(fork(body)), 0);
    });
}

fn alters(id: c_int) -> c_int {
    operate(id, op(0, 1, 0))
}

#[test]
fn another_user() {
    as_root("another_user", || {
        let id = set(1, 0o600);
        // SAFETY: see the module.
        let ways: [fn() -> c_int; 7] = unsafe {
            [
                || libc::syscall(libc::SYS_setuid, SOMEBODY) as c_int,
                || libc::syscall(libc::SYS_setreuid, SOMEBODY, SOMEBODY) as c_int,
                || libc::syscall(libc::SYS_setresuid, SOMEBODY, SOMEBODY, SOMEBODY) as c_int,
                || libc::setuid(SOMEBODY),
                || libc::seteuid(SOMEBODY),
                || libc::setreuid(SOMEBODY, SOMEBODY),
                || libc::setresuid(SOMEBODY, SOMEBODY, SOMEBODY),
            ]
        };
        for change in ways {
            let child = fork(|| {
                assert_eq!((alters(id), alters(id)), (0, 0));
                done(change());
                assert_eq!((alters(id), alters(id)), (EACCES, EACCES));
            });
            assert_eq!(end(child), 0);
        }
        // SAFETY: see the module.
        unsafe {
            done(libc::seteuid(SOMEBODY));
            assert_eq!(alters(id), EACCES);
            done(libc::seteuid(0));
            assert_eq!(alters(id), 0);
        }
    });
}

#[test]
fn another_group() {
    as_root("another_group", || {
        let id = set(1, 0o060);
        // SAFETY: zeroes are a valid semid_ds.
        let mut ds: libc::semid_ds = unsafe { std::mem::zeroed() };
        (ds.sem_perm.gid, ds.sem_perm.mode) = (SOME_GROUP, 0o060);
        // SAFETY: a local.
        done(unsafe { libc::semctl(id, 0, libc::IPC_SET, &raw const ds) });
        // SAFETY: see the module.
        let ways: [fn(gid_t) -> c_int; 8] = unsafe {
            [
                |group| libc::syscall(libc::SYS_setgid, group) as c_int,
                |group| libc::syscall(libc::SYS_setregid, group, group) as c_int,
                |group| libc::syscall(libc::SYS_setresgid, group, group, group) as c_int,
                |group| libc::syscall(libc::SYS_setgroups, 1, &raw const group) as c_int,
                |group| libc::setegid(group),
                |group| libc::setregid(group, group),
                |group| libc::setresgid(group, group, group),
                |group| libc::setgroups(1, &raw const group),
            ]
        };
        for change in ways {
            let child = fork(|| {
                become_somebody_with_the_right_to_set_groups();
                assert_eq!((alters(id), alters(id)), (EACCES, EACCES));
                done(change(SOME_GROUP));
                assert_eq!((alters(id), alters(id)), (0, 0));
                done(change(SOMEBODY));
                assert_eq!((alters(id), alters(id)), (EACCES, EACCES));
            });
            assert_eq!(end(child), 0);
        }
    });
}

const VERSION: u32 = 0x2008_0522;
const CAP_SETGID: u32 = 6;
const CAP_IPC_OWNER: u32 = 15;

unsafe extern "C" {
    fn capset(header: *const [u32; 2], data: *const [u32; 6]) -> c_int;
}

/// Effective and permitted capabilities from now on.
fn only(capabilities: u32) {
    // SAFETY: two locals as large as version 3 has them.
    done(unsafe { capset(&[VERSION, 0], &[capabilities, capabilities, 0, 0, 0, 0]) });
}

/// Who is in no group of the set's, and has that right alone.
fn become_somebody_with_the_right_to_set_groups() {
    // SAFETY: see the module.
    unsafe {
        done(libc::setgroups(0, std::ptr::null()));
        done(libc::setgid(SOMEBODY));
        done(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0));
        done(libc::setuid(SOMEBODY));
    }
    only(1 << CAP_SETGID);
}

#[test]
fn a_capability() {
    as_root("a_capability", || {
        let id = set(1, 0);
        assert_eq!(alters(id), 0);
        only(1 << CAP_IPC_OWNER);
        assert_eq!(alters(id), 0);
        let child = fork(|| {
            // SAFETY: two locals as large as version 3 has them.
            done(unsafe { libc::syscall(libc::SYS_capset, &[VERSION, 0], &[0u32; 6]) } as c_int);
            assert_eq!(alters(id), EACCES);
        });
        assert_eq!(end(child), 0);
        only(0);
        assert_eq!(alters(id), EACCES);
    });
}

/// Sending and receiving without waiting: 0 or the errno.
fn sends_and_receives(id: c_int) -> (c_int, c_int) {
    let message = [1 as libc::c_long, 7];
    let (at, len) = ((&raw const message) as usize, size_of::<libc::c_long>());
    let sent = send(id, at, len);
    let mut buffer = [0 as libc::c_long; 2];
    let received = receive(id, (&raw mut buffer) as usize, len, 0, 0);
    (sent, if received == len as isize { 0 } else { -received as c_int })
}

#[test]
fn another_user_of_a_queue() {
    as_root("another_user_of_a_queue", || {
        // Others may do nothing; receive; send.
        for (mode, others) in [(0o600, (EACCES, EACCES)), (0o644, (EACCES, libc::ENOMSG)), (0o622, (0, EACCES))] {
            let id = queue(mode);
            assert_eq!((sends_and_receives(id), sends_and_receives(id)), ((0, 0), (0, 0)));
            let child = fork(|| {
                assert_eq!((sends_and_receives(id), sends_and_receives(id)), ((0, 0), (0, 0)));
                // SAFETY: see the module.
                done(unsafe { libc::setuid(SOMEBODY) });
                assert_eq!((sends_and_receives(id), sends_and_receives(id)), (others, others), "{mode:o}");
                // SAFETY: as above.
                assert_eq!(unsafe { libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()) }, -1);
                assert_eq!(errno(), libc::EPERM);
            });
            assert_eq!(end(child), 0);
            // SAFETY: see the module.
            unsafe {
                done(libc::seteuid(SOMEBODY));
                assert_eq!(sends_and_receives(id), others);
                done(libc::seteuid(0));
            }
            // SAFETY: as above.
            done(unsafe { libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()) });
        }
    });
}

/// The functions still do what they do.
#[test]
fn errors_of_the_real_functions() {
    preloaded("errors_of_the_real_functions", || {
        // SAFETY: bad arguments on purpose, which the kernel refuses.
        unsafe {
            assert_eq!((libc::setns(-1, 0), errno()), (-1, libc::EBADF));
            assert_eq!((libc::unshare(0x40), errno()), (-1, libc::EINVAL));
            assert_eq!(libc::unshare(0), 0);
            assert_eq!(libc::setuid(libc::getuid()), 0);
            assert_eq!((libc::seteuid(u32::MAX), errno()), (-1, libc::EINVAL));
        }
    });
}

/// `shmat` for reading and for writing, `IPC_STAT`, `SHM_LOCK`: 0 or the errno.
fn of_segment(id: c_int) -> [c_int; 4] {
    // SAFETY: a local, and addresses that were just returned; zeroes are a valid shmid_ds.
    unsafe {
        let attach = |flags| {
            let at = libc::shmat(id, std::ptr::null(), flags);
            if at as isize == -1 { errno() } else { libc::shmdt(at) }
        };
        let mut ds: libc::shmid_ds = std::mem::zeroed();
        let outcome = |ret| if ret == -1 { errno() } else { 0 };
        let lock = outcome(libc::shmctl(id, libc::SHM_LOCK, std::ptr::null_mut()));
        [attach(libc::SHM_RDONLY), attach(0), outcome(libc::shmctl(id, libc::IPC_STAT, &raw mut ds)), lock]
    }
}

#[track_caller]
fn segment(mode: c_int) -> c_int {
    // Of a small one the memory would stay mapped.
    // SAFETY: numbers only.
    let id = unsafe { libc::shmget(libc::IPC_PRIVATE, 128 << 10, mode) };
    assert!(id >= 0, "shmget: {}", std::io::Error::last_os_error());
    id
}

#[test]
fn another_user_of_a_segment() {
    as_root("another_user_of_a_segment", || {
        // SAFETY: see the module.
        let ways: [fn() -> c_int; 4] = unsafe {
            [
                || libc::setuid(SOMEBODY),
                || libc::seteuid(SOMEBODY),
                || libc::setreuid(0, SOMEBODY),
                || libc::setresuid(0, SOMEBODY, 0),
            ]
        };
        for (mode, others) in [(0o600, [EACCES; 3]), (0o644, [0, EACCES, 0]), (0o666, [0; 3])] {
            let id = segment(mode);
            for change in ways {
                let child = fork(|| {
                    assert_eq!(of_segment(id), [0; 4]);
                    // Attached while it was allowed: stays.
                    // SAFETY: see the module.
                    let kept = unsafe { libc::shmat(id, std::ptr::null(), 0) };
                    done(change());
                    let after = of_segment(id);
                    assert_eq!(after[..3], others, "{mode:o}");
                    assert_eq!(after[3], libc::EPERM);
                    // SAFETY: as above; it is attached.
                    unsafe {
                        kept.cast::<u8>().write(1);
                        assert_eq!((libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()), errno()), (-1, libc::EPERM));
                        done(libc::shmdt(kept));
                    }
                });
                assert_eq!(end(child), 0);
            }
            // SAFETY: see the module.
            unsafe {
                done(libc::seteuid(SOMEBODY));
                assert_eq!(of_segment(id)[..3], others);
                done(libc::seteuid(0));
            }
            assert_eq!(of_segment(id), [0; 4]);
        }
    });
}

/// Groups, also one of many, count for segments and queues as they do for sets.
#[test]
fn another_group_of_a_segment_and_a_queue() {
    as_root("another_group_of_a_segment_and_a_queue", || {
        let (segment, queue) = (segment(0o060), queue(0o060));
        // SAFETY: zeroes are valid structures; locals.
        unsafe {
            let mut ds: libc::shmid_ds = std::mem::zeroed();
            (ds.shm_perm.gid, ds.shm_perm.mode) = (SOME_GROUP, 0o060);
            done(libc::shmctl(segment, libc::IPC_SET, &raw mut ds));
            let mut ds: libc::msqid_ds = std::mem::zeroed();
            (ds.msg_perm.gid, ds.msg_perm.mode, ds.msg_qbytes) = (SOME_GROUP, 0o060, 1000);
            done(libc::msgctl(queue, libc::IPC_SET, &raw mut ds));
        }
        let many: Vec<gid_t> = (1000..1100).chain([SOME_GROUP]).collect();
        // SAFETY: see the module.
        let ways: [&dyn Fn() -> c_int; 3] = unsafe {
            [&|| libc::setegid(SOME_GROUP), &|| libc::setgroups(1, [SOME_GROUP].as_ptr()), &|| {
                libc::setgroups(many.len(), many.as_ptr())
            }]
        };
        for change in ways {
            let child = fork(|| {
                become_somebody_with_the_right_to_set_groups();
                assert_eq!(of_segment(segment)[..2], [EACCES; 2]);
                assert_eq!(sends_and_receives(queue), (EACCES, EACCES));
                done(change());
                assert_eq!(of_segment(segment)[..3], [0; 3]);
                assert_eq!((sends_and_receives(queue), sends_and_receives(queue)), ((0, 0), (0, 0)));
                // SAFETY: see the module.
                unsafe {
                    done(libc::setgroups(0, std::ptr::null()));
                    done(libc::setegid(SOMEBODY));
                }
                assert_eq!(of_segment(segment)[..2], [EACCES; 2]);
                assert_eq!(sends_and_receives(queue), (EACCES, EACCES));
            });
            assert_eq!(end(child), 0);
        }
    });
}

const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_FOWNER: u32 = 3;
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_RESOURCE: u32 = 24;

/// Another user with these capabilities.
fn become_somebody_with(capabilities: &[u32]) {
    // SAFETY: see the module.
    unsafe {
        done(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0));
        done(libc::setgroups(0, std::ptr::null()));
        done(libc::setgid(SOMEBODY));
        done(libc::setuid(SOMEBODY));
    }
    only(capabilities.iter().fold(0, |all, one| all | 1 << one));
}

/// What `CAP_IPC_OWNER` gives, the files give only to who may pass over their modes, too; or has them mapped, as here the set and the queue.
#[test]
fn capabilities_of_another_user() {
    as_root("capabilities_of_another_user", || {
        let (set, queue, segment) = (set(1, 0o600), queue(0o600), segment(0o600));
        assert_eq!((alters(set), sends_and_receives(queue)), (0, (0, 0)));
        for (capabilities, mapped, opened) in
            [(&[CAP_IPC_OWNER][..], 0, EACCES), (&[CAP_DAC_OVERRIDE], EACCES, EACCES), (&[CAP_IPC_OWNER, CAP_DAC_OVERRIDE], 0, 0)]
        {
            let child = fork(|| {
                become_somebody_with(capabilities);
                assert_eq!(alters(set), mapped, "{capabilities:?}");
                assert_eq!(sends_and_receives(queue), (mapped, mapped), "{capabilities:?}");
                assert_eq!(of_segment(segment)[..2], [opened; 2], "{capabilities:?}");
                only(0);
                assert_eq!((alters(set), sends_and_receives(queue)), (EACCES, (EACCES, EACCES)));
                assert_eq!(of_segment(segment)[..2], [EACCES; 2]);
            });
            assert_eq!(end(child), 0);
        }
    });
}

/// `CAP_SYS_ADMIN` removes what is another's, where the files let it.
#[test]
fn a_capability_to_remove() {
    as_root("a_capability_to_remove", || {
        for (capabilities, expected) in
            [(&[CAP_IPC_OWNER, CAP_DAC_OVERRIDE][..], libc::EPERM), (&[CAP_SYS_ADMIN, CAP_DAC_OVERRIDE, CAP_FOWNER], 0)]
        {
            let (set, queue, segment) = (set(1, 0o600), queue(0o600), segment(0o600));
            let child = fork(|| {
                become_somebody_with(capabilities);
                // SAFETY: see the module.
                unsafe {
                    let outcome = |ret| if ret == -1 { errno() } else { 0 };
                    let removed = [
                        outcome(libc::shmctl(segment, libc::IPC_RMID, std::ptr::null_mut())),
                        outcome(libc::semctl(set, 0, libc::IPC_RMID)),
                        outcome(libc::msgctl(queue, libc::IPC_RMID, std::ptr::null_mut())),
                    ];
                    assert_eq!(removed, [expected; 3], "{capabilities:?}");
                }
            });
            assert_eq!(end(child), 0);
            assert_eq!(alters(set), if expected == 0 { libc::EINVAL } else { 0 });
        }
    });
}

/// Whether this process has a capability.
fn has(capability: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap() >> capability & 1 != 0
}

#[test]
fn a_capability_for_more_room() {
    as_root("a_capability_for_more_room", || {
        let id = queue(0o600);
        let more = || {
            // SAFETY: a local; zeroes are a valid msqid_ds.
            unsafe {
                let mut ds: libc::msqid_ds = std::mem::zeroed();
                assert_eq!(libc::msgctl(id, libc::IPC_STAT, &raw mut ds), 0);
                ds.msg_qbytes = 1 << 20;
                if libc::msgctl(id, libc::IPC_SET, &raw mut ds) == -1 { errno() } else { 0 }
            }
        };
        let privileged = has(CAP_SYS_RESOURCE);
        assert_eq!(more(), if privileged { 0 } else { libc::EPERM });
        if !privileged {
            println!("skipped in part: no CAP_SYS_RESOURCE");
        }
        only(0);
        assert_eq!(more(), libc::EPERM);
    });
}

#[test]
fn a_capability_to_lock() {
    as_root("a_capability_to_lock", || {
        let id = segment(0o600);
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a local.
        done(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const none) });
        if has(CAP_IPC_LOCK) {
            only(1 << CAP_IPC_LOCK);
            assert_eq!(of_segment(id)[3], 0);
        }
        only(0);
        assert_eq!(of_segment(id)[3], libc::EPERM);
    });
}
