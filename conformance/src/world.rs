//! A test's world: one namespace of one subject, and the processes that use it.

use crate::agent::await_death;
use crate::random::stop;
use crate::subject::{Subject, agent_program, is_root, kind};
use crate::{Address, Agent, Look, MsgFlags, Outcome, Queue, SemOp, WAIT};
use rustix::process::{Signal, pidfd_send_signal};
use rustix::time::{ClockId, clock_gettime};
use std::cell::{Cell, OnceCell, RefCell};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A user without privileges, and its group.
pub const NOBODY: u32 = 65534;
/// Another.
pub const STRANGER: u32 = 12345;

/// How long a state may take to come before the test fails: for finding a hang, not for timing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for a state.
///
/// # Panics
///
/// If it does not come.
pub(crate) fn await_that(what: &str, is_so: impl FnMut() -> bool) {
    assert!(comes_about(PATIENCE, is_so), "it does not come about that {what}");
}

/// Waits for a state; whether it comes while `patience` lasts.
pub(crate) fn comes_about(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    while !is_so() {
        if Instant::now() > end {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

/// One namespace, and the agents in it. When it goes, they and the namespace go.
pub struct World {
    /// Whose namespace it is.
    pub subject: Subject,
    /// Forks the agents, and makes no call of its own.
    zygote: Agent,
    /// Sets limits: as the zygote, but never under the drop-in.
    operator: Option<Agent>,
    /// Looks at sets, and changes nothing.
    watcher: OnceCell<Agent>,
    children: Vec<Child>,
    nursery: Rc<Nursery>,
    directory: TempDir,
    skipped: Cell<bool>,
}

/// Where forked agents come to the controller.
pub(crate) struct Nursery {
    listener: UnixListener,
    name: String,
    /// All that were born, for the end of the world.
    lives: RefCell<Vec<OwnedFd>>,
    /// Those of them that need not end before it.
    lasting: RefCell<Vec<OwnedFd>>,
}

impl Nursery {
    fn new() -> Nursery {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("quintet-conformance-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let listener = UnixListener::bind_addr(&address).expect("a name of our own");
        Nursery { listener, name, lives: RefCell::default(), lasting: RefCell::default() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The connection of the child whose parent has just answered.
    pub(crate) fn accept(&self) -> UnixStream {
        self.listener.accept().expect("the child's connection").0
    }

    pub(crate) fn remember(&self, life: &OwnedFd) {
        self.lives.borrow_mut().push(life.try_clone().expect("a descriptor"));
    }
}

/// Waits until all are dead; nobody is left behind, even of those that hang.
fn end(lives: &RefCell<Vec<OwnedFd>>) {
    for life in lives.borrow_mut().drain(..) {
        if await_death(&life).is_none() {
            let _ = pidfd_send_signal(&life, Signal::KILL);
        }
    }
}

impl World {
    /// A fresh namespace of `subject`.
    ///
    /// # Errors
    ///
    /// Why it cannot be had here.
    pub fn new(subject: Subject) -> Result<World, String> {
        let directory = fresh_directory();
        let namespace = namespace_of(&directory);
        let nursery = Rc::new(Nursery::new());
        let mut children = Vec::new();
        let operator = match subject {
            Subject::Kernel => None,
            _ => Some(launch(operator_command(&namespace), &nursery, &mut children)?),
        };
        if let Some(operator) = &operator {
            operator.ask("open").map_err(|e| format!("the namespace cannot be created: {e}"))?;
        }
        let zygote =
            launch(subject.agent(&namespace)?, &nursery, &mut children).map_err(|e| format!("no agent for {subject:?}: {e}"))?;
        zygote.ask("subreaper").expect("prctl");
        let world = World {
            subject,
            zygote,
            operator,
            watcher: OnceCell::new(),
            children,
            nursery,
            directory,
            skipped: Cell::new(false),
        };
        world.check_preloaded()?;
        Ok(world)
    }

    fn check_preloaded(&self) -> Result<(), String> {
        let loaded = self.zygote.ask("preloaded").expect("an answer") == "true";
        match self.subject {
            Subject::DropIn if !loaded => Err("the drop-in was not loaded into the agent".to_owned()),
            _ => Ok(()),
        }
    }

    /// A fresh process that has made no call yet.
    pub fn agent(&self) -> Agent {
        self.zygote.fork()
    }

    /// A fresh process of another user. Ask [`World::users`] first.
    pub fn agent_as(&self, uid: u32, gid: u32, groups: &[u32]) -> Agent {
        let agent = self.agent();
        agent.become_user(uid, gid, groups);
        agent
    }

    /// A fresh process without privileges: of the user nobody if the tests run as root.
    pub fn ordinary(&self) -> Agent {
        if is_root() { self.agent_as(NOBODY, NOBODY, &[]) } else { self.agent() }
    }

    /// A process of the tester's that looks at sets and changes nothing.
    pub fn watcher(&self) -> &Agent {
        self.watcher.get_or_init(|| self.agent())
    }

    /// Has an agent make a `semop` that must wait, and waits until it does: until it is counted, and sleeps.
    pub fn wait_in(&self, agent: &Agent, id: i32, ops: &[SemOp]) {
        let before = self.waiting(id);
        agent.start_semop(id, ops, None);
        await_that(&format!("{} waits", agent.pid), || {
            assert!(!agent.has_answered(), "{ops:?} did not wait: {:?}", agent.answer());
            self.waiting(id) == before + 1 && agent.sleeps()
        });
    }

    /// Has a thread of an agent's make a `semop` that must wait, and waits until it does. The thread's id.
    pub fn wait_in_a_thread(&self, agent: &Agent, id: i32, ops: &[SemOp]) -> i32 {
        let before = self.waiting(id);
        let tid = agent.start_thread(id, ops);
        await_that(&format!("thread {tid} waits"), || self.waiting(id) == before + 1 && agent.thread_state(tid) == 'S');
        tid
    }

    /// How many calls wait in a set.
    fn waiting(&self, id: i32) -> i32 {
        self.watcher().look(id).expect("a set that the tester may read").waiting()
    }

    /// Has an agent make a `msgsnd` that must wait, and waits until it does.
    pub fn wait_to_send(&self, agent: &Agent, id: i32, mtype: i64, text: &[u8]) {
        let before = self.msg_waiting(id);
        agent.start_msgsnd(id, mtype, text, WAIT);
        self.await_queued(agent, agent.pid, id, before, libc::SYS_msgsnd);
    }

    /// Has an agent make a `msgrcv` that must wait, and waits until it does.
    pub fn wait_to_receive(&self, agent: &Agent, id: i32, size: usize, mtype: i64, flags: MsgFlags) {
        let before = self.msg_waiting(id);
        agent.start_msgrcv(id, size, mtype, flags);
        self.await_queued(agent, agent.pid, id, before, libc::SYS_msgrcv);
    }

    /// The same with any pointer.
    pub fn wait_to_receive_at(&self, agent: &Agent, id: i32, at: Address, size: usize, mtype: i64) {
        let before = self.msg_waiting(id);
        agent.start_msgrcv_at(id, at, size, mtype);
        self.await_queued(agent, agent.pid, id, before, libc::SYS_msgrcv);
    }

    /// Has a thread of an agent's make a `msgsnd` that must wait, and waits until it does. The thread's id.
    pub fn wait_to_send_in_a_thread(&self, agent: &Agent, id: i32, mtype: i64, text: &[u8]) -> i32 {
        let before = self.msg_waiting(id);
        let tid = agent.start_thread_msgsnd(id, mtype, text);
        self.await_queued(agent, tid, id, before, libc::SYS_msgsnd);
        tid
    }

    /// Has a thread of an agent's make a `msgrcv` that must wait, and waits until it does. The thread's id.
    pub fn wait_to_receive_in_a_thread(&self, agent: &Agent, id: i32, size: usize, mtype: i64) -> i32 {
        let before = self.msg_waiting(id);
        let tid = agent.start_thread_msgrcv(id, size, mtype);
        self.await_queued(agent, tid, id, before, libc::SYS_msgrcv);
        tid
    }

    fn await_queued(&self, agent: &Agent, tid: i32, id: i32, before: usize, call: i64) {
        await_that(&format!("{tid} waits"), || {
            assert!(tid != agent.pid || !agent.has_answered(), "it did not wait: {:?}", agent.answer_in_words());
            self.is_queued(agent, tid, id, before, call)
        });
    }

    /// Whether a thread waits in a queue: the kernel tells in which call it sleeps, Quintet how many wait.
    pub(crate) fn is_queued(&self, agent: &Agent, tid: i32, id: i32, before: usize, call: i64) -> bool {
        match self.subject.is_kernel() {
            true => agent.sleeps_in(tid, call),
            false => self.msg_waiting(id) > before && agent.thread_state(tid) == 'S',
        }
    }

    /// How many calls wait in a queue; of the kernel's 0, because it does not tell.
    pub fn msg_waiting(&self, id: i32) -> usize {
        self.operator.as_ref().map_or(0, |operator| operator.msg_waiters(id).expect("the namespace's owner may look at all"))
    }

    /// What the watcher sees of a queue.
    pub fn queue(&self, id: i32) -> Queue {
        self.watcher().msg_stat(id).expect("a queue that the tester may read")
    }

    /// Waits until a queue shows what follows from a call that waited and waits no longer: it is no part of the call that ended its waiting.
    pub fn comes_to<T: PartialEq + std::fmt::Debug>(&self, look: impl Fn() -> T, expected: T) {
        comes_about(PATIENCE, || look() == expected);
        assert_eq!(look(), expected);
    }

    /// What the watcher sees of a set.
    pub fn look(&self, id: i32) -> Look {
        self.watcher().look(id).expect("a set that the tester may read")
    }

    /// A set's values, as the watcher sees them.
    pub fn values(&self, id: i32) -> Vec<u16> {
        self.look(id).values
    }

    /// The user and group of [`World::agent`].
    pub fn user(&self) -> (u32, u32) {
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    }

    /// Whether agents may become other users; says so if not.
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

    /// Sets a limit, or says that this must be skipped.
    pub fn limit(&self, name: &str, value: i128) -> bool {
        match self.set_limit(name, value) {
            Ok(()) => true,
            Err(e) if self.subject.is_kernel() => self.skip(&format!("/proc/sys/kernel/{name} cannot be written: {e}")),
            Err(e) => panic!("{name} cannot be set: {e}"),
        }
    }

    /// Says that a clause, or the rest of it, is not tested; always `false`.
    pub fn skip(&self, why: &str) -> bool {
        self.skipped.set(true);
        eprintln!("skipped: {why}");
        false
    }

    /// Marks a deliberate difference: true where the subject is not the kernel. `row` names where it is explained.
    pub fn differs(&self, row: &str) -> bool {
        assert!(row.starts_with("docs/"), "a difference needs a row");
        !self.subject.is_kernel()
    }

    /// A directory for a test's own files, which anybody may enter.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The directory of the namespace, unless it is the kernel's.
    pub fn namespace(&self) -> Option<PathBuf> {
        (!self.subject.is_kernel()).then(|| namespace_of(&self.directory))
    }

    /// A fresh process that [`World::await_deaths`] does not wait for.
    pub(crate) fn lasting_agent(&self) -> Agent {
        let agent = self.agent();
        let life = self.nursery.lives.borrow_mut().pop();
        self.nursery.lasting.borrow_mut().extend(life);
        agent
    }

    /// Waits until the agents are dead and reaped, which the caller must have let go.
    pub(crate) fn await_deaths(&self) {
        end(&self.nursery.lives);
        self.zygote.ask("reap").expect("an answer");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for agent in [Some(&self.zygote), self.operator.as_ref(), self.watcher.get()].into_iter().flatten() {
            agent.hang_up();
        }
        end(&self.nursery.lives);
        end(&self.nursery.lasting);
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}

/// On a file system in memory where there is one.
fn fresh_directory() -> TempDir {
    let mut builder = tempfile::Builder::new();
    builder.prefix("quintet-conformance-");
    let directory = builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()).expect("a temporary directory");
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), everybody).expect("a directory of our own");
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

fn launch(mut command: Command, nursery: &Rc<Nursery>, children: &mut Vec<Child>) -> Result<Agent, String> {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    if stop::is_watched() {
        command.process_group(0);
    }
    let child = command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).spawn().map_err(|e| e.to_string())?;
    drop(command);
    children.push(child);
    let pid = Agent::greeting(&ours).map_err(|e| e.to_string())?;
    Ok(Agent::new(pid, ours, Rc::clone(nursery)))
}

/// The kernel's clock of seconds, by which `atime`, `dtime` and `ctime` are set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Clock(pub i64);

impl Clock {
    /// Now, on the coarse clock: no time that the kernel sets after this is earlier.
    pub fn now() -> Clock {
        Clock(clock_gettime(ClockId::RealtimeCoarse).tv_sec)
    }

    /// Whether `time` is from this moment on, and not in the future.
    pub fn saw(self, time: i64) -> bool {
        (self.0..=clock_gettime(ClockId::Realtime).tv_sec).contains(&time)
    }

    /// Waits for the next second: so that a time which is set again is seen to have changed.
    pub fn tick() -> Clock {
        let now = Clock::now();
        while Clock::now() == now {
            std::thread::yield_now();
        }
        Clock::now()
    }
}
