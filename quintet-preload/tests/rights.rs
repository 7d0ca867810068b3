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
        let ways: [fn(gid_t) -> c_int; 4] = unsafe {
            [
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

const CAP_SETGID: u32 = 6;
const CAP_IPC_OWNER: u32 = 15;

unsafe extern "C" {
    fn capset(header: *const [u32; 2], data: *const [u32; 6]) -> c_int;
}

/// Effective and permitted capabilities from now on.
fn only(capabilities: u32) {
    const VERSION: u32 = 0x2008_0522;
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
