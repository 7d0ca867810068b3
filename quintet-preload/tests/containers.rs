//! Processes in different PID, mount, user, IPC, UTS and network namespaces of the kernel share a
//! Quintet namespace. They have only its directory in common, under different paths. Each is
//! process 1 of its own PID namespace.
//!
//! # Safety
//!
//! Calls get numbers, and pointers to locals.
#![allow(unsafe_code)]

mod support;

use libc::{EACCES, EAGAIN, EIDRM, EINVAL, c_int, c_long};
use quintet::{Kind, Namespace};
use std::ffi::CString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use support::*;

const KEY: c_int = 0x716b;
/// A user that owns nothing.
const UNPRIVILEGED: u32 = 65534;
/// The variable with the path of the directory outside the container.
const SHARED: &str = "QUINTET_TEST_SHARED";
/// The prefix of an answer, which separates it from other output.
const ANSWER: &str = "answer: ";

/// A process in namespaces of its own, which executes orders.
struct Container {
    unshare: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// The user of a container's process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Identity {
    /// The superuser, in the test's user namespace.
    Root,
    /// The test's user, mapped to root in a new user namespace.
    MappedToRoot,
    /// As before, for an unprivileged user.
    UnprivilegedMappedToRoot,
}

impl Container {
    /// Returns `None` if containers are not available here.
    fn start(test: &str, place: &Path, name: &str, identity: Identity) -> Option<Container> {
        let own = place.join(name);
        std::fs::create_dir_all(&own).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--pid", "--mount", "--ipc", "--uts", "--net", "--fork", "--kill-child", "--mount-proc"]);
        if identity != Identity::Root {
            command.args(["--user", "--map-root-user"]);
        }
        if identity == Identity::UnprivilegedMappedToRoot {
            command.gid(UNPRIVILEGED).uid(UNPRIVILEGED);
        }
        command.arg(std::env::current_exe().unwrap()).args([test, "--exact", "--nocapture", "--test-threads=1"]);
        command.env("LD_PRELOAD", library()).env("QUINTET_NAMESPACE", &own).env(PRELOADED, "1").env(SHARED, place.join("ns"));
        let mut unshare = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let (input, output) = (unshare.stdin.take(), BufReader::new(unshare.stdout.take().unwrap()));
        let mut container = Container { unshare, input, output };
        match container.answer() {
            Some(ready) => {
                assert_eq!(ready, "pid 1");
                Some(container)
            }
            None => {
                println!("skipped: no container for {identity:?} can be made here");
                None
            }
        }
    }

    fn answer(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(answer) = line.trim_end().split(ANSWER).nth(1) {
                return Some(answer.to_owned());
            }
        }
    }

    fn send_order(&mut self, order: &str) {
        writeln!(self.input.as_ref().unwrap(), "{order}").unwrap();
    }

    /// Executes an order. Returns its result, or the negative error number.
    #[track_caller]
    fn ask(&mut self, order: &str) -> i64 {
        self.send_order(order);
        self.number()
    }

    #[track_caller]
    fn number(&mut self) -> i64 {
        self.answer().expect("the container is there").parse().unwrap()
    }

    /// Waits until the process sleeps in its order.
    fn until_waiting(&self, order: &str) {
        let tasks = || {
            let unshare = self.unshare.id();
            let children = std::fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap();
            let tasks = children.split_whitespace().map(|pid| std::fs::read_dir(format!("/proc/{pid}/task")));
            tasks.flatten().flatten().flatten().map(|task| task.path()).collect::<Vec<_>>()
        };
        // The main thread always waits for the test's thread.
        let waits = |task: &Path| {
            let call = std::fs::read_to_string(task.join("syscall")).unwrap_or_default();
            call.split(' ').next().and_then(|number| number.parse().ok()) == Some(libc::SYS_futex)
        };
        until(order, || tasks().len() > 1 && tasks().iter().all(|task| waits(task)));
    }

    /// Kills the process with SIGKILL, as the kernel does when process 1 is killed from outside.
    fn kill(mut self) {
        let unshare = self.unshare.id();
        let pid = std::fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap();
        // SAFETY: numbers.
        let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.trim().parse::<c_int>().unwrap(), 0) } as c_int;
        assert!(process >= 0, "{}", std::io::Error::last_os_error());
        self.unshare.kill().unwrap();
        let mut end = libc::pollfd { fd: process, events: libc::POLLIN, revents: 0 };
        // SAFETY: a local; a descriptor of this function.
        unsafe {
            assert_eq!(libc::poll(&raw mut end, 1, BOUND.as_millis() as c_int), 1);
            libc::close(process);
        }
        self.unshare.wait().unwrap();
        assert_eq!(self.answer(), None);
    }
}

impl Drop for Container {
    /// Lets the process finish.
    fn drop(&mut self) {
        self.input = None;
        if std::thread::panicking() {
            let _ = self.unshare.kill();
        } else {
            while self.answer().is_some() {}
        }
        let _ = self.unshare.wait();
    }
}

/// Runs in the container: executes orders.
fn serve() {
    let (shared, own) = (std::env::var_os(SHARED).unwrap(), std::env::var_os("QUINTET_NAMESPACE").unwrap());
    let path = |path: &std::ffi::OsStr| CString::new(path.as_bytes()).unwrap();
    let none = std::ptr::null();
    // SAFETY: paths that end with NUL.
    let mounted = unsafe { libc::mount(path(&shared).as_ptr(), path(&own).as_ptr(), none, libc::MS_BIND, none.cast()) };
    assert_eq!(mounted, 0, "{}", std::io::Error::last_os_error());
    println!("{ANSWER}pid {}", std::process::id());
    let mut at = 0;
    for order in std::io::stdin().lines() {
        let order = order.unwrap();
        let words: Vec<&str> = order.split(' ').collect();
        let number = |nth: usize| words.get(nth).and_then(|word| word.parse::<i64>().ok()).unwrap_or(0);
        let flags = 0o600 | libc::IPC_CREAT;
        // SAFETY: numbers, locals, and the attached segment.
        let ret: i64 = unsafe {
            match words[0] {
                "shmget" => libc::shmget(KEY, PAGE, flags).into(),
                "semget" => libc::semget(KEY, 2, flags).into(),
                "msgget" => libc::msgget(KEY, flags).into(),
                "shmat" => {
                    at = libc::shmat(number(1) as c_int, std::ptr::null(), 0) as usize;
                    if at == usize::MAX { -1 } else { 0 }
                }
                "shmdt" => libc::shmdt(at as *const _).into(),
                "store" => {
                    (at as *mut i64).write(number(1));
                    0
                }
                "load" => (at as *const i64).read(),
                "nattch" => attach_count(number(1) as c_int) as i64,
                "op" => {
                    let mut one = op(number(2) as u16, number(3) as i16, number(4) as i16);
                    libc::semop(number(1) as c_int, &raw mut one, 1).into()
                }
                "getval" => control(number(1) as c_int, number(2) as c_int, GETVAL, 0).into(),
                "getncnt" => control(number(1) as c_int, number(2) as c_int, GETNCNT, 0).into(),
                "send" => {
                    let message = [number(2), number(3)];
                    libc::msgsnd(number(1) as c_int, message.as_ptr().cast(), 8, number(4) as c_int).into()
                }
                "receive" => {
                    let mut message = [0 as c_long; 2];
                    match libc::msgrcv(
                        number(1) as c_int,
                        message.as_mut_ptr().cast(),
                        8,
                        number(2) as c_long,
                        number(3) as c_int,
                    ) {
                        8 => message[1],
                        _ => -1,
                    }
                }
                "qnum" => content(number(1) as c_int).0 as i64,
                "remove" => {
                    let gone = libc::shmctl(number(1) as c_int, libc::IPC_RMID, std::ptr::null_mut());
                    let gone = gone | control(number(2) as c_int, 0, libc::IPC_RMID, 0);
                    (gone | libc::msgctl(number(3) as c_int, libc::IPC_RMID, std::ptr::null_mut())).into()
                }
                "twin" => twin(number(1) as c_int, number(2) as c_int).into(),
                "hammer" => hammer(number(1) as c_int, number(2) as c_int),
                other => panic!("{other}?"),
            }
        };
        println!("{ANSWER}{}", if ret == -1 { -i64::from(errno()) } else { ret });
    }
}

/// Runs a child that has its parent's process id, in a new PID namespace, and exits without
/// cleanup. Returns 0, or the number of the failed expectation.
fn twin(memory: c_int, set: c_int) -> c_int {
    // SAFETY: numbers.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWPID) }, 0, "{}", std::io::Error::last_os_error());
    let child = fork(|| {
        let expectations = [
            std::process::id() == 1,
            attach_count(memory) == 2,
            operate(set, op(1, -1, SEM_UNDO)) == 0,
            operate(set, op(0, -1, libc::IPC_NOWAIT as i16)) == EAGAIN,
        ];
        let status = expectations.iter().position(|holds| !holds).map_or(0, |nth| nth + 1);
        // SAFETY: ends the process.
        unsafe { libc::syscall(libc::SYS_exit, status) };
    });
    end(child)
}

/// Takes the locks of sets, queues and the registry repeatedly, until it is killed.
fn hammer(set: c_int, queue: c_int) -> ! {
    let mut ops = [op(0, -1, SEM_UNDO), op(1, 1, SEM_UNDO)];
    let mut back = [op(1, -1, SEM_UNDO), op(0, 1, SEM_UNDO)];
    let mut message = vec![1 as c_long; 1000];
    for round in 0u64.. {
        // SAFETY: locals, and numbers.
        let done = unsafe {
            libc::semop(set, ops.as_mut_ptr(), 2)
                | libc::msgsnd(queue, message.as_ptr().cast(), 7000, 0)
                | (libc::msgrcv(queue, message.as_mut_ptr().cast(), 7000, 1, 0) as c_int).min(0)
                | libc::semop(set, back.as_mut_ptr(), 2)
                | libc::shmctl(libc::shmget(libc::IPC_PRIVATE, PAGE, 0o600), libc::IPC_RMID, std::ptr::null_mut())
        };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        if round == 20 {
            println!("{ANSWER}1");
        }
    }
    unreachable!()
}

/// Runs `play` for root and for a user that is mapped to root, as far as possible.
fn with_containers(test: &str, play: impl Fn(&mut dyn FnMut(&str) -> Container)) {
    if std::env::var_os(PRELOADED).is_some() {
        return serve();
    }
    for identity in if is_root() { &[Identity::Root, Identity::MappedToRoot][..] } else { &[Identity::MappedToRoot] } {
        let place = place();
        Namespace::create(place.path().join("ns"), Kind::Private).unwrap();
        match Container::start(test, place.path(), "probe", *identity) {
            Some(probe) => probe.kill(),
            None => continue,
        }
        play(&mut |name| Container::start(test, place.path(), name, *identity).unwrap());
    }
}

#[test]
fn segments() {
    with_containers("segments", |container| {
        let (mut a, mut b) = (container("a"), container("path of b"));
        let id = a.ask("shmget");
        assert_eq!(b.ask("shmget"), id);
        let order = format!("shmat {id}");
        assert_eq!((a.ask(&order), a.ask("store 4711"), b.ask(&order), b.ask("load")), (0, 0, 0, 4711));
        let count = format!("nattch {id}");
        assert_eq!((a.ask(&count), b.ask(&count)), (2, 2));
        a.kill();
        assert_eq!(b.ask(&count), 1);
        // A new process with the same pid is not mistaken for the dead one.
        let mut c = container("c");
        assert_eq!((c.ask(&count), c.ask(&order), c.ask("load"), b.ask(&count)), (1, 0, 4711, 2));
        assert_eq!((b.ask("shmdt"), c.ask(&count), b.ask(&count)), (0, 1, 1));
        // A removed segment lasts until its last detachment.
        assert_eq!(b.ask(&format!("remove {id} -1 -1")), -i64::from(EINVAL));
        assert_eq!((c.ask(&count), c.ask("load")), (1, 4711));
        c.kill();
        assert_ne!(b.ask("shmget"), id);
    });
}

#[test]
fn sets() {
    with_containers("sets", |container| {
        let (mut a, mut b) = (container("a"), container("path of b"));
        let id = a.ask("semget");
        assert_eq!(b.ask("semget"), id);
        // A waiter is woken from the other container.
        let (down, up) = (format!("op {id} 0 -1 {SEM_UNDO}"), format!("op {id} 0 1 0"));
        a.send_order(&down);
        let waiting = format!("getncnt {id} 0");
        until("a waits", || b.ask(&waiting) == 1);
        a.until_waiting(&down);
        assert_eq!((b.ask(&up), a.number(), b.ask(&waiting)), (0, 0, 0));
        // The unit of the dead process goes to a waiter.
        let mut c = container("c");
        b.send_order(&down);
        until("b waits", || c.ask(&waiting) == 1);
        a.kill();
        assert_eq!((b.number(), c.ask(&format!("getval {id} 0"))), (0, 0));
        // The waiting call of a dead process no longer counts.
        c.send_order(&down);
        until("c waits", || b.ask(&waiting) == 1);
        c.kill();
        assert_eq!(b.ask(&waiting), 0);
        assert_eq!((b.ask(&up), b.ask(&format!("getval {id} 0"))), (0, 1));
        // Removed while a process waits.
        let mut d = container("d");
        let more = format!("op {id} 1 -1 0");
        d.send_order(&more);
        until("d waits", || b.ask(&format!("getncnt {id} 1")) == 1);
        assert_eq!(b.ask(&format!("remove -1 {id} -1")), -i64::from(EINVAL));
        assert_eq!((d.number(), b.ask(&up)), (-i64::from(EIDRM), -i64::from(EINVAL)));
    });
}

#[test]
fn queues() {
    with_containers("queues", |container| {
        let (mut a, mut b) = (container("a"), container("path of b"));
        let id = a.ask("msgget");
        assert_eq!(b.ask("msgget"), id);
        // The message goes to a waiter.
        let receive = format!("receive {id} 5 0");
        a.send_order(&receive);
        a.until_waiting(&receive);
        assert_eq!((b.ask(&format!("send {id} 5 42 0")), a.number()), (0, 42));
        // Of two waiters, the dead one is skipped.
        let mut c = container("c");
        for one in [&mut a, &mut c] {
            one.send_order(&receive);
            one.until_waiting(&receive);
        }
        a.kill();
        assert_eq!((b.ask(&format!("send {id} 5 43 0")), c.number()), (0, 43));
        // A sender that waits for room in a full queue continues when there is some.
        let nowait = libc::IPC_NOWAIT;
        let sent = (0..).take_while(|n| b.ask(&format!("send {id} 1 {n} {nowait}")) == 0).count() as i64;
        let send = format!("send {id} 1 {sent} 0");
        c.send_order(&send);
        c.until_waiting(&send);
        let receive = format!("receive {id} 1 {nowait}");
        assert_eq!((b.ask(&receive), c.number()), (0, 0));
        assert_eq!(b.ask(&format!("qnum {id}")), sent);
        for n in 1..=sent {
            assert_eq!(c.ask(&receive), n);
        }
        c.send_order(&format!("receive {id} 1 0"));
        c.until_waiting("receive");
        assert_eq!(b.ask(&format!("remove -1 -1 {id}")), -i64::from(EINVAL));
        assert_eq!(c.number(), -i64::from(EIDRM));
    });
}

#[test]
fn parent_and_child_with_the_same_pid() {
    with_containers("parent_and_child_with_the_same_pid", |container| {
        let (mut a, mut b) = (container("a"), container("path of b"));
        let (memory, set) = (a.ask("shmget"), a.ask("semget"));
        assert_eq!((a.ask(&format!("shmat {memory}")), a.ask(&format!("op {set} 0 1 0"))), (0, 0));
        assert_eq!((a.ask(&format!("op {set} 0 -1 {SEM_UNDO}")), a.ask(&format!("op {set} 1 1 0"))), (0, 0));
        assert_eq!(a.ask(&format!("twin {memory} {set}")), 0);
        for one in [&mut a, &mut b] {
            assert_eq!(one.ask(&format!("nattch {memory}")), 1);
            // The child's adjustment is undone, and its parent's is not.
            until("the child's unit is back", || one.ask(&format!("getval {set} 1")) == 1);
            assert_eq!(one.ask(&format!("getval {set} 0")), 0);
        }
        a.kill();
        until("the parent's unit is back", || b.ask(&format!("getval {set} 0")) == 1);
    });
}

/// Whatever a killed process held is recovered.
#[test]
fn a_process_killed_inside_a_call() {
    with_containers("a_process_killed_inside_a_call", |container| {
        let mut b = container("path of b");
        let (set, queue) = (b.ask("semget"), b.ask("msgget"));
        assert_eq!(b.ask(&format!("op {set} 0 1 0")), 0);
        for round in 0..8 {
            let mut a = container("a");
            assert_eq!(a.ask(&format!("hammer {set} {queue}")), 1);
            a.kill();
            let order = format!("op {set} 0 -1 0");
            assert_eq!((b.ask(&order), b.ask(&format!("getval {set} 1"))), (0, 0), "{round}");
            assert_eq!(b.ask(&format!("op {set} 0 1 0")), 0);
            // At most one message of each process is left.
            while b.ask(&format!("receive {queue} 1 {}", libc::IPC_NOWAIT | 0o10000)) != -i64::from(libc::ENOMSG) {}
            assert_eq!(b.ask(&format!("send {queue} 3 {round} 0")), 0);
            assert_eq!(b.ask(&format!("receive {queue} 3 0")), round);
            let id = b.ask("shmget");
            assert_eq!(b.ask(&format!("remove {id} -1 -1")), -i64::from(EINVAL));
        }
        assert_eq!(b.ask(&format!("op {set} 1 -1 {}", libc::IPC_NOWAIT)), -i64::from(EAGAIN));
    });
}

/// Root in a user namespace has the permissions of the user outside.
#[test]
fn user_mapped_to_root() {
    const TEST: &str = "user_mapped_to_root";
    if std::env::var_os(PRELOADED).is_some() {
        return serve();
    }
    if !is_root() {
        return println!("skipped: not root");
    }
    let place = place();
    Namespace::create(place.path().join("ns"), Kind::Shared).unwrap();
    for own in ["a", "b", "c"] {
        let own = place.path().join(own);
        std::fs::create_dir(&own).unwrap();
    }
    let Some(mut root) = Container::start(TEST, place.path(), "a", Identity::Root) else { return };
    let Some(mut mapped) = Container::start(TEST, place.path(), "b", Identity::MappedToRoot) else { return };
    let Some(mut unprivileged) = Container::start(TEST, place.path(), "c", Identity::UnprivilegedMappedToRoot) else { return };
    let refused = -i64::from(EACCES);
    for mechanism in ["shmget", "semget", "msgget"] {
        let id = root.ask(mechanism);
        assert!(id >= 0, "{mechanism}: {id}");
        assert_eq!(mapped.ask(mechanism), id, "{mechanism}");
        // There uid 0 is not the owner, despite the same number. It may learn the identifier, and
        // nothing else.
        let answer = unprivileged.ask(mechanism);
        assert!(answer == id || answer == refused, "{mechanism}: {answer}");
    }
    let (memory, set, queue) = (root.ask("shmget"), root.ask("semget"), root.ask("msgget"));
    let orders = [format!("shmat {memory}"), format!("op {set} 0 1 0"), format!("send {queue} 1 1 0")];
    for order in orders {
        assert_eq!(unprivileged.ask(&order), refused, "{order}");
        assert!(mapped.ask(&order) >= 0, "{order}");
    }
    assert_eq!((root.ask(&format!("getval {set} 0")), root.ask(&format!("qnum {queue}"))), (1, 1));
    for order in [format!("remove {memory} -1 -1"), format!("remove -1 {set} -1"), format!("remove -1 -1 {queue}")] {
        unprivileged.ask(&order);
    }
    assert_eq!((root.ask("shmget"), root.ask("semget"), root.ask("msgget")), (memory, set, queue));
}
