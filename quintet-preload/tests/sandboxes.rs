//! Programs in sandboxes: where the kernel's System V IPC is forbidden, where only the namespace may be reached, and where a program has locked
//! itself in after its first use of each object.
//!
//! # Safety
//!
//! Numbers, and pointers to locals; the children of `fork` have one thread.
#![allow(unsafe_code)]

mod support;

use libc::{c_int, c_long, c_void};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use support::filter::{SYSTEM_V, Then};
use support::*;

/// All three mechanisms, between processes.
fn use_everything() {
    let (memory, at) = attached(100);
    let (set, queue) = (set(1, 0o600), queue(0o600));
    let peer = fork(|| {
        assert_eq!(operate(set, op(0, -1, SEM_UNDO)), 0);
        // SAFETY: a word of the segment, which is attached here and in the parent.
        assert_eq!(unsafe { *(at as *const c_int) }, 77);
        let mut buffer = [0 as c_long; 4];
        // SAFETY: a local.
        let n = unsafe { libc::msgrcv(queue, buffer.as_mut_ptr().cast(), 24, 5, 0) };
        assert_eq!((n, buffer[0], buffer[1]), (8, 5, 1234));
        buffer[0] = 6;
        assert_eq!(send(queue, buffer.as_ptr() as usize, 8), 0);
        kill_self();
    });
    until("the peer waits", || waits(peer));
    // SAFETY: as above.
    unsafe { *(at as *mut c_int) = 77 };
    assert_eq!(operate(set, op(0, 1, 0)), 0);
    until("the peer waits for a message", || control(set, 0, GETVAL, 0) == 0 && waits(peer));
    assert_eq!(attach_count(memory), 2);
    let mut message: [c_long; 4] = [5, 1234, 0, 0];
    assert_eq!(send(queue, message.as_ptr() as usize, 8), 0);
    // SAFETY: a local.
    assert_eq!(unsafe { libc::msgrcv(queue, message.as_mut_ptr().cast(), 24, 6, 0) }, 8);
    assert_eq!((message[0], message[1]), (6, 1234));
    assert_eq!(end(peer), -libc::SIGKILL);
    // What it held is taken back, and its attachment is gone.
    assert_eq!((operate(set, op(0, -1, 0)), attach_count(memory)), (0, 1));
    // SAFETY: attached there, and not used any more.
    assert_eq!(unsafe { libc::shmdt(at as *const c_void) }, 0);
    // SAFETY: numbers, and no buffer.
    unsafe {
        assert_eq!(libc::shmctl(memory, libc::IPC_RMID, std::ptr::null_mut()), 0);
        assert_eq!(libc::msgctl(queue, libc::IPC_RMID, std::ptr::null_mut()), 0);
    }
    assert_eq!(control(set, 0, libc::IPC_RMID, 0), 0);
}

fn kill_self() {
    // SAFETY: numbers.
    unsafe { libc::raise(libc::SIGKILL) };
}

#[test]
fn without_the_kernels_own_ipc() {
    for then in [Then::Fail(libc::EPERM), Then::Fail(libc::ENOSYS), Then::Kill] {
        let forbid = |command: &mut Command, _: &Path| {
            // SAFETY: the child of fork makes two system calls, and allocates from a heap that nobody else uses there.
            unsafe { command.pre_exec(move || filter::forbid(&SYSTEM_V, then)) };
        };
        preloaded_by("without_the_kernels_own_ipc", forbid, || {
            // SAFETY: a number.
            assert_eq!(unsafe { libc::prctl(libc::PR_GET_SECCOMP) }, libc::SECCOMP_MODE_FILTER as c_int);
            use_everything();
        });
    }
}
