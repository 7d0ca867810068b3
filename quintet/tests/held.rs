//! The lock of a set or a queue is held by somebody who lives and does not go on: who asked for a time, or may be interrupted, does not wait for him.

use crash::support;

use quintet::{Errno, Key, Kind, MsgFlags, Namespace, SemFlags, SemOp};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use support::{
    Child, End, LOCK, QUEUE_LOCK, SET_LOCK, Signpost, Window, alarm_every, alone, exit, fork, lock_word_of, on_alarm, until,
};

const KEY: Key = Key::new(0x4e1d);
const CREATE: i32 = libc::IPC_CREAT | 0o600;
const SOON: Option<Duration> = Some(Duration::from_millis(1));
const NOWAIT: MsgFlags = MsgFlags::NOWAIT;

const QUEUE_DAMAGED: usize = 120;

/// Somebody who takes part and sleeps; and the word of a lock that he holds.
fn holder(path: &Path) -> (Child, u32) {
    let ready = Signpost::new();
    let child = fork(|| {
        let ns = Namespace::open(path).unwrap();
        let set = ns.semget(Key::PRIVATE, 1, CREATE).unwrap().raw();
        ns.semtimedop(set, &[SemOp::new(0, 1).flags(SemFlags::UNDO)], None).unwrap();
        ready.tell(1);
        support::sleep_for_ever();
    });
    ready.wait();
    let word = lock_word_of(path, child.pid);
    (child, word)
}

/// A call of a process of its own, into which signals come all the time if `alarmed`.
fn caller(path: &Path, alarmed: bool, call: impl FnOnce(&Namespace) -> Result<(), Errno>) -> Child {
    fork(|| {
        let ns = Namespace::open(path).unwrap();
        if alarmed {
            on_alarm();
            alarm_every(Duration::from_millis(2));
        }
        let answer = call(&ns);
        alarm_every(Duration::ZERO);
        exit(answer.map_or_else(Errno::raw, |()| 0))
    })
}

/// It sleeps, and has slept that often.
fn until_asleep(child: &Child, times: u32) {
    let sleeps = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse::<u32>().unwrap()
    };
    until("it has slept", || sleeps() >= times);
    assert!(!child.has_ended());
}

#[test]
fn a_sets() {
    alone("a_sets", |directory| {
        let path = directory.join("ns");
        let ns = Namespace::create(&path, Kind::Private).unwrap();
        let id = ns.semget(KEY, 2, CREATE).unwrap().raw();
        let (held_by, word) = holder(&path);
        let file = Window::open(&path.join("sem/0"), 0, 4096).unwrap();
        file.word(SET_LOCK).store(word, SeqCst);
        let take = |timeout| move |ns: &Namespace| ns.semtimedop(id, &[SemOp::new(0, -1)], timeout);
        assert_eq!(caller(&path, false, take(SOON)).end(), End::Exit(Errno::AGAIN.raw()));
        assert_eq!(caller(&path, true, take(None)).end(), End::Exit(Errno::INTR.raw()));
        // Ten operations need the lock; none of these would ever wait for others.
        let many = |flags| move |ns: &Namespace| ns.semtimedop(id, &[SemOp::new(1, 1).flags(flags); 10], None);
        let add = caller(&path, true, many(SemFlags::UNDO));
        let try_it = caller(&path, true, move |ns| {
            let ops = [SemOp::new(1, -1000).flags(SemFlags::NOWAIT), SemOp::new(0, 1).flags(SemFlags::UNDO)];
            ns.semtimedop(id, &ops, None)
        });
        until_asleep(&add, 30);
        until_asleep(&try_it, 30);
        file.word(SET_LOCK).store(0, SeqCst);
        assert_eq!(add.end(), End::Exit(0));
        assert_eq!(try_it.end(), End::Exit(Errno::AGAIN.raw()));
        held_by.kill();
    });
}

/// The object that a handler uses.
static USED: OnceLock<(Namespace, i32)> = OnceLock::new();

extern "C" fn nothing(_: i32) {}

/// Calls us, for which the call that it has interrupted is over.
extern "C" fn operates(_: i32) {
    let (ns, id) = USED.get().unwrap();
    assert_eq!(ns.semtimedop(*id, &[SemOp::new(0, -1)], SOON), Err(Errno::AGAIN));
}

extern "C" fn receives(_: i32) {
    let (ns, id) = USED.get().unwrap();
    assert_eq!(ns.msgrcv(*id, &mut [0; 8], 9, MsgFlags::empty(), SOON), Err(Errno::NOMSG));
}

/// A call of a process of its own sleeps; then `hold` has the lock be held, a signal comes if there is a handler, and the call ends, with what is told.
fn sleeper(
    path: &Path,
    id: i32,
    (timeout, handler): (Option<Duration>, Option<extern "C" fn(i32)>),
    call: impl FnOnce(&Namespace, Option<Duration>) -> Result<(), Errno>,
    sleeps: impl Fn() -> bool,
    hold: impl Fn(bool),
) -> End {
    let child = fork(|| {
        let (ns, _) = USED.get_or_init(|| (Namespace::open(path).unwrap(), id));
        handler.inspect(|handler| support::on_signal(libc::SIGALRM, *handler, 0));
        exit(call(ns, timeout).map_or_else(Errno::raw, |()| 0))
    });
    // (On a slow machine, its time may be over before it was seen.)
    until("it waits", || sleeps() || timeout.is_some() && child.has_ended());
    hold(true);
    handler.inspect(|_| child.signal(libc::SIGALRM));
    assert!(support::ends_within(child.pid, Duration::from_secs(30)), "it hangs");
    hold(false);
    child.end()
}

const IN_TIME: (Option<Duration>, Option<extern "C" fn(i32)>) = (Some(Duration::from_millis(100)), None);

/// Who sleeps already ends in time, by a signal, and by a handler that calls us; what they waited for is not given to them afterwards.
#[test]
fn a_sets_under_sleepers() {
    alone("a_sets_under_sleepers", |directory| {
        let path = directory.join("ns");
        let ns = Namespace::create(&path, Kind::Private).unwrap();
        let id = ns.semget(KEY, 1, CREATE).unwrap().raw();
        let (held_by, word) = holder(&path);
        let lock = Window::open(&path.join("sem/0"), 0, 4096).unwrap();
        let take = |how| {
            let call = |ns: &Namespace, timeout| ns.semtimedop(id, &[SemOp::new(0, -2)], timeout);
            let hold = |held| lock.word(SET_LOCK).store(if held { word } else { 0 }, SeqCst);
            sleeper(&path, id, how, call, || ns.sem_ncnt(id, 0) == Ok(1), hold)
        };
        assert_eq!(take(IN_TIME), End::Exit(Errno::AGAIN.raw()));
        assert_eq!(take((None, Some(nothing))), End::Exit(Errno::INTR.raw()));
        assert_eq!(take((None, Some(operates))), End::Exit(Errno::INTR.raw()));
        assert_eq!((ns.sem_ncnt(id, 0), ns.sem_value(id, 0)), (Ok(0), Ok(0)));
        ns.semtimedop(id, &[SemOp::new(0, 5)], None).unwrap();
        assert_eq!(ns.sem_value(id, 0), Ok(5));
        held_by.kill();
    });
}

#[test]
fn a_queues() {
    alone("a_queues", |directory| {
        let path = directory.join("ns");
        let ns = Namespace::create(&path, Kind::Private).unwrap();
        let id = ns.msgget(KEY, CREATE).unwrap().raw();
        let (held_by, word) = holder(&path);
        let file = Window::open(&path.join("msg/0"), 0, 4096).unwrap();
        file.long(QUEUE_LOCK).store(u64::from(word) | u64::from(held_by.pid as u32) << 32, SeqCst);
        let send = |flags, timeout| move |ns: &Namespace| ns.msgsnd(id, 1, b"hello", flags, timeout);
        let receive = |flags, timeout| move |ns: &Namespace| ns.msgrcv(id, &mut [0; 8], 0, flags, timeout).map(drop);
        let none = MsgFlags::empty();
        assert_eq!(caller(&path, false, send(none, SOON)).end(), End::Exit(Errno::AGAIN.raw()));
        assert_eq!(caller(&path, false, receive(none, SOON)).end(), End::Exit(Errno::NOMSG.raw()));
        assert_eq!(caller(&path, true, send(none, None)).end(), End::Exit(Errno::INTR.raw()));
        assert_eq!(caller(&path, true, receive(none, None)).end(), End::Exit(Errno::INTR.raw()));
        let try_it = caller(&path, true, send(NOWAIT, None));
        until_asleep(&try_it, 30);
        file.long(QUEUE_LOCK).store(0, SeqCst);
        assert_eq!(try_it.end(), End::Exit(0));
        assert_eq!(ns.msg_stat(id).unwrap().messages, 1);
        held_by.kill();
    });
}

/// The same of a queue; what they were to receive goes to others, and what they were to send is not sent.
#[test]
fn a_queues_under_sleepers() {
    alone("a_queues_under_sleepers", |directory| {
        let path = directory.join("ns");
        let ns = Namespace::create(&path, Kind::Private).unwrap();
        let id = ns.msgget(KEY, CREATE).unwrap().raw();
        let (held_by, word) = holder(&path);
        let lock = Window::open(&path.join("msg/0"), 0, 4096).unwrap();
        let waits = || ns.queues().unwrap()[0].waiters.len() == 1;
        let hold = |held| {
            let word = u64::from(word) | u64::from(held_by.pid as u32) << 32;
            lock.long(QUEUE_LOCK).store(if held { word } else { 0 }, SeqCst);
        };
        let receive = |how| {
            let call = |ns: &Namespace, timeout| ns.msgrcv(id, &mut [0; 8], 1, MsgFlags::empty(), timeout).map(drop);
            sleeper(&path, id, how, call, waits, hold)
        };
        let send = |how| {
            let call = |ns: &Namespace, timeout| ns.msgsnd(id, 1, b"in vain", MsgFlags::empty(), timeout);
            sleeper(&path, id, how, call, waits, hold)
        };
        let all = || {
            let mut all = Vec::new();
            ns.peek(id, |_, bytes| {
                all.push(bytes.to_vec());
                true
            })
            .unwrap();
            all
        };
        for handler in [None, Some(nothing as extern "C" fn(i32)), Some(receives)] {
            let (how, errno) = handler.map_or((IN_TIME, Errno::NOMSG), |_| ((None, handler), Errno::INTR));
            assert_eq!(receive(how), End::Exit(errno.raw()));
            if handler.is_none() {
                // Nobody has been told to look.
                lock.word(QUEUE_DAMAGED).store(0, SeqCst);
            }
            ns.msgsnd(id, 1, b"hello", NOWAIT, None).unwrap();
            assert_eq!(all(), [b"hello"]);
            assert_eq!(ns.msgrcv(id, &mut [0; 8], 1, NOWAIT, None), Ok((1, 5)));
        }
        ns.msgsnd(id, 2, &[2; 8000], NOWAIT, None).unwrap();
        ns.msgsnd(id, 2, &[3; 8000], NOWAIT, None).unwrap();
        ns.msgsnd(id, 2, &[4; 384], NOWAIT, None).unwrap();
        for handler in [None, Some(nothing as extern "C" fn(i32)), Some(receives)] {
            let (how, errno) = handler.map_or((IN_TIME, Errno::AGAIN), |_| ((None, handler), Errno::INTR));
            assert_eq!(send(how), End::Exit(errno.raw()));
        }
        lock.word(QUEUE_DAMAGED).store(0, SeqCst);
        for len in [8000, 8000, 384] {
            assert_eq!(ns.msgrcv(id, &mut [0; 8192], 0, NOWAIT, None), Ok((2, len)));
        }
        assert_eq!((all().len(), ns.queues().unwrap()[0].waiters.len()), (0, 0));
        assert_eq!(ns.damaged_queues().unwrap().len(), 0);
        held_by.kill();
    });
}

/// Somebody holds the registry's lock and removes the objects; who has looked at one and waits for that lock to change it is told that it has gone.
#[test]
fn what_is_removed_meanwhile() {
    alone("what_is_removed_meanwhile", |directory| {
        let path = directory.join("ns");
        let ns = Namespace::create(&path, Kind::Private).unwrap();
        let [segment, set, queue] =
            [ns.shmget(KEY, 1, CREATE), ns.semget(KEY, 1, CREATE), ns.msgget(KEY, CREATE)].map(|id| id.unwrap().raw());
        let (held_by, word) = holder(&path);
        let registry = Window::open(&path.join("registry"), 0, 4096).unwrap();
        let heads =
            [("shm/0", 8), ("sem/0", 8), ("msg/0", 72)].map(|(name, at)| (Window::open(&path.join(name), 0, 4096).unwrap(), at));
        registry.word(LOCK).store(word, SeqCst);
        let uid = ns.sem_stat(set).unwrap().perm.uid;
        let callers = [
            caller(&path, false, |ns| ns.shm_set(segment, uid, 0, 0o640)),
            caller(&path, false, |ns| ns.shm_remove(segment)),
            caller(&path, false, |ns| ns.sem_set(set, uid, 0, 0o640)),
            caller(&path, false, |ns| ns.sem_remove(set)),
            caller(&path, false, |ns| ns.msg_set(queue, uid, 0, 0o640, 100)),
            caller(&path, false, |ns| ns.msg_remove(queue)),
        ];
        callers.iter().for_each(|caller| until_asleep(caller, 10));
        let [(segments, at), ..] = &heads;
        segments.long(*at).fetch_and(!(0x1f << 31), SeqCst);
        heads[1..].iter().for_each(|(file, at)| file.word(*at).store(2, SeqCst));
        registry.word(LOCK).store(0, SeqCst);
        callers.into_iter().for_each(|caller| assert_eq!(caller.end(), End::Exit(Errno::INVAL.raw())));
        held_by.kill();
    });
}

/// The same for who has to wait for the lock of the object itself.
#[test]
fn what_is_removed_while_its_lock_is_held() {
    alone("what_is_removed_while_its_lock_is_held", |directory| {
        let path = directory.join("ns");
        let ns = Namespace::create(&path, Kind::Private).unwrap();
        let [set, queue] = [ns.semget(KEY, 1, CREATE), ns.msgget(KEY, CREATE)].map(|id| id.unwrap().raw());
        ns.msgsnd(queue, 1, b"hello", NOWAIT, None).unwrap();
        let (held_by, word) = holder(&path);
        let sets = Window::open(&path.join("sem/0"), 0, 4096).unwrap();
        let queues = Window::open(&path.join("msg/0"), 0, 4096).unwrap();
        let unwanted = fork(|| {
            let ns = Namespace::open(&path).unwrap();
            assert_eq!(ns.semtimedop(set, &[SemOp::new(0, -1)], None), Err(Errno::IDRM));
        });
        until("a call waits", || ns.sem_ncnt(set, 0) == Ok(1));
        sets.word(SET_LOCK).store(word, SeqCst);
        queues.long(QUEUE_LOCK).store(u64::from(word) | u64::from(held_by.pid as u32) << 32, SeqCst);
        let callers = [
            caller(&path, false, |ns| ns.sem_set_value(set, 0, 1)),
            caller(&path, false, |ns| ns.sem_set_values(set, &[1])),
            caller(&path, false, |ns| ns.sem_values(set).map(drop)),
            caller(&path, false, |ns| ns.sem_ncnt(set, 0).map(drop)),
            caller(&path, false, |ns| ns.semtimedop(set, &[SemOp::new(0, 1).flags(SemFlags::UNDO)], None)),
            caller(&path, false, |ns| ns.msgsnd(queue, 1, b"hello", NOWAIT, None)),
            caller(&path, false, |ns| ns.msgrcv(queue, &mut [0; 8], 0, NOWAIT, None).map(drop)),
            caller(&path, false, |ns| ns.peek(queue, |_, _| true)),
        ];
        callers.iter().for_each(|caller| until_asleep(caller, 10));
        sets.word(8).store(2, SeqCst);
        queues.word(72).store(2, SeqCst);
        sets.word(SET_LOCK).store(0, SeqCst);
        queues.long(QUEUE_LOCK).store(0, SeqCst);
        callers.into_iter().for_each(|caller| assert_eq!(caller.end(), End::Exit(Errno::IDRM.raw())));
        // Whoever clears it tells those who wait in it.
        ns.sweep().unwrap();
        unwanted.succeeds();
        held_by.kill();
    });
}
