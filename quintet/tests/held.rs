//! A live participant holds the lock of a set or a queue and does not release it.
//!
//! Calls with a timeout still time out, and signals still interrupt blocked calls.

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

/// Starts a participant that sleeps. Returns it with the lock word that names it as the holder.
fn start_holder(path: &Path) -> (Child, u32) {
    let ready = Signpost::new();
    let child = fork(|| {
        let ns = Namespace::open(path).unwrap();
        let set = ns.semget(Key::PRIVATE, 1, CREATE).unwrap().raw();
        ns.semtimedop(set, &[SemOp::new(0, 1).flags(SemFlags::UNDO)], None).unwrap();
        ready.post(1);
        support::sleep_for_ever();
    });
    ready.wait();
    let word = lock_word_of(path, child.pid);
    (child, word)
}

/// Runs `call` in a child process, which exits with the error number.
/// If `alarmed`, signals interrupt the call again and again.
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

/// Waits until `child` has gone to sleep `times` times.
fn until_asleep(child: &Child, times: u32) {
    let sleeps = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse::<u32>().unwrap()
    };
    until("the child sleeps often enough", || sleeps() >= times);
    assert!(!child.has_ended());
}

#[test]
fn calls_end_although_the_set_lock_stays_held() {
    alone("calls_end_although_the_set_lock_stays_held", |directory| {
        let path = directory.join("ns");
        let ns = Namespace::create(&path, Kind::Private).unwrap();
        let id = ns.semget(KEY, 2, CREATE).unwrap().raw();
        let (holder, word) = start_holder(&path);
        let file = Window::open(&path.join("sem/0"), 0, 4096).unwrap();
        file.word(SET_LOCK).store(word, SeqCst);
        let take = |timeout| move |ns: &Namespace| ns.semtimedop(id, &[SemOp::new(0, -1)], timeout);
        assert_eq!(caller(&path, false, take(SOON)).end(), End::Exit(Errno::AGAIN.raw()));
        assert_eq!(caller(&path, true, take(None)).end(), End::Exit(Errno::INTR.raw()));
        // Ten operations need the lock. These never block for a value.
        let many = |flags| move |ns: &Namespace| ns.semtimedop(id, &[SemOp::new(1, 1).flags(flags); 10], None);
        let add = caller(&path, true, many(SemFlags::UNDO));
        let try_once = caller(&path, true, move |ns| {
            let ops = [SemOp::new(1, -1000).flags(SemFlags::NOWAIT), SemOp::new(0, 1).flags(SemFlags::UNDO)];
            ns.semtimedop(id, &ops, None)
        });
        until_asleep(&add, 30);
        until_asleep(&try_once, 30);
        file.word(SET_LOCK).store(0, SeqCst);
        assert_eq!(add.end(), End::Exit(0));
        assert_eq!(try_once.end(), End::Exit(Errno::AGAIN.raw()));
        holder.kill();
    });
}

/// The namespace and the object that the signal handlers use.
static USED: OnceLock<(Namespace, i32)> = OnceLock::new();

extern "C" fn nothing(_: i32) {}

/// Calls the library, which ends the interrupted call.
extern "C" fn operates(_: i32) {
    let (ns, id) = USED.get().unwrap();
    assert_eq!(ns.semtimedop(*id, &[SemOp::new(0, -1)], SOON), Err(Errno::AGAIN));
}

extern "C" fn receives(_: i32) {
    let (ns, id) = USED.get().unwrap();
    assert_eq!(ns.msgrcv(*id, &mut [0; 8], 9, MsgFlags::empty(), SOON), Err(Errno::NOMSG));
}

/// Runs `call` in a child process until it sleeps, then locks the object with `hold`. If there is a
/// handler, sends a signal. Returns how the child ends: it must end although the lock stays held.
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
    // On a slow machine, the call may time out before this process sees it sleep.
    until("the call blocks", || sleeps() || timeout.is_some() && child.has_ended());
    hold(true);
    handler.inspect(|_| child.signal(libc::SIGALRM));
    assert!(support::ends_within(child.pid, Duration::from_secs(30)), "it hangs");
    hold(false);
    child.end()
}

const IN_TIME: (Option<Duration>, Option<extern "C" fn(i32)>) = (Some(Duration::from_millis(100)), None);

/// Blocked calls end by a timeout, by a signal, and by a handler that calls the library. They get
/// no units afterwards.
#[test]
fn blocked_operations_end_although_the_set_lock_stays_held() {
    alone("blocked_operations_end_although_the_set_lock_stays_held", |directory| {
        let path = directory.join("ns");
        let ns = Namespace::create(&path, Kind::Private).unwrap();
        let id = ns.semget(KEY, 1, CREATE).unwrap().raw();
        let (holder, word) = start_holder(&path);
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
        holder.kill();
    });
}

#[test]
fn calls_end_although_the_queue_lock_stays_held() {
    alone("calls_end_although_the_queue_lock_stays_held", |directory| {
        let path = directory.join("ns");
        let ns = Namespace::create(&path, Kind::Private).unwrap();
        let id = ns.msgget(KEY, CREATE).unwrap().raw();
        let (holder, word) = start_holder(&path);
        let file = Window::open(&path.join("msg/0"), 0, 4096).unwrap();
        file.long(QUEUE_LOCK).store(u64::from(word) | u64::from(holder.pid as u32) << 32, SeqCst);
        let send = |flags, timeout| move |ns: &Namespace| ns.msgsnd(id, 1, b"hello", flags, timeout);
        let receive = |flags, timeout| move |ns: &Namespace| ns.msgrcv(id, &mut [0; 8], 0, flags, timeout).map(drop);
        let none = MsgFlags::empty();
        assert_eq!(caller(&path, false, send(none, SOON)).end(), End::Exit(Errno::AGAIN.raw()));
        assert_eq!(caller(&path, false, receive(none, SOON)).end(), End::Exit(Errno::NOMSG.raw()));
        assert_eq!(caller(&path, true, send(none, None)).end(), End::Exit(Errno::INTR.raw()));
        assert_eq!(caller(&path, true, receive(none, None)).end(), End::Exit(Errno::INTR.raw()));
        let try_once = caller(&path, true, send(NOWAIT, None));
        until_asleep(&try_once, 30);
        file.long(QUEUE_LOCK).store(0, SeqCst);
        assert_eq!(try_once.end(), End::Exit(0));
        assert_eq!(ns.msg_stat(id).unwrap().messages, 1);
        holder.kill();
    });
}

/// The same for a queue. Messages that the calls wanted go to other receivers, and the calls send
/// nothing.
#[test]
fn blocked_messages_end_although_the_queue_lock_stays_held() {
    alone("blocked_messages_end_although_the_queue_lock_stays_held", |directory| {
        let path = directory.join("ns");
        let ns = Namespace::create(&path, Kind::Private).unwrap();
        let id = ns.msgget(KEY, CREATE).unwrap().raw();
        let (holder, word) = start_holder(&path);
        let lock = Window::open(&path.join("msg/0"), 0, 4096).unwrap();
        let waits = || ns.queues().unwrap()[0].waiters.len() == 1;
        let hold = |held| {
            let word = u64::from(word) | u64::from(holder.pid as u32) << 32;
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
                // No caller has to repair the queue.
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
        holder.kill();
    });
}

/// The holder of the registry's lock removes the objects while other calls wait for that lock.
/// These calls fail with EINVAL.
#[test]
fn calls_that_wait_for_the_registry_fail_if_their_object_is_removed() {
    alone("calls_that_wait_for_the_registry_fail_if_their_object_is_removed", |directory| {
        let path = directory.join("ns");
        let ns = Namespace::create(&path, Kind::Private).unwrap();
        let [segment, set, queue] =
            [ns.shmget(KEY, 1, CREATE), ns.semget(KEY, 1, CREATE), ns.msgget(KEY, CREATE)].map(|id| id.unwrap().raw());
        let (holder, word) = start_holder(&path);
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
        holder.kill();
    });
}

/// The same for calls that wait for the lock of the object. They fail with EIDRM.
#[test]
fn calls_that_wait_for_an_object_lock_fail_if_it_is_removed() {
    alone("calls_that_wait_for_an_object_lock_fail_if_it_is_removed", |directory| {
        let path = directory.join("ns");
        let ns = Namespace::create(&path, Kind::Private).unwrap();
        let [set, queue] = [ns.semget(KEY, 1, CREATE), ns.msgget(KEY, CREATE)].map(|id| id.unwrap().raw());
        ns.msgsnd(queue, 1, b"hello", NOWAIT, None).unwrap();
        let (holder, word) = start_holder(&path);
        let sets = Window::open(&path.join("sem/0"), 0, 4096).unwrap();
        let queues = Window::open(&path.join("msg/0"), 0, 4096).unwrap();
        let blocked = fork(|| {
            let ns = Namespace::open(&path).unwrap();
            assert_eq!(ns.semtimedop(set, &[SemOp::new(0, -1)], None), Err(Errno::IDRM));
        });
        until("a call blocks", || ns.sem_ncnt(set, 0) == Ok(1));
        sets.word(SET_LOCK).store(word, SeqCst);
        queues.long(QUEUE_LOCK).store(u64::from(word) | u64::from(holder.pid as u32) << 32, SeqCst);
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
        // A sweep that clears the set wakes the calls that block in it.
        ns.sweep().unwrap();
        blocked.succeeds();
        holder.kill();
    });
}
