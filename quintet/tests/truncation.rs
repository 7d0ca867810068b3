//! Files that are shortened while they are mapped, under a program that has asked for the guard.
//!
//! # Safety
//!
//! What is mapped here is unmapped with the process; a handler only stores to an atomic, ends the process, or puts a page where one was lost.
#![allow(unsafe_code)]

use crash::support;

use quintet::{Key, Kind, MsgFlags, Namespace, Segment, SemFlags, SemOp};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use support::{Child, End, Signpost, alone, fork};

const CREAT: i32 = libc::IPC_CREAT | 0o600;

fn shorten(file: &Path, len: u64) {
    std::fs::File::options().write(true).open(file).unwrap().set_len(len).unwrap();
}

/// Every call, whatever it says.
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

fn make(path: &Path, kind: Kind) -> Namespace {
    let ns = Namespace::create(path, kind).unwrap();
    assert_eq!(ns.shmget(Key::new(1), 16384, CREAT).unwrap().raw(), 0);
    assert_eq!(ns.semget(Key::new(1), 2, CREAT).unwrap().raw(), 0);
    assert_eq!(ns.msgget(Key::new(1), CREAT).unwrap().raw(), 0);
    for _ in 0..20 {
        ns.msgsnd(0, 1, b"text", MsgFlags::NOWAIT, None).unwrap();
    }
    ns
}

/// Each file, to nothing and to one page, under one who is in the midst of his calls.
#[test]
fn a_shortened_file_does_not_end_a_guarded_program() {
    alone("a_shortened_file_does_not_end_a_guarded_program", |directory| {
        for kind in [Kind::Private, Kind::Shared] {
            for name in ["namespace", "registry", "shm/0", "shm/0.data", "sem/0", "msg/0", "msg/0.data"] {
                for len in [0, 4096] {
                    let path = directory.join(format!("{kind:?}-{}-{len}", name.replace('/', "-")));
                    let (ready, done, at_it) = (Signpost::new(), support::shared_words(1), Signpost::new());
                    let user = fork(|| {
                        quintet::guard_against_truncation().unwrap();
                        let ns = make(&path, kind);
                        let memory = Segment::open(&ns, Key::new(1)).unwrap().attach().unwrap();
                        memory.write(0, &[7; 16384]).unwrap();
                        ready.tell(1);
                        let mut after = 0;
                        while after < 20 {
                            after += done[0].load(SeqCst);
                            call_everything(&ns);
                            let _ = memory.to_vec(0..16384).unwrap();
                            memory.write(16000, b"x").unwrap();
                        }
                        at_it.tell(1);
                    });
                    ready.wait();
                    if path.join(name).exists() {
                        shorten(&path.join(name), len);
                    }
                    done[0].store(1, SeqCst);
                    assert_eq!(user.end(), End::Exit(0), "{kind:?}: {name} shortened to {len}");
                }
            }
        }
    });
}

/// Maps a file of its own, shortens it, and looks.
fn lose_a_page_of_ones_own(directory: &Path) {
    let file = directory.join("own");
    std::fs::write(&file, [1; 8192]).unwrap();
    let opened = std::fs::File::options().read(true).write(true).open(&file).unwrap();
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    // SAFETY: overlaps nothing.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), 8192, protection, flags, opened.as_raw_fd(), 0) };
    assert_ne!(at, libc::MAP_FAILED);
    LOST.store(at as usize + 4096, SeqCst);
    shorten(&file, 0);
    // SAFETY: mapped; that its page is lost is what is tested.
    unsafe { at.cast::<u8>().add(4096).read_volatile() };
}

static LOST: AtomicUsize = AtomicUsize::new(0);
static CAUGHT: AtomicU32 = AtomicU32::new(0);

extern "C" fn mend(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel's; the page is this test's.
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
    action.sa_sigaction = mend as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: a local.
    assert_eq!(unsafe { libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) }, 0);
}

/// What is not ours goes where it went before: to the program's handler, or to its end.
#[test]
fn a_page_of_the_programs_own_is_its_own_affair() {
    alone("a_page_of_the_programs_own_is_its_own_affair", |directory| {
        let guarded = |before: fn(), body: &dyn Fn()| -> Child {
            fork(|| {
                before();
                quintet::guard_against_truncation().unwrap();
                quintet::guard_against_truncation().unwrap();
                body();
            })
        };
        let look = || lose_a_page_of_ones_own(directory);
        let caught = || {
            look();
            assert_eq!(CAUGHT.load(SeqCst), 1);
        };
        // SAFETY: a signal to the calling thread.
        let raise = || assert_eq!(unsafe { libc::raise(libc::SIGBUS) }, 0);
        // The Rust library has a handler for stacks that overflow.
        // SAFETY: a disposition.
        let default = || assert_ne!(unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) }, libc::SIG_ERR);
        // SAFETY: a disposition.
        let ignore = || assert_ne!(unsafe { libc::signal(libc::SIGBUS, libc::SIG_IGN) }, libc::SIG_ERR);
        assert_eq!(guarded(catch, &caught).end(), End::Exit(0));
        assert_eq!(guarded(default, &look).end(), End::Signal(libc::SIGBUS));
        assert_eq!(guarded(default, &raise).end(), End::Signal(libc::SIGBUS));
        assert_eq!(guarded(ignore, &raise).end(), End::Exit(0));
        assert_eq!(guarded(ignore, &look).end(), End::Signal(libc::SIGBUS));
    });
}

/// A file that is shortened already is refused, without a guard.
#[test]
fn a_file_that_is_too_short_is_refused() {
    alone("a_file_that_is_too_short_is_refused", |directory| {
        for name in ["shm/0", "shm/0.data", "sem/0", "msg/0"] {
            let path = directory.join(name.replace('/', "-"));
            fork(|| _ = make(&path, Kind::Private)).succeeds();
            shorten(&path.join(name), 100);
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
