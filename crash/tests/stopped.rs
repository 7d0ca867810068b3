//! A stopped process keeps its locks.
#![cfg(target_arch = "x86_64")]

use crash::support::{End, Stop, Tracee, Watch, alone, begin, fork, until};
use quintet::{Key, Kind, Namespace, Segment};

const KEY: Key = Key::new(0x5eed);
const OTHER: Key = Key::new(0x07e4);
const OTHER_BYTES: u64 = 10_000;

/// A process that is stopped while it holds the lock keeps it. Other processes wait until it
/// continues.
#[test]
fn stopped_owner_keeps_the_lock() {
    alone("stopped_owner_keeps_the_lock", |directory| {
        let path = directory.join("ns");
        fork(|| {
            let ns = Namespace::create(&path, Kind::Private).unwrap();
            Segment::create(&ns, OTHER, OTHER_BYTES).unwrap();
        })
        .succeeds();
        let mut watch = Watch::new(&path);
        let mut tracee = Tracee::start(|| {
            let ns = Namespace::open(&path).unwrap();
            begin();
            ns.shmget(KEY, 100, libc::IPC_CREAT | libc::IPC_EXCL | 0o600).unwrap();
        });
        while watch.lock_word() == 0 {
            assert_eq!(tracee.next(), Stop::Call);
        }
        let owner = watch.lock_word();
        let stopped = tracee.release(libc::SIGSTOP);
        let waiter = fork(|| {
            let ns = Namespace::open(&path).unwrap();
            ns.shmget(Key::new(0x77), 100, libc::IPC_CREAT | libc::IPC_EXCL | 0o600).unwrap();
        });
        const SLEEPERS: u32 = 1 << 31;
        until("a process sleeps on the lock", || watch.lock_word() == owner | SLEEPERS);
        // The waiter checks many times whether the owner is alive, and leaves the lock alone.
        let sleeps = || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", waiter.pid)).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
            line.trim().parse::<u32>().unwrap()
        };
        let before = sleeps();
        until("the waiter has slept 20 times", || sleeps() >= before + 20);
        assert_eq!(watch.lock_word(), owner | SLEEPERS);
        assert!(!crash::support::ends_within(waiter.pid, std::time::Duration::ZERO));
        // Lookup needs no lock.
        fork(|| {
            let ns = Namespace::open(&path).unwrap();
            let id = ns.shmget(OTHER, 0, 0).unwrap();
            assert_eq!(ns.shm_stat(id.raw()).unwrap().size, OTHER_BYTES);
            assert_eq!(ns.shm_usage().unwrap().segments, 1);
        })
        .succeeds();
        assert_eq!(watch.lock_word(), owner | SLEEPERS);
        stopped.signal(libc::SIGCONT);
        assert_eq!(stopped.end(), End::Exit(0));
        waiter.succeeds();
        watch.reopen();
        assert_eq!(watch.lock_word(), 0);
        fork(|| {
            let ns = Namespace::open(&path).unwrap();
            assert_eq!(ns.segments().unwrap().len(), 3);
        })
        .succeeds();
    });
}
