//! Programs in sandboxes: the kernel's System V IPC is forbidden, or the file system is restricted
//! to the namespace or to everything else.
//!
//! # Safety
//!
//! Calls get numbers, and pointers to locals. The children of `fork` have one thread.
#![allow(unsafe_code)]

mod support;

use libc::{EACCES, c_int, c_long, c_void};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use support::filter::{SYSTEM_V, Then};
use support::*;

/// Uses all three mechanisms between processes.
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
    // The adjustment of the killed peer is undone, and its attachment is gone.
    assert_eq!((operate(set, op(0, -1, 0)), attach_count(memory)), (0, 1));
    // SAFETY: attached there, and not used afterwards.
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
fn kernel_ipc_is_forbidden() {
    for then in [Then::Fail(libc::EPERM), Then::Fail(libc::ENOSYS), Then::Kill] {
        let forbid = |command: &mut Command, _: &Path| {
            // SAFETY: the child of fork makes two system calls, and allocates from a heap that
            // nothing else uses there.
            unsafe { command.pre_exec(move || filter::forbid(&SYSTEM_V, then)) };
        };
        preloaded_by("kernel_ipc_is_forbidden", forbid, || {
            // SAFETY: a number.
            assert_eq!(unsafe { libc::prctl(libc::PR_GET_SECCOMP) }, libc::SECCOMP_MODE_FILTER as c_int);
            use_everything();
        });
    }
}

/// The kernel's numbers, which the `libc` crate lacks.
mod landlock {
    use std::ffi::CString;
    use std::io::Error;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    const CREATE_RULESET: libc::c_long = 444;
    const ADD_RULE: libc::c_long = 445;
    const RESTRICT_SELF: libc::c_long = 446;
    const PATH_BENEATH: libc::c_int = 1;
    const EXECUTE: u64 = 1 << 0;
    const READ_FILE: u64 = 1 << 2;
    const READ_DIR: u64 = 1 << 3;
    /// All permissions of the first version.
    pub const EVERYTHING: u64 = (1 << 13) - 1;
    pub const READ: u64 = EXECUTE | READ_FILE | READ_DIR;

    #[repr(C, packed)]
    struct Beneath {
        access: u64,
        parent: libc::c_int,
    }

    /// Restricts the calling process to files beneath those of these paths that exist.
    pub fn restrict(paths: &[(CString, u64)]) -> std::io::Result<()> {
        let check = |ret: libc::c_long| if ret < 0 { Err(Error::last_os_error()) } else { Ok(ret) };
        let handled = EVERYTHING;
        // SAFETY: pointers to locals; descriptors that were just opened, and are closed by the
        // exec.
        unsafe {
            let rules = check(libc::syscall(CREATE_RULESET, &raw const handled, size_of_val(&handled), 0))?;
            for (path, access) in paths {
                let parent = libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
                let rule = Beneath { access: *access, parent };
                if parent >= 0 {
                    check(libc::syscall(ADD_RULE, rules, PATH_BENEATH, &raw const rule, 0))?;
                }
            }
            check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into())?;
            check(libc::syscall(RESTRICT_SELF, rules, 0))?;
        }
        Ok(())
    }

    pub fn is_missing() -> bool {
        const VERSION: libc::c_long = 1;
        // SAFETY: asks for the version.
        let version = unsafe { libc::syscall(CREATE_RULESET, 0, 0, VERSION) };
        if version < 1 {
            println!("skipped: no Landlock: {}", Error::last_os_error());
        }
        version < 1
    }

    pub fn path(path: &Path, access: u64) -> (CString, u64) {
        (CString::new(path.as_os_str().as_bytes()).unwrap(), access)
    }
}

/// Confines a process to the files that a program needs to be loaded, and to `more`.
fn confine(command: &mut Command, more: Option<&Path>) {
    let exe = std::env::current_exe().unwrap();
    let built = exe.parent().and_then(Path::parent).unwrap();
    let mut paths: Vec<_> =
        ["/usr", "/lib", "/lib64", "/etc/ld.so.cache"].map(|path| landlock::path(Path::new(path), landlock::READ)).into();
    paths[3].1 &= !(1 << 3);
    paths.push(landlock::path(built, landlock::READ));
    // The test reads whether a child waits.
    paths.push(landlock::path(Path::new("/proc"), landlock::READ));
    paths.extend(more.map(|namespace| landlock::path(namespace, landlock::EVERYTHING)));
    // SAFETY: as in `kernel_ipc_is_forbidden`.
    unsafe { command.pre_exec(move || landlock::restrict(&paths)) };
}

#[test]
fn only_the_namespace_is_accessible() {
    if landlock::is_missing() {
        return;
    }
    let confined = |command: &mut Command, namespace: &Path| confine(command, Some(namespace));
    preloaded_by("only_the_namespace_is_accessible", confined, || {
        assert_eq!(std::fs::read_dir("/").unwrap_err().raw_os_error(), Some(EACCES));
        use_everything();
        // By keys, twice.
        for _ in 0..2 {
            let flags = 0o600 | libc::IPC_CREAT;
            // SAFETY: numbers only.
            let ids = unsafe { [libc::shmget(7, PAGE, flags), libc::semget(7, 1, flags), libc::msgget(7, flags)] };
            assert!(ids.iter().all(|id| *id >= 0), "{ids:?}: {}", std::io::Error::last_os_error());
            // SAFETY: numbers, and no buffers.
            let gone = unsafe {
                let none = std::ptr::null_mut();
                [
                    libc::shmctl(ids[0], libc::IPC_RMID, none),
                    control(ids[1], 0, libc::IPC_RMID, 0),
                    libc::msgctl(ids[2], libc::IPC_RMID, none as *mut _),
                ]
            };
            assert_eq!(gone, [0; 3]);
        }
    });
}

#[test]
fn namespace_is_inaccessible() {
    if landlock::is_missing() {
        return;
    }
    let confined = |command: &mut Command, _: &Path| confine(command, None);
    preloaded_by("namespace_is_inaccessible", confined, || {
        // SAFETY: numbers only.
        let calls: [fn() -> c_int; 3] = unsafe {
            [
                || libc::shmget(libc::IPC_PRIVATE, PAGE, 0o600),
                || libc::semget(libc::IPC_PRIVATE, 1, 0o600),
                || libc::msgget(libc::IPC_PRIVATE, 0o600),
            ]
        };
        for call in calls {
            assert_eq!((call(), errno()), (-1, EACCES));
        }
    });
}
