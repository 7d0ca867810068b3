//! Files are truncated while a program that has enabled the guard has them mapped.
//!
//! # Safety
//!
//! Mappings made here last until the process exits. Handlers store to an atomic, exit, or map a
//! page in place of a lost one.
#![allow(unsafe_code)]

use crash::support;

use quintet::{Key, Kind, MsgFlags, Namespace, Segment, SemFlags, SemOp};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use support::{Child, End, Signpost, alone, fork};

const CREAT: i32 = libc::IPC_CREAT | 0o600;

fn truncate(file: &Path, len: u64) {
    std::fs::File::options().write(true).open(file).unwrap().set_len(len).unwrap();
}

/// Makes every call and ignores the results.
fn call_everything(ns: &Namespace) {
    let _ = ns.semtimedop(0, &[SemOp::new(0, 1).flags(SemFlags::NOWAIT | SemFlags::UNDO)], None);
    let _ = ns.semtimedop(0, &[SemOp::new(0, -1).flags(SemFlags::NOWAIT), SemOp::new(1, 1).flags(SemFlags::NOWAIT)], None);
    let _ = (ns.sem_values(0), ns.sem_set_values(0, &[1, 2]), ns.sem_stat(0), ns.sets());
    let _ = ns.msgsnd(0, 1, &[1; 5000], MsgFlags::NOWAIT, None);
    let _ = ns.msgrcv(0, &mut [0; 8192], 0, MsgFlags::NOWAIT, None);
    let _ = (ns.msg_stat(0), ns.peek(0, |_, _| true), ns.queues(), ns.repair_queues());
    let _ = (ns.shm_stat(0), ns.segments(), ns.participants(), ns.sweep());
    let _ = ns.shmget(Key::PRIVATE, 100, 0o600).map(|id| ns.shm_remove(id.raw()));
    let _ = ns.semget(Key::PRIVATE, 1, 0o600).map(|id| ns.sem_remove(id.raw()));
    let _ = ns.msgget(Key::PRIVATE, 0o600).map(|id| ns.msg_remove(id.raw()));
}

fn create(path: &Path, kind: Kind) -> Namespace {
    let ns = Namespace::create(path, kind).unwrap();
    assert_eq!(ns.shmget(Key::new(1), 16384, CREAT).unwrap().raw(), 0);
    assert_eq!(ns.semget(Key::new(1), 2, CREAT).unwrap().raw(), 0);
    assert_eq!(ns.msgget(Key::new(1), CREAT).unwrap().raw(), 0);
    for _ in 0..20 {
        ns.msgsnd(0, 1, b"text", MsgFlags::NOWAIT, None).unwrap();
    }
    ns
}

/// Truncates each file to 0 bytes and to one page while a process makes calls.
#[test]
fn a_truncated_file_does_not_kill_a_guarded_program() {
    alone("a_truncated_file_does_not_kill_a_guarded_program", |directory| {
        for kind in [Kind::Private, Kind::Shared] {
            for name in ["namespace", "registry", "shm/0", "shm/0.data", "sem/0", "msg/0", "msg/0.data"] {
                for len in [0, 4096] {
                    let path = directory.join(format!("{kind:?}-{}-{len}", name.replace('/', "-")));
                    let (ready, done, at_it) = (Signpost::new(), support::shared_words(1), Signpost::new());
                    let user = fork(|| {
                        quintet::guard_against_truncation().unwrap();
                        let ns = create(&path, kind);
                        let memory = Segment::open(&ns, Key::new(1)).unwrap().attach().unwrap();
                        memory.write(0, &[7; 16384]).unwrap();
                        ready.post(1);
                        let mut after = 0;
                        while after < 20 {
                            after += done[0].load(SeqCst);
                            call_everything(&ns);
                            let _ = memory.to_vec(0..16384).unwrap();
                            memory.write(16000, b"x").unwrap();
                        }
                        at_it.post(1);
                    });
                    ready.wait();
                    if path.join(name).exists() {
                        truncate(&path.join(name), len);
                    }
                    done[0].store(1, SeqCst);
                    assert_eq!(user.end(), End::Exit(0), "{kind:?}: {name} truncated to {len}");
                }
            }
        }
    });
}

/// Maps a file of the program's own, truncates it and reads the lost page.
fn read_a_lost_page(directory: &Path) {
    let file = directory.join("own");
    std::fs::write(&file, [1; 8192]).unwrap();
    let opened = std::fs::File::options().read(true).write(true).open(&file).unwrap();
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    // SAFETY: the kernel chooses the address.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), 8192, protection, flags, opened.as_raw_fd(), 0) };
    assert_ne!(at, libc::MAP_FAILED);
    LOST.store(at as usize + 4096, SeqCst);
    truncate(&file, 0);
    // SAFETY: mapped; the test is about reading a lost page.
    unsafe { at.cast::<u8>().add(4096).read_volatile() };
}

static LOST: AtomicUsize = AtomicUsize::new(0);
static CAUGHT: AtomicU32 = AtomicU32::new(0);

extern "C" fn map_lost_page(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid `siginfo_t`; the page belongs to this test.
    unsafe {
        assert_eq!((signal, (*info).si_addr() as usize), (libc::SIGBUS, LOST.load(SeqCst)));
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        libc::mmap(LOST.load(SeqCst) as *mut _, 4096, libc::PROT_READ, flags, -1, 0);
    }
    CAUGHT.fetch_add(1, SeqCst);
}

fn catch() {
    // SAFETY: zeroes are an empty sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = map_lost_page as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: points to a local variable.
    assert_eq!(unsafe { libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) }, 0);
}

/// A fault outside of the library's mappings goes to the program's handler, or ends the program.
#[test]
fn faults_of_the_programs_own_mappings_reach_its_handler() {
    alone("faults_of_the_programs_own_mappings_reach_its_handler", |directory| {
        let guarded = |before: fn(), body: &dyn Fn()| -> Child {
            fork(|| {
                before();
                quintet::guard_against_truncation().unwrap();
                quintet::guard_against_truncation().unwrap();
                body();
            })
        };
        let read = || read_a_lost_page(directory);
        let caught = || {
            read();
            assert_eq!(CAUGHT.load(SeqCst), 1);
        };
        // SAFETY: sends a signal to the calling thread.
        let raise = || assert_eq!(unsafe { libc::raise(libc::SIGBUS) }, 0);
        // The Rust runtime has a handler for stack overflows.
        // SAFETY: sets a disposition.
        let default = || assert_ne!(unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) }, libc::SIG_ERR);
        // SAFETY: sets a disposition.
        let ignore = || assert_ne!(unsafe { libc::signal(libc::SIGBUS, libc::SIG_IGN) }, libc::SIG_ERR);
        assert_eq!(guarded(catch, &caught).end(), End::Exit(0));
        assert_eq!(guarded(default, &read).end(), End::Signal(libc::SIGBUS));
        assert_eq!(guarded(default, &raise).end(), End::Signal(libc::SIGBUS));
        assert_eq!(guarded(ignore, &raise).end(), End::Exit(0));
        assert_eq!(guarded(ignore, &read).end(), End::Signal(libc::SIGBUS));
    });
}

/// A file that is too short when it is opened is an error, with or without the guard.
#[test]
fn opening_a_file_that_is_too_short_fails() {
    alone("opening_a_file_that_is_too_short_fails", |directory| {
        for name in ["shm/0", "shm/0.data", "sem/0", "msg/0"] {
            let path = directory.join(name.replace('/', "-"));
            fork(|| _ = create(&path, Kind::Private)).succeeds();
            truncate(&path.join(name), 100);
            fork(|| {
                let ns = Namespace::open(&path).unwrap();
                assert!(Segment::open(&ns, Key::new(1)).and_then(|segment| segment.attach()).is_err() == name.starts_with("shm"));
                assert_eq!(ns.sem_values(0).is_err(), name.starts_with("sem"));
                assert_eq!(ns.msgsnd(0, 1, b"text", MsgFlags::NOWAIT, None).is_err(), name.starts_with("msg"));
                call_everything(&ns);
            })
            .succeeds();
        }
    });
}
