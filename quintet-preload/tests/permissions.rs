//! Cached permissions are discarded when the program changes its credentials.
//!
//! # Safety
//!
//! Calls get numbers, and pointers to locals. The children of `fork` have one thread.
#![allow(unsafe_code)]

mod support;

use libc::{EACCES, c_int, gid_t, uid_t};
use support::*;

const OTHER_USER: uid_t = 65533;
const OTHER_GROUP: gid_t = 65532;

/// Checks that a call that changes credentials has succeeded.
#[track_caller]
fn succeeds(ret: c_int) {
    assert_eq!(ret, 0, "{}", std::io::Error::last_os_error());
}

/// Runs `body` as root in a child, which must exit with 0.
fn as_root(name: &str, body: impl Fn()) {
    preloaded(name, || {
        if !is_root() {
            return println!("skipped: not root");
        }
        assert_eq!(end(fork(body)), 0);
    });
}

fn alter(id: c_int) -> c_int {
    operate(id, op(0, 1, 0))
}

#[test]
fn other_user_of_a_set() {
    as_root("other_user_of_a_set", || {
        let id = set(1, 0o600);
        // SAFETY: see the module.
        let ways: [fn() -> c_int; 7] = unsafe {
            [
                || libc::syscall(libc::SYS_setuid, OTHER_USER) as c_int,
                || libc::syscall(libc::SYS_setreuid, OTHER_USER, OTHER_USER) as c_int,
                || libc::syscall(libc::SYS_setresuid, OTHER_USER, OTHER_USER, OTHER_USER) as c_int,
                || libc::setuid(OTHER_USER),
                || libc::seteuid(OTHER_USER),
                || libc::setreuid(OTHER_USER, OTHER_USER),
                || libc::setresuid(OTHER_USER, OTHER_USER, OTHER_USER),
            ]
        };
        for change in ways {
            let child = fork(|| {
                assert_eq!((alter(id), alter(id)), (0, 0));
                succeeds(change());
                assert_eq!((alter(id), alter(id)), (EACCES, EACCES));
            });
            assert_eq!(end(child), 0);
        }
        // SAFETY: see the module.
        unsafe {
            succeeds(libc::seteuid(OTHER_USER));
            assert_eq!(alter(id), EACCES);
            succeeds(libc::seteuid(0));
            assert_eq!(alter(id), 0);
        }
    });
}

#[test]
fn other_group_of_a_set() {
    as_root("other_group_of_a_set", || {
        let id = set(1, 0o060);
        // SAFETY: zeroes are a valid semid_ds.
        let mut ds: libc::semid_ds = unsafe { std::mem::zeroed() };
        (ds.sem_perm.gid, ds.sem_perm.mode) = (OTHER_GROUP, 0o060);
        // SAFETY: a local.
        succeeds(unsafe { libc::semctl(id, 0, libc::IPC_SET, &raw const ds) });
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
                become_other_user_with_setgid();
                assert_eq!((alter(id), alter(id)), (EACCES, EACCES));
                succeeds(change(OTHER_GROUP));
                assert_eq!((alter(id), alter(id)), (0, 0));
                succeeds(change(OTHER_USER));
                assert_eq!((alter(id), alter(id)), (EACCES, EACCES));
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

/// Sets the effective and permitted capabilities.
fn set_capabilities(capabilities: u32) {
    // SAFETY: two locals as large as version 3 has them.
    succeeds(unsafe { capset(&[VERSION, 0], &[capabilities, capabilities, 0, 0, 0, 0]) });
}

/// Becomes a user outside the set's groups, with `CAP_SETGID` as the only capability.
fn become_other_user_with_setgid() {
    // SAFETY: see the module.
    unsafe {
        succeeds(libc::setgroups(0, std::ptr::null()));
        succeeds(libc::setgid(OTHER_USER));
        succeeds(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0));
        succeeds(libc::setuid(OTHER_USER));
    }
    set_capabilities(1 << CAP_SETGID);
}

#[test]
fn capability_for_a_set() {
    as_root("capability_for_a_set", || {
        let id = set(1, 0);
        assert_eq!(alter(id), 0);
        set_capabilities(1 << CAP_IPC_OWNER);
        assert_eq!(alter(id), 0);
        let child = fork(|| {
            // SAFETY: two locals as large as version 3 has them.
            succeeds(unsafe { libc::syscall(libc::SYS_capset, &[VERSION, 0], &[0u32; 6]) } as c_int);
            assert_eq!(alter(id), EACCES);
        });
        assert_eq!(end(child), 0);
        set_capabilities(0);
        assert_eq!(alter(id), EACCES);
    });
}

/// Sends and receives without waiting. Returns 0 or the error number for each.
fn sends_and_receives(id: c_int) -> (c_int, c_int) {
    let message = [1 as libc::c_long, 7];
    let (at, len) = ((&raw const message) as usize, size_of::<libc::c_long>());
    let sent = send(id, at, len);
    let mut buffer = [0 as libc::c_long; 2];
    let received = receive(id, (&raw mut buffer) as usize, len, 0, 0);
    (sent, if received == len as isize { 0 } else { -received as c_int })
}

#[test]
fn other_user_of_a_queue() {
    as_root("other_user_of_a_queue", || {
        // Other users may do nothing, receive, or send.
        for (mode, others) in [(0o600, (EACCES, EACCES)), (0o644, (EACCES, libc::ENOMSG)), (0o622, (0, EACCES))] {
            let id = queue(mode);
            assert_eq!((sends_and_receives(id), sends_and_receives(id)), ((0, 0), (0, 0)));
            let child = fork(|| {
                assert_eq!((sends_and_receives(id), sends_and_receives(id)), ((0, 0), (0, 0)));
                // SAFETY: see the module.
                succeeds(unsafe { libc::setuid(OTHER_USER) });
                assert_eq!((sends_and_receives(id), sends_and_receives(id)), (others, others), "{mode:o}");
                // SAFETY: as above.
                assert_eq!(unsafe { libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()) }, -1);
                assert_eq!(errno(), libc::EPERM);
            });
            assert_eq!(end(child), 0);
            // SAFETY: see the module.
            unsafe {
                succeeds(libc::seteuid(OTHER_USER));
                assert_eq!(sends_and_receives(id), others);
                succeeds(libc::seteuid(0));
            }
            // SAFETY: as above.
            succeeds(unsafe { libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()) });
        }
    });
}

/// The intercepted functions report the errors of the real ones.
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

/// Tries `shmat` for reading and for writing, `IPC_STAT` and `SHM_LOCK`. Returns 0 or the error
/// number for each.
fn try_segment(id: c_int) -> [c_int; 4] {
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
    // The memory of a small segment would stay mapped. SAFETY: numbers only.
    let id = unsafe { libc::shmget(libc::IPC_PRIVATE, 128 << 10, mode) };
    assert!(id >= 0, "shmget: {}", std::io::Error::last_os_error());
    id
}

#[test]
fn other_user_of_a_segment() {
    as_root("other_user_of_a_segment", || {
        // SAFETY: see the module.
        let ways: [fn() -> c_int; 4] = unsafe {
            [
                || libc::setuid(OTHER_USER),
                || libc::seteuid(OTHER_USER),
                || libc::setreuid(0, OTHER_USER),
                || libc::setresuid(0, OTHER_USER, 0),
            ]
        };
        for (mode, others) in [(0o600, [EACCES; 3]), (0o644, [0, EACCES, 0]), (0o666, [0; 3])] {
            let id = segment(mode);
            for change in ways {
                let child = fork(|| {
                    assert_eq!(try_segment(id), [0; 4]);
                    // An attachment made while it was allowed remains. SAFETY: see the module.
                    let kept = unsafe { libc::shmat(id, std::ptr::null(), 0) };
                    succeeds(change());
                    let after = try_segment(id);
                    assert_eq!(after[..3], others, "{mode:o}");
                    assert_eq!(after[3], libc::EPERM);
                    // SAFETY: as above; the segment is attached.
                    unsafe {
                        kept.cast::<u8>().write(1);
                        assert_eq!((libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()), errno()), (-1, libc::EPERM));
                        succeeds(libc::shmdt(kept));
                    }
                });
                assert_eq!(end(child), 0);
            }
            // SAFETY: see the module.
            unsafe {
                succeeds(libc::seteuid(OTHER_USER));
                assert_eq!(try_segment(id)[..3], others);
                succeeds(libc::seteuid(0));
            }
            assert_eq!(try_segment(id), [0; 4]);
        }
    });
}

/// Groups, even one of many, count for segments and queues as they do for sets.
#[test]
fn other_group_of_a_segment_and_a_queue() {
    as_root("other_group_of_a_segment_and_a_queue", || {
        let (segment, queue) = (segment(0o060), queue(0o060));
        // SAFETY: zeroes are valid structures; locals.
        unsafe {
            let mut ds: libc::shmid_ds = std::mem::zeroed();
            (ds.shm_perm.gid, ds.shm_perm.mode) = (OTHER_GROUP, 0o060);
            succeeds(libc::shmctl(segment, libc::IPC_SET, &raw mut ds));
            let mut ds: libc::msqid_ds = std::mem::zeroed();
            (ds.msg_perm.gid, ds.msg_perm.mode, ds.msg_qbytes) = (OTHER_GROUP, 0o060, 1000);
            succeeds(libc::msgctl(queue, libc::IPC_SET, &raw mut ds));
        }
        let many: Vec<gid_t> = (1000..1100).chain([OTHER_GROUP]).collect();
        // SAFETY: see the module.
        let ways: [&dyn Fn() -> c_int; 3] = unsafe {
            [&|| libc::setegid(OTHER_GROUP), &|| libc::setgroups(1, [OTHER_GROUP].as_ptr()), &|| {
                libc::setgroups(many.len(), many.as_ptr())
            }]
        };
        for change in ways {
            let child = fork(|| {
                become_other_user_with_setgid();
                assert_eq!(try_segment(segment)[..2], [EACCES; 2]);
                assert_eq!(sends_and_receives(queue), (EACCES, EACCES));
                succeeds(change());
                assert_eq!(try_segment(segment)[..3], [0; 3]);
                assert_eq!((sends_and_receives(queue), sends_and_receives(queue)), ((0, 0), (0, 0)));
                // SAFETY: see the module.
                unsafe {
                    succeeds(libc::setgroups(0, std::ptr::null()));
                    succeeds(libc::setegid(OTHER_USER));
                }
                assert_eq!(try_segment(segment)[..2], [EACCES; 2]);
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

/// Becomes another user with these capabilities.
fn become_other_user_with(capabilities: &[u32]) {
    // SAFETY: see the module.
    unsafe {
        succeeds(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0));
        succeeds(libc::setgroups(0, std::ptr::null()));
        succeeds(libc::setgid(OTHER_USER));
        succeeds(libc::setuid(OTHER_USER));
    }
    set_capabilities(capabilities.iter().fold(0, |all, one| all | 1 << one));
}

/// `CAP_IPC_OWNER` is enough for mapped objects, here the set and the queue. Opening a file also
/// needs `CAP_DAC_OVERRIDE`, because files have modes.
#[test]
fn capabilities_of_other_user() {
    as_root("capabilities_of_other_user", || {
        let (set, queue, segment) = (set(1, 0o600), queue(0o600), segment(0o600));
        assert_eq!((alter(set), sends_and_receives(queue)), (0, (0, 0)));
        for (capabilities, mapped, opened) in
            [(&[CAP_IPC_OWNER][..], 0, EACCES), (&[CAP_DAC_OVERRIDE], EACCES, EACCES), (&[CAP_IPC_OWNER, CAP_DAC_OVERRIDE], 0, 0)]
        {
            let child = fork(|| {
                become_other_user_with(capabilities);
                assert_eq!(alter(set), mapped, "{capabilities:?}");
                assert_eq!(sends_and_receives(queue), (mapped, mapped), "{capabilities:?}");
                assert_eq!(try_segment(segment)[..2], [opened; 2], "{capabilities:?}");
                set_capabilities(0);
                assert_eq!((alter(set), sends_and_receives(queue)), (EACCES, (EACCES, EACCES)));
                assert_eq!(try_segment(segment)[..2], [EACCES; 2]);
            });
            assert_eq!(end(child), 0);
        }
    });
}

/// `CAP_SYS_ADMIN` removes objects of another user, if the file modes allow it.
#[test]
fn capability_to_remove() {
    as_root("capability_to_remove", || {
        for (capabilities, expected) in
            [(&[CAP_IPC_OWNER, CAP_DAC_OVERRIDE][..], libc::EPERM), (&[CAP_SYS_ADMIN, CAP_DAC_OVERRIDE, CAP_FOWNER], 0)]
        {
            let (set, queue, segment) = (set(1, 0o600), queue(0o600), segment(0o600));
            let child = fork(|| {
                become_other_user_with(capabilities);
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
            assert_eq!(alter(set), if expected == 0 { libc::EINVAL } else { 0 });
        }
    });
}

/// Returns `true` if this process has a capability.
fn has_capability(capability: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap() >> capability & 1 != 0
}

#[test]
fn capability_to_raise_msg_qbytes() {
    as_root("capability_to_raise_msg_qbytes", || {
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
        let privileged = has_capability(CAP_SYS_RESOURCE);
        assert_eq!(more(), if privileged { 0 } else { libc::EPERM });
        if !privileged {
            println!("skipped in part: no CAP_SYS_RESOURCE");
        }
        set_capabilities(0);
        assert_eq!(more(), libc::EPERM);
    });
}

#[test]
fn capability_to_lock_memory() {
    as_root("capability_to_lock_memory", || {
        let id = segment(0o600);
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a local.
        succeeds(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const none) });
        if has_capability(CAP_IPC_LOCK) {
            set_capabilities(1 << CAP_IPC_LOCK);
            assert_eq!(try_segment(id)[3], 0);
        }
        set_capabilities(0);
        assert_eq!(try_segment(id)[3], libc::EPERM);
    });
}
