//! Each system call of each operation fails, with whatever it can fail with: once, and from then on. The operation says so, or does without;
//! whoever comes then finds all as it was before or as it is after, and the operation can be done. And each system call is followed by a signal,
//! whose handler does the same as the operation, or something else: as if another thread had been first.
//!
//! `QUINTET_INJECTED_LOG=1` prints what each failure came to.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code)]

#[path = "injected/inject.rs"]
mod inject;
use crash::support;

use inject::{Call, Ended, Fault, begin, failures, finish, name};
use quintet::{Errno, Key, Kind, MsgFlags, Namespace, SemFlags, SemOp};
use std::fmt::Write;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use support::{End, Signpost, Window, alone, fork, on_signal, shared_words};

const KEY: Key = Key::new(0x1d);
const OTHER: Key = Key::new(0x2d);
const MADE: i32 = libc::IPC_CREAT | 0o600;

type Outcome = Result<(), Errno>;

type Act = fn(&Namespace) -> Outcome;

/// What is tried.
#[derive(Clone, Copy)]
struct Operation<'a> {
    /// In a process of its own that ends before; the namespace is there already.
    setup: &'a dyn Fn(&Namespace),
    /// In the process that does it, before.
    prelude: &'a dyn Fn(&Namespace),
    /// What is done, in a namespace that this process has opened, if `opens`.
    body: &'a dyn Fn(&Path, Option<&Namespace>) -> Outcome,
    /// Whether there is a namespace.
    exists: bool,
    /// Whether it is open.
    opens: bool,
    /// Whether who is told of a failure may find it done all the same, and done whole.
    may_be_done: bool,
    /// What a handler of `SIGUSR1` does.
    handler: Option<Act>,
}

impl Default for Operation<'_> {
    fn default() -> Self {
        Operation {
            setup: &|_| {},
            prelude: &|_| {},
            body: &|_, _| Ok(()),
            exists: true,
            opens: true,
            may_be_done: false,
            handler: None,
        }
    }
}

/// What was found after an operation.
struct Found {
    outcome: Outcome,
    calls: Vec<Call>,
    /// As others see it: then, and when it was done again.
    then: String,
    again: Option<(Outcome, String)>,
    /// Descriptors and mappings of the namespace more than before.
    left: (i32, i32),
    /// What the handler has come to, if it has run.
    handled: Option<Outcome>,
}

/// Of the process that is interrupted: its namespace, what the handler does, and where it says how that ended.
static HANDLER: OnceLock<(Namespace, Act, &AtomicU32)> = OnceLock::new();

extern "C" fn handle(_: i32) {
    let (ns, act, word) = HANDLER.get().unwrap();
    word.store(pack(act(ns)), SeqCst);
}

fn pack(outcome: Outcome) -> u32 {
    outcome.map_or_else(|e| 2 + e.raw() as u32, |()| 1)
}

fn unpack(word: u32) -> Outcome {
    match word {
        0 => panic!("it has said nothing"),
        1 => Ok(()),
        errno => Err(Errno::from_raw(errno as i32 - 2)),
    }
}

/// The descriptors of this process, and its mappings of what is in the directory.
fn held(path: &Path) -> (i32, i32) {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let path = path.to_str().unwrap();
    (descriptors as i32, maps.lines().filter(|line| line.contains(path)).count() as i32)
}

/// What there is in a namespace, as somebody sees it who comes just now: without times, process ids and identifiers; and the names that are left
/// when he has swept it.
fn look(path: &Path) -> String {
    let log = path.with_extension("seen");
    let end = fork(|| {
        let mut text = String::new();
        if let Ok(ns) = Namespace::open(path) {
            describe(&ns, &mut text);
            ns.sweep().unwrap();
            text += &names(path);
        }
        std::fs::write(&log, text).unwrap();
    })
    .end();
    let seen = std::fs::read_to_string(&log).unwrap_or_default();
    let _ = std::fs::remove_file(&log);
    if end != End::Exit(0) {
        return format!("who came then ended by {end:?}");
    }
    seen
}

/// The names in a namespace, but for files that are kept for the next object, and those of its data.
fn names(path: &Path) -> String {
    let mut all: Vec<String> = Vec::new();
    for folder in ["", "key"] {
        for entry in std::fs::read_dir(path.join(folder)).into_iter().flatten().flatten() {
            all.push(entry.path().strip_prefix(path).unwrap().display().to_string());
        }
    }
    all.sort();
    all.join(" ")
}

fn describe(ns: &Namespace, text: &mut String) {
    for segment in ns.segments().unwrap() {
        let stat = segment.stat;
        writeln!(text, "segment {:?} {:?} {:?} {} {}", stat.key, stat.perm, stat.flags, stat.size, stat.nattch).unwrap();
    }
    for set in ns.sets().unwrap() {
        let values: Vec<u16> = set.semaphores.iter().map(|semaphore| semaphore.value).collect();
        let undo: Vec<_> = set.undo.iter().map(|undo| &undo.adjustments).filter(|undo| !undo.is_empty()).collect();
        let (stat, waiters) = (set.stat, set.waiters.len());
        writeln!(text, "set {:?} {:?} {values:?} {undo:?} {waiters}", stat.key, stat.perm).unwrap();
    }
    for queue in ns.queues().unwrap() {
        let (stat, waiters) = (queue.stat, queue.waiters.len());
        writeln!(text, "queue {:?} {:?} {waiters} {} {}", stat.key, stat.perm, stat.bytes, stat.messages).unwrap();
        let tell = |message: quintet::MessageStat, bytes: &[u8]| {
            let sum = bytes.iter().fold(0u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte));
            writeln!(text, " message {} {} {sum}", message.mtype, message.len).is_ok()
        };
        ns.peek(stat.id.raw(), tell).unwrap();
    }
    let (shm, sem, msg) = (ns.shm_usage().unwrap(), ns.sem_usage().unwrap(), ns.msg_usage().unwrap());
    writeln!(text, "{} {} {} {} {} {}", shm.segments, shm.pages, sem.sets, sem.semaphores, msg.queues, msg.messages).unwrap();
}

impl Operation<'_> {
    fn run(&self, path: &Path, kind: Kind, fault: Fault) -> Result<Found, String> {
        if self.exists {
            fork(|| (self.setup)(&Namespace::create(path, kind).unwrap())).succeeds();
        }
        let (words, go) = (shared_words(6), [Signpost::new(), Signpost::new(), Signpost::new()]);
        let ended = inject::run(fault, || {
            let ns = self.opens.then(|| Namespace::open(path).unwrap());
            if let Some(ns) = &ns {
                (self.prelude)(ns);
                if let Some(handler) = self.handler {
                    let _ = HANDLER.set((ns.clone(), handler, &words[4]));
                    on_signal(libc::SIGUSR1, handle, 0);
                }
            }
            let before = held(path);
            begin();
            let outcome = (self.body)(path, ns.as_ref());
            finish();
            let after = held(path);
            words[1].store((after.0 - before.0) as u32, SeqCst);
            words[2].store((after.1 - before.1) as u32, SeqCst);
            words[0].store(pack(outcome), SeqCst);
            go[0].tell(1);
            go[1].wait();
            if outcome.is_err() {
                words[3].store(pack((self.body)(path, ns.as_ref())), SeqCst);
                go[0].tell(1);
                go[2].wait();
            }
        });
        let (child, calls) = match ended {
            Ended::Finished(child, calls) => (child, calls),
            Ended::Badly(why) => return Err(why),
        };
        go[0].wait();
        let outcome = unpack(words[0].load(SeqCst));
        let then = look(path);
        go[1].tell(1);
        let again = outcome.is_err().then(|| {
            go[0].wait();
            let again = (unpack(words[3].load(SeqCst)), look(path));
            go[2].tell(1);
            again
        });
        let end = child.end();
        if end != End::Exit(0) {
            return Err(format!("its process ends by {end:?}"));
        }
        let left = (words[1].load(SeqCst) as i32, words[2].load(SeqCst) as i32);
        let handled = Some(words[4].load(SeqCst)).filter(|word| *word != 0).map(unpack);
        Ok(Found { outcome, calls, then, again, left, handled })
    }
}

/// Whether an operation may say that of a call that has failed with `injected`.
fn makes_sense(said: Errno, injected: i32) -> bool {
    let no_room = [libc::ENOSPC, libc::EMFILE].contains(&injected);
    // Without a descriptor, and without the thread that would have had one.
    let starved = said == Errno::MFILE && injected == libc::ENOMEM;
    said.raw() == injected || said == Errno::NOMEM && no_room || said == Errno::PERM && injected == libc::EACCES || starved
}

/// Every call of the operation fails, one after the other, in each of its ways.
fn inject(test: &str, directory: &Path, kind: Kind, operation: Operation<'_>) {
    let log = std::env::var_os("QUINTET_INJECTED_LOG").is_some();
    let mut runs = 0;
    let mut fresh = || {
        runs += 1;
        directory.join(format!("{test}-{kind:?}-{runs}"))
    };
    let before = {
        let path = fresh();
        let doing_nothing = Operation { body: &|_, _| Ok(()), ..operation };
        let found = doing_nothing.run(&path, kind, Fault::None).unwrap();
        clear(&path);
        found.then
    };
    let path = fresh();
    let healthy = operation.run(&path, kind, Fault::None).unwrap();
    clear(&path);
    assert_eq!(healthy.outcome, Ok(()), "{test}");
    let mut wrong = Vec::new();
    let mut faults = 0;
    for (nth, call) in healthy.calls.iter().enumerate() {
        for &errno in failures(call) {
            let lasts = [libc::ENOMEM, libc::ENOSPC, libc::EIO, libc::EMFILE].contains(&errno) && call.number != libc::SYS_munmap;
            let lasting = lasts.then_some(Fault::FromThen(nth, errno));
            for fault in [Some(Fault::Once(nth, errno)), lasting].into_iter().flatten() {
                let path = fresh();
                let what =
                    format!("{test} {kind:?}: {} ({fault:?}, {})", name(call), Errno::from_raw(errno).name().unwrap_or("?"));
                faults += 1;
                let found = operation.run(&path, kind, fault);
                clear(&path);
                let found = match found {
                    Ok(found) => found,
                    Err(why) => {
                        wrong.push(format!("{what}: {why}"));
                        continue;
                    }
                };
                if log {
                    println!("{what}: {:?}", found.outcome);
                }
                let mut say = |why: String| wrong.push(format!("{what}: {:?}: {why}", found.outcome));
                match found.outcome {
                    Ok(()) if found.then != healthy.then => {
                        say(format!("others see\n{}\ninstead of\n{}", found.then, healthy.then))
                    }
                    Ok(()) => {}
                    Err(e) => {
                        if !makes_sense(e, errno) {
                            say("that is no answer to it".to_owned());
                        }
                        // A namespace that is half furnished is furnished by whoever creates it next.
                        if found.then != before && !(operation.may_be_done && found.then == healthy.then) {
                            say(format!("others see\n{}\ninstead of what was before\n{before}", found.then));
                        }
                        if found.left.0 != 0 || found.left.1 > 0 && found.left.1 > healthy.left.1 {
                            say(format!("it leaves {:?} descriptors and mappings", found.left));
                        }
                        match &found.again {
                            Some((Ok(()), then)) if *then == healthy.then => {}
                            Some((Ok(()), then)) => say(format!("done again others see\n{then}\ninstead of\n{}", healthy.then)),
                            other => say(format!("done again: {:?}", other.as_ref().map(|again| again.0))),
                        }
                    }
                }
                if found.outcome.is_ok() && found.left.0 != healthy.left.0 {
                    say(format!("it leaves {} descriptors", found.left.0));
                }
            }
        }
    }
    println!("{test} {kind:?}: {} system calls, {faults} failures", healthy.calls.len());
    assert!(wrong.is_empty(), "{} of {faults}:\n{}", wrong.len(), wrong.join("\n"));
}

/// After each call of the operation a handler runs. All is then as if it had run after the operation.
fn interrupt(test: &str, directory: &Path, kind: Kind, operation: Operation<'_>) {
    let mut runs = 0;
    let mut run = |operation: Operation<'_>, fault| {
        runs += 1;
        let path = directory.join(format!("{test}-{kind:?}-{runs}"));
        let found = operation.run(&path, kind, fault);
        clear(&path);
        found
    };
    let act = operation.handler.unwrap();
    let body = |path: &Path, ns: Option<&Namespace>| (operation.body)(path, ns).and_then(|()| act(open(ns)));
    let both = run(Operation { body: &body, ..operation }, Fault::None).unwrap();
    let healthy = run(operation, Fault::None).unwrap();
    assert_eq!((both.outcome, healthy.outcome), (Ok(()), Ok(())), "{test}");
    assert!(both.then != healthy.then || both.left != healthy.left, "{test}: what the handler does is not to be seen");
    for (nth, call) in healthy.calls.iter().enumerate() {
        let what = format!("{test} {kind:?}: after {} ({nth})", name(call));
        let found = run(operation, Fault::Interrupted(nth)).unwrap_or_else(|why| panic!("{what}: {why}"));
        assert_eq!((found.outcome, found.handled), (Ok(()), Some(Ok(()))), "{what}");
        assert_eq!(found.then, both.then, "{what}");
        assert_eq!(found.left.0, 0, "{what}: it leaves descriptors");
        // A mapping that was made twice has gone again.
        assert!(found.left.1 <= both.left.1, "{what}: it leaves {} mappings, not {}", found.left.1, both.left.1);
    }
    println!("{test} {kind:?}: {} signals", healthy.calls.len());
}

fn clear(path: &Path) {
    let _ = std::fs::remove_dir_all(path);
}

fn in_both(test: &str, operation: Operation<'_>) {
    alone(test, |directory| {
        for kind in [Kind::Private, Kind::Shared] {
            inject(test, directory, kind, operation);
        }
    });
}

fn open(ns: Option<&Namespace>) -> &Namespace {
    ns.expect("it is open")
}

#[test]
fn opening_a_namespace() {
    let body = |path: &Path, _: Option<&Namespace>| Namespace::open(path).map(drop).map_err(|e| e.errno());
    in_both("opening_a_namespace", Operation { body: &body, opens: false, ..Operation::default() });
}

#[test]
fn creating_a_namespace() {
    alone("creating_a_namespace", |directory| {
        for kind in [Kind::Private, Kind::Shared] {
            let body = |path: &Path, _: Option<&Namespace>| Namespace::create(path, kind).map(drop).map_err(|e| e.errno());
            inject(
                "creating_a_namespace",
                directory,
                kind,
                Operation { body: &body, opens: false, exists: false, may_be_done: true, ..Operation::default() },
            );
        }
    });
}

fn make(ns: &Namespace) -> Outcome {
    ns.shmget(KEY, 9000, MADE).map(drop)
}

#[test]
fn making_a_segment() {
    in_both("making_a_segment", Operation { body: &|_, ns| make(open(ns)), ..Operation::default() });
}

#[test]
fn making_a_segment_again() {
    let prelude = |ns: &Namespace| ns.shm_remove(ns.shmget(OTHER, 9000, MADE).unwrap().raw()).unwrap();
    in_both("making_a_segment_again", Operation { prelude: &prelude, body: &|_, ns| make(open(ns)), ..Operation::default() });
}

fn setup(ns: &Namespace) {
    let id = ns.shmget(KEY, 100_000, MADE).unwrap();
    // SAFETY: nobody else uses it.
    let at = unsafe { ns.shmat(id.raw(), 0, 0) }.unwrap();
    // SAFETY: as above.
    unsafe {
        at.cast::<u8>().write(7);
        ns.shmdt(at as usize).unwrap();
    }
    let set = ns.semget(KEY, 4, MADE).unwrap();
    ns.sem_set_values(set.raw(), &[1, 2, 3, 4]).unwrap();
    let queue = ns.msgget(KEY, MADE).unwrap();
    ns.msgsnd(queue.raw(), 3, b"three", MsgFlags::empty(), None).unwrap();
    ns.msgsnd(queue.raw(), 1, &[5; 8000], MsgFlags::empty(), None).unwrap();
}

fn segment(ns: &Namespace) -> Result<i32, Errno> {
    ns.shmget(KEY, 0, 0).map(|id| id.raw())
}

fn set(ns: &Namespace) -> Result<i32, Errno> {
    ns.semget(KEY, 0, 0).map(|id| id.raw())
}

fn queue(ns: &Namespace) -> Result<i32, Errno> {
    ns.msgget(KEY, 0).map(|id| id.raw())
}

#[test]
fn finding_objects() {
    let body = |_: &Path, ns: Option<&Namespace>| {
        let ns = open(ns);
        segment(ns).and(set(ns)).and(queue(ns)).map(drop)
    };
    in_both("finding_objects", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn attaching() {
    // SAFETY: a place of the kernel's choice.
    let body = |_: &Path, ns: Option<&Namespace>| unsafe { open(ns).shmat(0, 0, 0) }.map(drop);
    in_both("attaching", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn attaching_again() {
    // SAFETY: places of the kernel's choice.
    let attach = |ns: &Namespace| unsafe { ns.shmat(0, 0, 0) }.map(drop);
    let prelude = |ns: &Namespace| (0..2).for_each(|_| attach(ns).unwrap());
    let body = |_: &Path, ns: Option<&Namespace>| attach(open(ns));
    in_both("attaching_again", Operation { setup: &setup, prelude: &prelude, body: &body, ..Operation::default() });
}

/// Where the prelude has attached it.
static AT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

fn attach(ns: &Namespace) {
    // SAFETY: a place of the kernel's choice.
    AT.store(unsafe { ns.shmat(0, 0, 0) }.unwrap() as usize, SeqCst);
}

/// More than the process has room for at first.
const MANY: usize = 32;

fn attach_many(ns: &Namespace) {
    (0..MANY).for_each(|_| attach(ns));
}

#[test]
fn attaching_very_often() {
    // SAFETY: a place of the kernel's choice.
    let body = |_: &Path, ns: Option<&Namespace>| unsafe { open(ns).shmat(0, 0, 0) }.map(drop);
    in_both("attaching_very_often", Operation { setup: &setup, prelude: &attach_many, body: &body, ..Operation::default() });
}

/// This process takes part as one of many: those before it have their slots, and live.
fn crowd(ns: &Namespace) {
    use std::os::fd::AsRawFd;
    const OTHERS: usize = 1000;
    let path = ns.path().unwrap().join("registry");
    let registry = Window::open(&path, 0, 16384 + 32 * OTHERS).unwrap();
    (0..OTHERS).for_each(|slot| registry.word(16384 + 32 * slot + 4).store(1, SeqCst));
    registry.word(16).store(OTHERS as u32, SeqCst);
    let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    // SAFETY: zeroes are a lock; a local. The descriptor stays open.
    unsafe {
        let mut lock: libc::flock = std::mem::zeroed();
        (lock.l_type, lock.l_start, lock.l_len) = (libc::F_WRLCK as i16, 1 << 40, OTHERS as i64);
        assert_eq!(libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock), 0);
    }
    std::mem::forget(file);
    // It takes its slot by using another segment.
    let other = ns.shmget(OTHER, 1, MADE).unwrap().raw();
    // SAFETY: a place of the kernel's choice.
    unsafe { ns.shmat(other, 0, 0) }.unwrap();
}

#[test]
fn attaching_as_one_of_many() {
    // SAFETY: a place of the kernel's choice.
    let body = |_: &Path, ns: Option<&Namespace>| unsafe { open(ns).shmat(0, 0, 0) }.map(drop);
    in_both("attaching_as_one_of_many", Operation { setup: &setup, prelude: &crowd, body: &body, ..Operation::default() });
}

#[test]
fn detaching() {
    // SAFETY: nobody uses it.
    let body = |_: &Path, ns: Option<&Namespace>| unsafe { open(ns).shmdt(AT.load(SeqCst)) };
    in_both("detaching", Operation { setup: &setup, prelude: &attach, body: &body, ..Operation::default() });
}

#[test]
fn detaching_from_a_removed_one() {
    let prelude = |ns: &Namespace| {
        attach(ns);
        ns.shm_remove(0).unwrap();
    };
    // SAFETY: nobody uses it.
    let body = |_: &Path, ns: Option<&Namespace>| unsafe { open(ns).shmdt(AT.load(SeqCst)) };
    in_both("detaching_from_a_removed_one", Operation { setup: &setup, prelude: &prelude, body: &body, ..Operation::default() });
}

#[test]
fn removing_a_segment() {
    let body = |_: &Path, ns: Option<&Namespace>| open(ns).shm_remove(0);
    in_both("removing_a_segment", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn changing_rights() {
    let body = |_: &Path, ns: Option<&Namespace>| {
        let stat = open(ns).shm_stat(0)?.perm;
        open(ns).shm_set(0, stat.uid, stat.gid, 0o640)
    };
    in_both("changing_rights", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn changing_a_sets_rights() {
    let body = |_: &Path, ns: Option<&Namespace>| {
        let stat = open(ns).sem_stat(0)?.perm;
        open(ns).sem_set(0, stat.uid, stat.gid, 0o640)
    };
    in_both("changing_a_sets_rights", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn changing_a_queues_rights() {
    let body = |_: &Path, ns: Option<&Namespace>| {
        let stat = open(ns).msg_stat(0)?;
        open(ns).msg_set(0, stat.perm.uid, stat.perm.gid, 0o640, stat.capacity)
    };
    in_both("changing_a_queues_rights", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn making_a_set() {
    in_both("making_a_set", Operation { body: &|_, ns| open(ns).semget(KEY, 600, MADE).map(drop), ..Operation::default() });
}

#[test]
fn removing_a_set() {
    in_both("removing_a_set", Operation { setup: &setup, body: &|_, ns| open(ns).sem_remove(0), ..Operation::default() });
}

fn semop(ns: &Namespace, ops: &[SemOp]) -> Outcome {
    ns.semtimedop(0, ops, None)
}

#[test]
fn operating_on_semaphores() {
    let body = |_: &Path, ns: Option<&Namespace>| semop(open(ns), &[SemOp::new(0, -1), SemOp::new(1, 3)]);
    in_both("operating_on_semaphores", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn operating_with_undo() {
    let undo = |num, op| SemOp::new(num, op).flags(SemFlags::UNDO);
    let body = |_: &Path, ns: Option<&Namespace>| semop(open(ns), &[undo(0, -1), undo(1, 300)]);
    in_both("operating_with_undo", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn setting_all_values() {
    let body = |_: &Path, ns: Option<&Namespace>| open(ns).sem_set_values(0, &[9, 8, 7, 6]);
    in_both("setting_all_values", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn making_a_queue() {
    in_both("making_a_queue", Operation { body: &|_, ns| open(ns).msgget(KEY, MADE).map(drop), ..Operation::default() });
}

#[test]
fn removing_a_queue() {
    in_both("removing_a_queue", Operation { setup: &setup, body: &|_, ns| open(ns).msg_remove(0), ..Operation::default() });
}

#[test]
fn sending_a_short_message() {
    let body = |_: &Path, ns: Option<&Namespace>| open(ns).msgsnd(0, 2, b"two", MsgFlags::NOWAIT, None);
    in_both("sending_a_short_message", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn sending_a_long_message() {
    let body = |_: &Path, ns: Option<&Namespace>| open(ns).msgsnd(0, 2, &[6; 8192], MsgFlags::NOWAIT, None);
    in_both("sending_a_long_message", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn receiving() {
    let body = |_: &Path, ns: Option<&Namespace>| {
        let mut buffer = vec![0; 10_000];
        open(ns).msgrcv(0, &mut buffer, 1, MsgFlags::NOWAIT, None).map(|got| assert_eq!(got, (1, 8000)))
    };
    in_both("receiving", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn looking_at_all() {
    let body = |_: &Path, ns: Option<&Namespace>| {
        let ns = open(ns);
        ns.segments().map_err(|e| e.errno())?;
        ns.sets()?;
        ns.queues()?;
        ns.participants()?;
        ns.shm_stat(0).map(drop)
    };
    in_both("looking_at_all", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn sweeping() {
    let prelude = |ns: &Namespace| {
        let path = ns.path().unwrap().to_owned();
        fork(|| {
            let ns = Namespace::open(&path).unwrap();
            attach(&ns);
            semop(&ns, &[SemOp::new(0, 5).flags(SemFlags::UNDO)]).unwrap();
        })
        .succeeds();
    };
    let body = |_: &Path, ns: Option<&Namespace>| open(ns).sweep();
    in_both("sweeping", Operation { setup: &setup, prelude: &prelude, body: &body, ..Operation::default() });
}

#[test]
fn setting_limits() {
    let body = |_: &Path, ns: Option<&Namespace>| {
        let mut limits = open(ns).limits()?;
        limits.shmmni = 7;
        open(ns).set_limits(&limits)
    };
    in_both("setting_limits", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn forking_while_attached() {
    let body = |_: &Path, _: Option<&Namespace>| {
        // SAFETY: the child only ends; the process has one thread.
        match unsafe { libc::fork() } {
            0 => support::exit(0),
            -1 => Err(Errno::from_raw(std::io::Error::last_os_error().raw_os_error().unwrap())),
            pid => {
                let mut status = 0;
                // SAFETY: a local.
                while unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {}
                assert_eq!(status, 0);
                Ok(())
            }
        }
    };
    in_both("forking_while_attached", Operation { setup: &setup, prelude: &attach, body: &body, ..Operation::default() });
}

/// What is done in a program that has no descriptor left: by a thread that has a table of its own.
fn starved(body: impl FnOnce() -> Outcome) -> Outcome {
    // SAFETY: locals.
    unsafe {
        let mut before: libc::rlimit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut before), 0);
        let free = libc::dup(1);
        assert!(free > 2);
        libc::close(free);
        let none = libc::rlimit { rlim_cur: free as u64, ..before };
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const none), 0);
        let outcome = body();
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const before), 0);
        outcome
    }
}

#[test]
fn making_a_segment_without_a_descriptor() {
    let body = |_: &Path, ns: Option<&Namespace>| starved(|| make(open(ns)));
    in_both("making_a_segment_without_a_descriptor", Operation { body: &body, ..Operation::default() });
}

#[test]
fn attaching_without_a_descriptor() {
    // SAFETY: a place of the kernel's choice.
    let body = |_: &Path, ns: Option<&Namespace>| starved(|| unsafe { open(ns).shmat(0, 0, 0) }.map(drop));
    in_both("attaching_without_a_descriptor", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn removing_without_a_descriptor() {
    let body = |_: &Path, ns: Option<&Namespace>| starved(|| open(ns).shm_remove(0));
    in_both("removing_without_a_descriptor", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn sending_without_a_descriptor() {
    let body = |_: &Path, ns: Option<&Namespace>| starved(|| open(ns).msgsnd(0, 2, &[6; 8192], MsgFlags::NOWAIT, None));
    in_both("sending_without_a_descriptor", Operation { setup: &setup, body: &body, ..Operation::default() });
}

#[test]
fn removing_what_is_attached() {
    let body = |_: &Path, ns: Option<&Namespace>| open(ns).shm_remove(0);
    in_both("removing_what_is_attached", Operation { setup: &setup, prelude: &attach, body: &body, ..Operation::default() });
}

/// What is done, and by a handler once more, by a process that has only just opened the namespace, and by one that has used it.
#[test]
fn interrupted_after_any_call() {
    // SAFETY: a place of the kernel's choice.
    let attach_it = |ns: &Namespace| unsafe { ns.shmat(0, 0, 0) }.map(drop);
    let undo = |ns: &Namespace| semop(ns, &[SemOp::new(0, 1).flags(SemFlags::UNDO), SemOp::new(3, 300).flags(SemFlags::UNDO)]);
    let send = |ns: &Namespace| ns.msgsnd(0, 2, &[6; 3000], MsgFlags::NOWAIT, None);
    let receive = |ns: &Namespace| ns.msgrcv(0, &mut [0; 10_000], 0, MsgFlags::NOWAIT, None).map(drop);
    let make_all = |ns: &Namespace| {
        let nobodys = Key::PRIVATE;
        ns.shmget(nobodys, 100, MADE).and(ns.semget(nobodys, 2, MADE)).and(ns.msgget(nobodys, MADE)).map(drop)
    };
    let remove_set_and_queue = |ns: &Namespace| ns.sem_remove(0).and(ns.msg_remove(0));
    let look = |ns: &Namespace| ns.sets().and(ns.queues()).and(ns.shm_stat(0)).map(drop);
    let nothing: fn(&Namespace) = |_| {};
    let once: fn(&Namespace) = attach;
    // More than is mapped in one piece.
    let many_messages = |ns: &Namespace| {
        setup(ns);
        (0..2100).for_each(|_| ns.msgsnd(0, 9, b"", MsgFlags::NOWAIT, None).unwrap());
    };
    type Before = fn(&Namespace);
    let shapes: [(&str, Before, Before, Act, Act); 10] = [
        ("attaching first", setup, nothing, attach_it, attach_it),
        ("attaching the second time", setup, once, attach_it, attach_it),
        ("attaching very often", setup, attach_many, attach_it, attach_it),
        ("undo", setup, nothing, undo, undo),
        ("sending", setup, nothing, send, send),
        ("sending to a long queue", many_messages, nothing, send, send),
        ("receiving", setup, nothing, receive, receive),
        ("making", setup, nothing, make_all, make_all),
        ("looking while it is removed", setup, nothing, look, remove_set_and_queue),
        ("making while others are removed", setup, nothing, make_all, remove_set_and_queue),
    ];
    alone("interrupted_after_any_call", |directory| {
        for kind in [Kind::Private, Kind::Shared] {
            for (name, setup, prelude, act, handler) in shapes {
                let body = |_: &Path, ns: Option<&Namespace>| act(open(ns));
                let operation =
                    Operation { setup: &setup, prelude: &prelude, body: &body, handler: Some(handler), ..Operation::default() };
                interrupt(name, directory, kind, operation);
            }
        }
    });
}
