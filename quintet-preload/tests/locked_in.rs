//! The system calls that each call makes after the first use of its object, as documented in
//! docs/system-calls.md. A filter kills the process for any other one.
//!
//! # Safety
//!
//! Calls get numbers, and pointers to a buffer that is large enough for everything read and written
//! there. The children of `fork` have one thread.
#![allow(unsafe_code)]

mod support;

use libc::{c_int, c_long, c_void, sembuf, timespec};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use support::filter::{self, Then};
use support::*;

/// The groups of system calls, named as in the document.
mod asks {
    use libc::*;

    pub const POINTERS: &[c_long] = &[SYS_futex];
    pub const KEY: &[c_long] = &[SYS_readlinkat];
    pub const RIGHTS: &[c_long] = &[SYS_geteuid, SYS_getegid, SYS_getgroups, SYS_capget];
    pub const LOCK: &[c_long] = &[SYS_rt_sigprocmask, SYS_futex, SYS_sched_yield];
    pub const LIFE: &[c_long] = &[SYS_openat, SYS_fcntl, SYS_close, SYS_mmap, SYS_munmap, SYS_tgkill];
    pub const SLEEP: &[c_long] = &[
        SYS_futex,
        SYS_rt_sigprocmask,
        SYS_rt_sigpending,
        SYS_rt_sigaction,
        SYS_sigaltstack,
        SYS_sched_yield,
        SYS_sched_getaffinity,
        SYS_gettid,
    ];
    pub const GROW: &[c_long] = &[SYS_openat, SYS_fstat, SYS_prlimit64, SYS_fallocate, SYS_mmap, SYS_close];
    pub const CREATE: &[c_long] = &[
        SYS_openat,
        SYS_newfstatat,
        SYS_fstat,
        SYS_ftruncate,
        SYS_fallocate,
        SYS_pwrite64,
        SYS_fchmod,
        SYS_linkat,
        SYS_symlinkat,
        SYS_unlinkat,
        SYS_prlimit64,
        SYS_mmap,
        SYS_close,
    ];
    pub const CHANGE: &[c_long] = &[SYS_fchmodat, SYS_removexattr, SYS_setxattr];
    pub const REMOVE: &[c_long] = &[SYS_unlinkat, SYS_mmap, SYS_munmap];
    pub const ATTACH: &[c_long] = &[SYS_mremap, SYS_openat, SYS_fstat, SYS_mmap, SYS_close];
    pub const DETACH: &[c_long] = &[SYS_munmap];
}

use asks::*;

const KEY_VALUE: c_int = 0x7165;
const SHM_LOCK: c_int = 11;
const SHM_UNLOCK: c_int = 12;
const SHM_STAT: c_int = 13;
const SHM_INFO: c_int = 14;
const GETPID: c_int = 11;
const GETZCNT: c_int = 15;
const SEM_STAT: c_int = 18;
const MSG_STAT: c_int = 11;
const MSG_INFO: c_int = 12;
const MSG_EXCEPT: c_int = 0o20000;

unsafe extern "C" {
    fn semtimedop(id: c_int, ops: *mut sembuf, nsops: usize, timeout: *const timespec) -> c_int;
}

/// The objects, and a buffer that is never in the page cache.
struct Scene {
    memory: c_int,
    set: c_int,
    queue: c_int,
    buffer: usize,
}

impl Scene {
    fn new() -> Scene {
        // SAFETY: numbers, and a new mapping.
        unsafe {
            let flags = 0o666 | libc::IPC_CREAT;
            let memory = libc::shmget(KEY_VALUE, PAGE, flags);
            assert_ne!(libc::shmat(memory, std::ptr::null(), 0) as isize, -1);
            let scene = Scene {
                memory,
                set: libc::semget(KEY_VALUE, 3, flags),
                queue: libc::msgget(KEY_VALUE, flags),
                buffer: brink(20),
            };
            assert!(scene.set >= 0 && scene.queue >= 0);
            scene
        }
    }

    fn shm(&self, command: c_int) -> c_int {
        // SAFETY: see the module.
        unsafe { libc::shmctl(self.memory & mask(command, SHM_STAT), command, self.buffer as *mut libc::shmid_ds) }
    }

    fn sem(&self, command: c_int) -> c_int {
        // SAFETY: see the module.
        unsafe { libc::semctl(self.set & mask(command, SEM_STAT), 0, command, self.buffer) }
    }

    fn msg(&self, command: c_int) -> c_int {
        // SAFETY: see the module.
        unsafe { libc::msgctl(self.queue & mask(command, MSG_STAT), command, self.buffer as *mut libc::msqid_ds) }
    }

    /// Performs the operations one by one, from the buffer.
    fn operate(&self, ops: &[sembuf]) -> c_int {
        // SAFETY: see the module.
        let done = |op| unsafe {
            (self.buffer as *mut sembuf).write(op);
            libc::semop(self.set, self.buffer as *mut sembuf, 1)
        };
        ops.iter().map(|op| done(*op)).find(|ret| *ret != 0).unwrap_or(0)
    }

    /// Performs all operations in one call.
    fn operate_at_once(&self, ops: &[sembuf], timeout: *const timespec) -> c_int {
        // SAFETY: see the module.
        unsafe {
            (self.buffer as *mut sembuf).copy_from_nonoverlapping(ops.as_ptr(), ops.len());
            semtimedop(self.set, self.buffer as *mut sembuf, ops.len(), timeout)
        }
    }

    fn send(&self, mtype: c_long, len: usize, flags: c_int) -> c_int {
        // SAFETY: see the module.
        unsafe {
            (self.buffer as *mut c_long).write(mtype);
            libc::msgsnd(self.queue, self.buffer as *const c_void, len, flags)
        }
    }

    fn receive(&self, mtype: c_long, flags: c_int) -> c_int {
        // SAFETY: see the module.
        unsafe { libc::msgrcv(self.queue, self.buffer as *mut c_void, 19 * PAGE, mtype, flags) as c_int }
    }
}

/// Returns the mask for a command that takes an index, the low bits of the identifier.
fn mask(command: c_int, by_index: c_int) -> c_int {
    if command == by_index { 0x7fff } else { -1 }
}

/// A call, its system calls, and a round that leaves everything as it was. The round returns a
/// negative number if anything fails.
struct Call {
    name: &'static str,
    asks: &'static [&'static [c_long]],
    round: fn(&Scene) -> c_int,
}

const fn call(name: &'static str, asks: &'static [&'static [c_long]], round: fn(&Scene) -> c_int) -> Call {
    Call { name, asks, round }
}

/// Returns a different number each time.
fn count() -> usize {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    COUNT.fetch_add(1, Relaxed) % 8
}

/// Returns 0 if the call has failed with the expected error.
fn fails_with(ret: c_int, expected: c_int) -> c_int {
    if ret == -1 && errno() == expected { 0 } else { -1 }
}

// SAFETY: see the module.
const CALLS: &[Call] = &[
    call("shmget", &[KEY, RIGHTS], |_| unsafe { libc::shmget(KEY_VALUE, 0, 0) }),
    call("shmat, shmdt", &[RIGHTS, LIFE, ATTACH, DETACH], |scene| unsafe {
        libc::shmdt(libc::shmat(scene.memory, std::ptr::null(), 0))
    }),
    call("shmat of SHM_RDONLY", &[RIGHTS, LIFE, ATTACH, DETACH], |scene| unsafe {
        libc::shmdt(libc::shmat(scene.memory, std::ptr::null(), libc::SHM_RDONLY))
    }),
    call("shmctl: IPC_STAT", &[RIGHTS, POINTERS, LIFE], |scene| scene.shm(libc::IPC_STAT)),
    call("shmctl: IPC_SET", &[RIGHTS, POINTERS, LIFE, LOCK], |scene| scene.shm(libc::IPC_STAT) | scene.shm(libc::IPC_SET)),
    call("shmctl: SHM_STAT", &[RIGHTS, POINTERS, LIFE], |scene| scene.shm(SHM_STAT)),
    call("shmctl: SHM_INFO", &[POINTERS, &[libc::SYS_newfstatat]], |scene| scene.shm(SHM_INFO)),
    call("shmctl: IPC_INFO", &[POINTERS], |scene| scene.shm(IPC_INFO)),
    call("shmctl: SHM_LOCK, SHM_UNLOCK", &[RIGHTS, LIFE, &[libc::SYS_prlimit64, libc::SYS_mlock2, libc::SYS_munlock]], |scene| {
        scene.shm(SHM_LOCK) | scene.shm(SHM_UNLOCK)
    }),
    call("semget", &[KEY, RIGHTS], |_| unsafe { libc::semget(KEY_VALUE, 0, 0) }),
    call("semop", &[RIGHTS, POINTERS, LOCK, LIFE, GROW], |scene| scene.operate(&[op(0, 1, 0), op(0, -1, 0), op(2, 0, 0)])),
    call("semop with SEM_UNDO", &[RIGHTS, POINTERS, LOCK, LIFE, GROW], |scene| {
        scene.operate(&[op(0, 1, SEM_UNDO), op(0, -1, SEM_UNDO)])
    }),
    call("semop of several", &[RIGHTS, POINTERS, LOCK, LIFE, GROW], |scene| {
        let (up, down) = ([op(0, 1, 0), op(2, 1, SEM_UNDO)], [op(0, -1, 0), op(2, -1, SEM_UNDO)]);
        scene.operate_at_once(&up, std::ptr::null()) | scene.operate_at_once(&down, std::ptr::null())
    }),
    call("semop that fails", &[RIGHTS, POINTERS, LOCK, LIFE, GROW], |scene| {
        fails_with(scene.operate(&[op(0, -1, libc::IPC_NOWAIT as i16)]), libc::EAGAIN)
    }),
    call("semtimedop that waits", &[RIGHTS, POINTERS, LOCK, LIFE, GROW, SLEEP], |scene| {
        let time = timespec { tv_sec: 0, tv_nsec: 2_000_000 };
        fails_with(scene.operate_at_once(&[op(0, -1, 0)], &raw const time), libc::EAGAIN)
    }),
    call("semctl: GETVAL", &[RIGHTS, LOCK, LIFE], |scene| scene.sem(GETVAL)),
    call("semctl: GETPID", &[RIGHTS, LOCK, LIFE], |scene| scene.sem(GETPID)),
    call("semctl: GETNCNT, GETZCNT", &[RIGHTS, LOCK, LIFE], |scene| scene.sem(GETNCNT) | scene.sem(GETZCNT)),
    call("semctl: GETALL", &[RIGHTS, POINTERS, LOCK, LIFE], |scene| scene.sem(GETALL)),
    call("semctl: SETVAL", &[RIGHTS, LOCK, LIFE], |scene| unsafe { libc::semctl(scene.set, 0, SETVAL, 0) }),
    call("semctl: SETALL", &[RIGHTS, POINTERS, LOCK, LIFE], |scene| scene.sem(GETALL) | scene.sem(SETALL)),
    call("semctl: IPC_STAT", &[RIGHTS, POINTERS, LOCK, LIFE], |scene| scene.sem(libc::IPC_STAT)),
    call("semctl: IPC_SET", &[RIGHTS, POINTERS, LOCK, LIFE], |scene| scene.sem(libc::IPC_STAT) | scene.sem(libc::IPC_SET)),
    call("semctl: SEM_STAT", &[RIGHTS, POINTERS, LOCK, LIFE], |scene| scene.sem(SEM_STAT)),
    call("semctl: SEM_INFO, IPC_INFO", &[POINTERS], |scene| scene.sem(SEM_INFO) | scene.sem(IPC_INFO)),
    call("msgget", &[KEY, RIGHTS], |_| unsafe { libc::msgget(KEY_VALUE, 0) }),
    call("msgsnd, msgrcv", &[RIGHTS, POINTERS, LOCK, LIFE, GROW], |scene| scene.send(1, 100, 0) | scene.receive(-1, 0)),
    call("msgsnd, msgrcv of long messages", &[RIGHTS, POINTERS, LOCK, LIFE, GROW], |scene| {
        scene.send(1, 8192, 0) | scene.receive(-1, 0)
    }),
    call("msgrcv of a type", &[RIGHTS, POINTERS, LOCK, LIFE, GROW], |scene| {
        let sent = (2..10).map(|mtype| scene.send(mtype, 10, 0)).min().unwrap_or(-1);
        let received = (3..10).rev().map(|mtype| scene.receive(mtype, 0)).min().unwrap_or(-1);
        sent | received | scene.receive(1, MSG_EXCEPT)
    }),
    call("msgrcv that fails", &[RIGHTS, POINTERS, LOCK, LIFE, GROW], |scene| {
        fails_with(scene.receive(99, libc::IPC_NOWAIT), libc::ENOMSG)
    }),
    call("msgsnd that fails", &[RIGHTS, POINTERS, LOCK, LIFE, GROW], |scene| {
        let full = loop {
            if scene.send(98, 4096, libc::IPC_NOWAIT) != 0 {
                break fails_with(-1, libc::EAGAIN);
            }
        };
        while scene.receive(98, libc::IPC_NOWAIT) >= 0 {}
        full
    }),
    call("msgctl: IPC_STAT", &[RIGHTS, POINTERS, LOCK], |scene| scene.msg(libc::IPC_STAT)),
    call("msgctl: IPC_SET", &[RIGHTS, POINTERS, LOCK], |scene| scene.msg(libc::IPC_STAT) | scene.msg(libc::IPC_SET)),
    call("msgctl: MSG_STAT", &[RIGHTS, POINTERS, LOCK], |scene| scene.msg(MSG_STAT)),
    call("msgctl: MSG_INFO, IPC_INFO", &[POINTERS], |scene| scene.msg(MSG_INFO) | scene.msg(IPC_INFO)),
    call("shmget that creates, IPC_RMID", &[KEY, RIGHTS, LIFE, LOCK, CREATE, REMOVE], |_| unsafe {
        // A different size each time, so that no file can be reused.
        let id = libc::shmget(KEY_VALUE + 1, 20 * PAGE + count() * PAGE, 0o600 | libc::IPC_CREAT);
        id | libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut())
    }),
    call("semget that creates, semop, IPC_RMID", &[KEY, RIGHTS, LIFE, LOCK, POINTERS, CREATE, REMOVE], |scene| unsafe {
        let new = Scene { set: libc::semget(KEY_VALUE + 1, 1000, 0o600 | libc::IPC_CREAT), ..*scene };
        new.set | new.operate(&[op(0, 1, 0), op(999, 1, SEM_UNDO)]) | new.sem(libc::IPC_RMID)
    }),
    call("msgget that creates, msgsnd, IPC_RMID", &[KEY, RIGHTS, LIFE, LOCK, POINTERS, CREATE, REMOVE], |scene| unsafe {
        let new = Scene { queue: libc::msgget(KEY_VALUE + 1, 0o600 | libc::IPC_CREAT), ..*scene };
        new.queue | new.send(1, 8192, 0) | new.msg(libc::IPC_RMID)
    }),
    call("IPC_SET of another mode", &[RIGHTS, POINTERS, LOCK, LIFE, CHANGE], |scene| {
        let of_each = [Scene::shm as fn(&Scene, c_int) -> c_int, Scene::sem, Scene::msg];
        let change = |of: fn(&Scene, c_int) -> c_int| {
            // The mode has the same offset in all three structures.
            let mode = (scene.buffer + std::mem::offset_of!(libc::ipc_perm, mode)) as *mut u16;
            let ret = of(scene, libc::IPC_STAT);
            // SAFETY: see the module.
            unsafe { mode.write(mode.read() ^ 0o044) };
            ret | of(scene, libc::IPC_SET)
        };
        of_each.map(change).into_iter().min().unwrap_or(-1)
    }),
    call("ftok", &[&[libc::SYS_statx]], |_| unsafe { libc::ftok(c"/".as_ptr(), 1) }),
];

/// Whether another process uses the objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Peer {
    None,
    Lives,
    /// Killed after the caller has installed its filter.
    Dies,
}

/// Starts a process that is attached, has an undo record, and uses the queue, until it is killed.
fn peer(scene: &Scene) -> i32 {
    let (mut ready, mut ready_writer) = std::io::pipe().unwrap();
    let peer = fork(|| {
        // SAFETY: a new mapping.
        assert_ne!(unsafe { libc::shmat(scene.memory, std::ptr::null(), 0) } as isize, -1);
        assert_eq!(scene.operate(&[op(1, 1, SEM_UNDO)]), 0);
        assert!(scene.send(97, 10, 0) == 0 && scene.receive(97, 0) == 10);
        ready_writer.write_all(b"!").unwrap();
        // SAFETY: waits for a signal.
        unsafe { libc::pause() };
    });
    ready.read_exact(&mut [0]).unwrap();
    peer
}

fn kill(pid: i32) {
    // SAFETY: numbers.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    assert_eq!(end(pid), -libc::SIGKILL);
}

/// Reports the forbidden call in the exit status.
extern "C" fn report_syscall(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    /// The offset of `si_syscall` in `siginfo_t`.
    const SYSCALL: usize = 24;
    // SAFETY: the kernel passes the pointer.
    let number = unsafe { info.byte_add(SYSCALL).cast::<c_int>().read() };
    exit(number);
}

/// Ends the process without cleanup. Its only thread calls this.
fn exit(status: c_int) -> ! {
    loop {
        // SAFETY: a number.
        unsafe { libc::syscall(libc::SYS_exit, status) };
    }
}

/// Installs the filter for these groups.
fn lock_in(asks: &[&[c_long]], then: Then) {
    let mut allowed = vec![libc::SYS_read, libc::SYS_write, libc::SYS_exit, libc::SYS_rt_sigreturn];
    allowed.extend(asks.iter().copied().flatten());
    if cfg!(debug_assertions) {
        // In debug builds the standard library checks that each descriptor is open before it is
        // closed.
        allowed.push(libc::SYS_fcntl);
    }
    // SAFETY: a valid handler; zeroes are a valid sigaction.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        (action.sa_sigaction, action.sa_flags) = (report_syscall as *const () as usize, libc::SA_SIGINFO);
        libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut());
    }
    filter::allow_only(&allowed, then).unwrap();
}

fn is_missing() -> bool {
    let tried = std::thread::spawn(|| filter::forbid(&[], Then::Kill)).join().unwrap();
    tried.inspect_err(|e| println!("skipped: no seccomp: {e}")).is_err()
}

/// Runs rounds of a call in a child that has used every object. The child may then make only the
/// call's system calls, and wait for its parent. Returns how the child ended.
fn rounds(scene: &Scene, call: &Call, peers: Peer, then: Then) -> c_int {
    const ROUNDS: usize = 30;
    let (mut ready, mut ready_writer): (PipeReader, PipeWriter) = std::io::pipe().unwrap();
    let (mut go, mut going) = std::io::pipe().unwrap();
    let peer = (peers != Peer::None).then(|| peer(scene));
    let child = fork(|| {
        for call in CALLS {
            assert!((call.round)(scene) >= 0, "{}", call.name);
        }
        lock_in(call.asks, then);
        let _ = ready_writer.write(b"!");
        let _ = go.read(&mut [0]);
        exit((0..ROUNDS).filter(|_| (call.round)(scene) < 0).count() as c_int);
    });
    ready.read_exact(&mut [0]).unwrap();
    if peers == Peer::Dies {
        peer.into_iter().for_each(kill);
    }
    going.write_all(b"!").unwrap();
    let how = end(child);
    if peers == Peer::Lives {
        peer.into_iter().for_each(kill);
    }
    how
}

#[test]
fn calls_after_first_use_stay_within_their_list() {
    preloaded("calls_after_first_use_stay_within_their_list", || {
        if is_missing() {
            return;
        }
        let scene = Scene::new();
        for peers in [Peer::None, Peer::Lives, Peer::Dies] {
            for call in CALLS {
                let how = rounds(&scene, call, peers, Then::Kill);
                if how == -libc::SIGSYS {
                    // Not every round makes the forbidden call, so this repeats.
                    let number = (0..10).map(|_| rounds(&scene, call, peers, Then::Signal)).find(|n| *n != 0);
                    panic!("{}, {peers:?}: system call {number:?} (modulo 256) is not on the list", call.name);
                }
                assert_eq!(how, 0, "{}, {peers:?}", call.name);
            }
        }
    });
}

/// Two filtered processes wait for each other, sleep, and wake each other.
#[test]
fn filtered_processes_wait_for_each_other() {
    const WAITING: &[&[c_long]] = &[RIGHTS, POINTERS, LOCK, LIFE, GROW, SLEEP];
    const TURNS: usize = 300;
    type Turn = fn(&Scene, usize) -> c_int;
    /// The call of the process with turn 0, and of that with turn 1.
    const WAYS: &[(&str, Turn)] = &[
        ("semop", |scene, turn| scene.operate(&[op(turn as u16, -1, 0), op(1 - turn as u16, 1, 0)])),
        ("msgrcv", |scene, turn| scene.receive(turn as c_long + 1, 0).min(0) | scene.send(2 - turn as c_long, 100, 0)),
        ("msgsnd", |scene, turn| match turn {
            0 => (0..10).map(|_| scene.send(1, 4096, 0)).min().unwrap_or(-1),
            _ => (0..10).map(|_| scene.receive(1, 0).min(0)).min().unwrap_or(-1),
        }),
    ];
    preloaded("filtered_processes_wait_for_each_other", || {
        if is_missing() {
            return;
        }
        for (name, way) in WAYS {
            let scene = Scene::new();
            let player = |turn: usize| {
                let ((mut ready, mut ready_writer), (mut go, going)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
                let player = fork(|| {
                    for call in CALLS {
                        assert!((call.round)(&scene) >= 0, "{}", call.name);
                    }
                    lock_in(WAITING, Then::Kill);
                    let _ = (ready_writer.write(b"!"), go.read(&mut [0]));
                    exit((0..TURNS).filter(|_| way(&scene, turn) < 0).count() as c_int);
                });
                ready.read_exact(&mut [0]).unwrap();
                (player, going)
            };
            // The second process first uses the objects before the first one's turn.
            let ((first, mut go_first), (second, mut go_second)) = (player(0), player(1));
            go_first.write_all(b"!").unwrap();
            until("the first one waits", || waits(first));
            if *name != "msgsnd" {
                assert_eq!(scene.operate(&[op(0, 1, 0)]) | scene.send(1, 100, 0), 0);
            }
            go_second.write_all(b"!").unwrap();
            // If one process fails, the other would wait forever.
            let mut status = 0;
            for _ in 0..2 {
                // SAFETY: a local; there are no other children.
                let ended = unsafe { libc::waitpid(-1, &raw mut status, 0) };
                if status != 0 {
                    kill(if ended == first { second } else { first });
                }
                assert_eq!(status, 0, "{name}");
            }
            // SAFETY: numbers.
            let gone = unsafe { libc::shmctl(scene.memory, libc::IPC_RMID, std::ptr::null_mut()) };
            assert_eq!(gone | scene.sem(libc::IPC_RMID) | scene.msg(libc::IPC_RMID), 0);
        }
    });
}

#[test]
fn peer_is_killed_during_a_wait() {
    preloaded("peer_is_killed_during_a_wait", || {
        if is_missing() {
            return;
        }
        let scene = Scene::new();
        assert_eq!(scene.operate(&[op(0, 1, 0)]), 0);
        let (mut ready, mut ready_writer) = std::io::pipe().unwrap();
        let holder = fork(|| {
            assert_eq!(scene.operate(&[op(0, -1, SEM_UNDO)]), 0);
            ready_writer.write_all(b"!").unwrap();
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        });
        ready.read_exact(&mut [0]).unwrap();
        let waiter = fork(|| {
            assert_eq!(scene.operate(&[op(1, 1, SEM_UNDO), op(1, -1, SEM_UNDO)]), 0);
            lock_in(&[RIGHTS, POINTERS, LOCK, LIFE, GROW, SLEEP], Then::Kill);
            exit(scene.operate(&[op(0, -1, SEM_UNDO)]));
        });
        until("it waits", || waits(waiter));
        kill(holder);
        assert_eq!(end(waiter), 0);
    });
}
