//! The world of a test: one namespace of one subject, and the processes that use it.

use crate::acceptor::{Acceptor, await_all};
use crate::interrupt;
use crate::subject::{Subject, agent_program, is_root, kind};
use crate::{Address, Agent, MsgFlags, Outcome, Queue, SemOp, Semaphores, WAIT};
use rustix::time::{ClockId, clock_gettime};
use std::cell::{Cell, OnceCell};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A user without privileges, and its group.
pub const NOBODY: u32 = 65534;
/// Another user without privileges.
pub const STRANGER: u32 = 12345;

/// Limit for a state to come about. It detects a hang and measures nothing.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// Blocks until `condition` is true.
///
/// # Panics
///
/// After [`TIMEOUT`].
pub(crate) fn await_condition(what: &str, condition: impl FnMut() -> bool) {
    assert!(becomes_true(TIMEOUT, condition), "timed out until {what}");
}

/// Blocks until `condition` is true. Returns `false` after the timeout.
pub(crate) fn becomes_true(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + timeout;
    while !condition() {
        if Instant::now() > end {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

/// One namespace and the agents in it. Dropping the world ends both.
pub struct World {
    /// The implementation that owns the namespace.
    pub subject: Subject,
    /// Forks the agents and makes no IPC call of its own.
    zygote: Agent,
    /// Sets limits: a process like the zygote, but never with the drop-in.
    operator: Option<Agent>,
    /// Reads sets and queues, and changes nothing.
    observer: OnceCell<Agent>,
    children: Vec<Child>,
    acceptor: Rc<Acceptor>,
    directory: TempDir,
    skipped: Cell<bool>,
}

impl World {
    /// Creates a fresh namespace of `subject`.
    ///
    /// # Errors
    ///
    /// Why the subject is not available.
    pub fn new(subject: Subject) -> Result<World, String> {
        let directory = fresh_directory();
        let namespace = namespace_of(&directory);
        let acceptor = Rc::new(Acceptor::new());
        let mut children = Vec::new();
        let operator = match subject {
            Subject::Kernel => None,
            _ => Some(launch(operator_command(&namespace), &acceptor, &mut children)?),
        };
        if let Some(operator) = &operator {
            operator.ask("open").map_err(|e| format!("cannot create the namespace: {e}"))?;
        }
        let zygote = launch(subject.agent(&namespace)?, &acceptor, &mut children)
            .map_err(|e| format!("cannot start an agent for {subject:?}: {e}"))?;
        zygote.ask("subreaper").expect("prctl");
        let world = World {
            subject,
            zygote,
            operator,
            observer: OnceCell::new(),
            children,
            acceptor,
            directory,
            skipped: Cell::new(false),
        };
        world.check_preloaded()?;
        Ok(world)
    }

    fn check_preloaded(&self) -> Result<(), String> {
        let loaded = self.zygote.ask("preloaded").expect("an answer") == "true";
        match self.subject {
            Subject::DropIn if !loaded => Err("the agent runs without the drop-in".to_owned()),
            _ => Ok(()),
        }
    }

    /// Returns a fresh process that has made no call yet.
    pub fn agent(&self) -> Agent {
        self.zygote.fork()
    }

    /// Returns a fresh process of another user. Check [`World::users`] first.
    pub fn agent_as(&self, uid: u32, gid: u32, groups: &[u32]) -> Agent {
        let agent = self.agent();
        agent.become_user(uid, gid, groups);
        agent
    }

    /// Returns a fresh process without privileges: of user 65534 if the tests run as root.
    pub fn ordinary(&self) -> Agent {
        if is_root() { self.agent_as(NOBODY, NOBODY, &[]) } else { self.agent() }
    }

    /// Returns a process of the tester that reads objects and changes nothing.
    pub fn observer(&self) -> &Agent {
        self.observer.get_or_init(|| self.agent())
    }

    /// Starts a `semop` that must block. Returns when it is counted and sleeps.
    pub fn wait_in(&self, agent: &Agent, id: i32, ops: &[SemOp]) {
        let before = self.waiting(id);
        agent.start_semop(id, ops, None);
        await_condition(&format!("{} waits", agent.pid), || {
            assert!(!agent.has_answered(), "{ops:?} did not block: {:?}", agent.answer());
            self.waiting(id) == before + 1 && agent.sleeps()
        });
    }

    /// Starts a `semop` that must block, in a new thread. Returns the thread id when it is blocked.
    pub fn wait_in_a_thread(&self, agent: &Agent, id: i32, ops: &[SemOp]) -> i32 {
        let before = self.waiting(id);
        let tid = agent.start_thread(id, ops);
        await_condition(&format!("thread {tid} waits"), || self.waiting(id) == before + 1 && agent.thread_state(tid) == 'S');
        tid
    }

    /// Returns the number of calls that wait in a set.
    fn waiting(&self, id: i32) -> i32 {
        self.observer().semaphores(id).expect("a set that the tester may read").waiting()
    }

    /// Starts a `msgsnd` that must block. Returns when it does.
    pub fn wait_to_send(&self, agent: &Agent, id: i32, mtype: i64, text: &[u8]) {
        let before = self.msg_waiting(id);
        agent.start_msgsnd(id, mtype, text, WAIT);
        self.await_queued(agent, agent.pid, id, before, libc::SYS_msgsnd);
    }

    /// Starts a `msgrcv` that must block. Returns when it does.
    pub fn wait_to_receive(&self, agent: &Agent, id: i32, size: usize, mtype: i64, flags: MsgFlags) {
        let before = self.msg_waiting(id);
        agent.start_msgrcv(id, size, mtype, flags);
        self.await_queued(agent, agent.pid, id, before, libc::SYS_msgrcv);
    }

    /// As [`World::wait_to_receive`], with any pointer.
    pub fn wait_to_receive_at(&self, agent: &Agent, id: i32, at: Address, size: usize, mtype: i64) {
        let before = self.msg_waiting(id);
        agent.start_msgrcv_at(id, at, size, mtype);
        self.await_queued(agent, agent.pid, id, before, libc::SYS_msgrcv);
    }

    /// Starts a `msgsnd` that must block, in a new thread. Returns the thread id when it is
    /// blocked.
    pub fn wait_to_send_in_a_thread(&self, agent: &Agent, id: i32, mtype: i64, text: &[u8]) -> i32 {
        let before = self.msg_waiting(id);
        let tid = agent.start_thread_msgsnd(id, mtype, text);
        self.await_queued(agent, tid, id, before, libc::SYS_msgsnd);
        tid
    }

    /// Starts a `msgrcv` that must block, in a new thread. Returns the thread id when it is
    /// blocked.
    pub fn wait_to_receive_in_a_thread(&self, agent: &Agent, id: i32, size: usize, mtype: i64) -> i32 {
        let before = self.msg_waiting(id);
        let tid = agent.start_thread_msgrcv(id, size, mtype);
        self.await_queued(agent, tid, id, before, libc::SYS_msgrcv);
        tid
    }

    fn await_queued(&self, agent: &Agent, tid: i32, id: i32, before: usize, call: i64) {
        await_condition(&format!("{tid} waits"), || {
            assert!(tid != agent.pid || !agent.has_answered(), "it did not block: {:?}", agent.answer_in_words());
            self.is_queued(agent, tid, id, before, call)
        });
    }

    /// Returns `true` if a thread waits in a queue. The kernel shows the system call in which it
    /// sleeps, Quintet the number of waiting calls.
    pub(crate) fn is_queued(&self, agent: &Agent, tid: i32, id: i32, before: usize, call: i64) -> bool {
        match self.subject.is_kernel() {
            true => agent.sleeps_in(tid, call),
            false => self.msg_waiting(id) > before && agent.thread_state(tid) == 'S',
        }
    }

    /// Returns the number of calls that wait in a queue; 0 for the kernel, which does not report
    /// it.
    pub fn msg_waiting(&self, id: i32) -> usize {
        self.operator.as_ref().map_or(0, |operator| operator.msg_waiters(id).expect("the namespace's owner may read all queues"))
    }

    /// Reads the status of a queue.
    pub fn queue(&self, id: i32) -> Queue {
        self.observer().msg_stat(id).expect("a queue that the tester may read")
    }

    /// Blocks until `read` returns `expected`. The effects of a woken call on a queue are not part
    /// of the call that woke it.
    pub fn await_value<T: PartialEq + std::fmt::Debug>(&self, read: impl Fn() -> T, expected: T) {
        becomes_true(TIMEOUT, || read() == expected);
        assert_eq!(read(), expected);
    }

    /// Reads all semaphores of a set.
    pub fn semaphores(&self, id: i32) -> Semaphores {
        self.observer().semaphores(id).expect("a set that the tester may read")
    }

    /// Reads the values of a set.
    pub fn values(&self, id: i32) -> Vec<u16> {
        self.semaphores(id).values
    }

    /// Returns the user and group ids of [`World::agent`].
    pub fn user(&self) -> (u32, u32) {
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    }

    /// Returns `true` if agents may become other users; prints a line if not.
    pub fn users(&self) -> bool {
        is_root() || self.skip("other users need root")
    }

    /// Sets a limit by its name in `/proc/sys/kernel`.
    ///
    /// # Errors
    ///
    /// As `quintet::Namespace::set_limits`, or of writing the file.
    pub fn set_limit(&self, name: &str, value: i128) -> Outcome<()> {
        self.operator.as_ref().unwrap_or(&self.zygote).set_sysctl(name, value)
    }

    /// Sets a limit. Returns `false` and prints a line if that is not permitted.
    pub fn limit(&self, name: &str, value: i128) -> bool {
        match self.set_limit(name, value) {
            Ok(()) => true,
            Err(e) if self.subject.is_kernel() => self.skip(&format!("cannot write /proc/sys/kernel/{name}: {e}")),
            Err(e) => panic!("cannot set {name}: {e}"),
        }
    }

    /// Prints that a clause, or the rest of it, is skipped. Returns `false`.
    pub fn skip(&self, why: &str) -> bool {
        self.skipped.set(true);
        eprintln!("skipped: {why}");
        false
    }

    /// Marks a deliberate difference. Returns `true` unless the subject is the kernel. `row` quotes
    /// the row that explains it: the document, a colon, and the first cell without backticks.
    pub fn differs(&self, row: &str) -> bool {
        assert!(row.starts_with("docs/"), "a difference needs a row");
        !self.subject.is_kernel()
    }

    /// Returns a directory for files of the test, which every user may enter.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the directory of the namespace; `None` for the kernel.
    pub fn namespace(&self) -> Option<PathBuf> {
        (!self.subject.is_kernel()).then(|| namespace_of(&self.directory))
    }

    /// Returns a fresh process that [`World::await_exits`] does not wait for.
    pub(crate) fn lasting_agent(&self) -> Agent {
        let agent = self.agent();
        let pidfd = self.acceptor.pidfds.borrow_mut().pop();
        self.acceptor.lasting.borrow_mut().extend(pidfd);
        agent
    }

    /// Blocks until all agents have exited and are reaped. The caller must have dropped them.
    pub(crate) fn await_exits(&self) {
        await_all(&self.acceptor.pidfds);
        self.zygote.ask("reap").expect("an answer");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for agent in [Some(&self.zygote), self.operator.as_ref(), self.observer.get()].into_iter().flatten() {
            agent.disconnect();
        }
        await_all(&self.acceptor.pidfds);
        await_all(&self.acceptor.lasting);
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}

/// Creates a directory, in memory if possible.
fn fresh_directory() -> TempDir {
    let mut builder = tempfile::Builder::new();
    builder.prefix("quintet-conformance-");
    let directory = builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()).expect("a temporary directory");
    let everyone = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), everyone).expect("a directory of our own");
    directory
}

fn namespace_of(directory: &TempDir) -> PathBuf {
    directory.path().join("namespace")
}

fn operator_command(namespace: &Path) -> Command {
    let mut command = Command::new(agent_program());
    command.arg("library").arg(namespace).arg(kind());
    command
}

fn launch(mut command: Command, acceptor: &Rc<Acceptor>, children: &mut Vec<Child>) -> Result<Agent, String> {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    if interrupt::is_watched() {
        command.process_group(0);
    }
    let child = command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).spawn().map_err(|e| e.to_string())?;
    drop(command);
    children.push(child);
    let pid = Agent::greeting(&ours).map_err(|e| e.to_string())?;
    Ok(Agent::new(pid, ours, Rc::clone(acceptor)))
}

/// The kernel's clock in seconds, which sets `atime`, `dtime` and `ctime`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Clock(pub i64);

impl Clock {
    /// Reads the coarse clock. No time that the kernel sets later is earlier.
    pub fn now() -> Clock {
        Clock(clock_gettime(ClockId::RealtimeCoarse).tv_sec)
    }

    /// Returns `true` if `time` is not before this moment and not in the future.
    pub fn saw(self, time: i64) -> bool {
        (self.0..=clock_gettime(ClockId::Realtime).tv_sec).contains(&time)
    }

    /// Blocks until the next second, so that a time that is set again changes visibly.
    pub fn tick() -> Clock {
        let now = Clock::now();
        while Clock::now() == now {
            std::thread::yield_now();
        }
        Clock::now()
    }
}
