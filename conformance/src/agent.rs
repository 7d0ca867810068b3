//! An agent as the controller sees it: a process and its control connection.

use crate::acceptor::{Acceptor, await_exit};
use crate::stat::{Info, Stat, Usage};
use crate::{Errno, Outcome};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

/// Limit for one answer. It detects a hang and measures nothing.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A process that makes calls on command.
pub struct Agent {
    /// The process id.
    pub pid: i32,
    pidfd: OwnedFd,
    pub(crate) control: RefCell<BufReader<UnixStream>>,
    acceptor: Rc<Acceptor>,
    /// `true` from the start of a call until its answer is read.
    pub(crate) busy: Cell<bool>,
}

/// An address in an agent's memory. Tests compare relations between addresses, never their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(pub usize);

/// The pad: 64 pages that each agent maps as inaccessible memory. The address is far from where the
/// kernel places mappings of its own choice.
pub const PAD: Address = Address(0x20_0000_0000);

impl Address {
    /// Lets the kernel choose the address.
    pub const NULL: Address = Address(0);

    /// Returns the address of page `page` of the pad (0 to 63).
    pub const fn pad(page: usize) -> Address {
        PAD.plus(page * 4096)
    }

    /// Returns the address `bytes` bytes further.
    pub const fn plus(self, bytes: usize) -> Address {
        Address(self.0 + bytes)
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The result of a successful `shmat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The address of the attachment.
    pub at: Address,
    /// How the address relates to the requested one: `chosen`, `exact` or `rounded`; in case of a
    /// bug `elsewhere` or `unaligned`.
    pub place: String,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It called exit with this code.
    Exit(i32),
    /// This signal killed it.
    Signal(i32),
}

impl Agent {
    /// Wraps the agent with process id `pid` at the other end of `control`.
    pub(crate) fn new(pid: i32, control: UnixStream, acceptor: Rc<Acceptor>) -> Agent {
        control.set_read_timeout(Some(TIMEOUT)).expect("a timeout that is not zero");
        let process = Pid::from_raw(pid).expect("a process id");
        let pidfd = pidfd_open(process, PidfdFlags::empty()).expect("the agent's pidfd");
        Agent { pid, pidfd, control: RefCell::new(BufReader::new(control)), acceptor, busy: Cell::new(false) }
    }

    /// Reads the first line of a new process image: `ok` and its process id.
    pub(crate) fn greeting(control: &UnixStream) -> Outcome<i32> {
        let mut line = String::new();
        // The agent sends nothing else before the first command, so the temporary buffer loses no
        // bytes.
        BufReader::new(control).read_line(&mut line).expect("the agent's greeting");
        parse(&line).map(|pid| pid.parse().expect("a process id"))
    }

    pub(crate) fn send(&self, command: &str) {
        let sent = self.control.borrow().get_ref().write_all(format!("{command}\n").as_bytes());
        sent.unwrap_or_else(|e| panic!("agent {} has exited before '{command}': {e}", self.pid));
    }

    pub(crate) fn receive(&self, command: &str) -> Outcome<String> {
        let mut line = String::new();
        let read = self.control.borrow_mut().read_line(&mut line);
        match read {
            Ok(n) if n > 0 => parse(&line),
            Ok(_) => panic!("agent {} exited during '{command}'", self.pid),
            Err(e) => panic!("agent {} does not answer '{command}': {e}", self.pid),
        }
    }

    /// Sends a command and returns the answer.
    pub fn ask(&self, command: impl Display) -> Outcome<String> {
        let command = command.to_string();
        self.send(&command);
        self.receive(&command)
    }

    pub(crate) fn ask_number(&self, command: impl Display) -> Outcome<i32> {
        self.ask(command).map(|n| n.parse().expect("a number"))
    }

    pub(crate) fn ask_done(&self, command: impl Display) -> Outcome<()> {
        self.ask(command).map(|rest| assert_eq!(rest, ""))
    }
}

fn parse(line: &str) -> Outcome<String> {
    let line = line.trim_end();
    match line.split_once(' ').unwrap_or((line, "")) {
        ("ok", values) => Ok(values.to_owned()),
        ("err", errno) => Err(Errno::from_raw(errno.parse().expect("an errno"))),
        _ => panic!("not an answer: '{line}'"),
    }
}

/// The calls of System V IPC on segments.
#[allow(missing_docs)]
impl Agent {
    pub fn shmget(&self, key: i32, size: u64, flags: i32) -> Outcome<i32> {
        self.ask_number(format_args!("shmget {key} {size} {flags}"))
    }

    pub fn shmat(&self, id: i32, address: Address, flags: i32) -> Outcome<Attached> {
        let answer = self.ask(format_args!("shmat {id} {} {flags}", address))?;
        let (address, place) = answer.split_once(' ').expect("an address and a relation");
        Ok(Attached { at: Address(address.parse().expect("a number")), place: place.to_owned() })
    }

    /// Attaches where the kernel chooses. The call must succeed.
    pub fn attach(&self, id: i32, flags: i32) -> Address {
        let attached = self.shmat(id, Address::NULL, flags).expect("shmat");
        assert_eq!(attached.place, "chosen");
        attached.at
    }

    pub fn shmdt(&self, address: Address) -> Outcome<()> {
        self.ask_done(format_args!("shmdt {}", address))
    }

    pub fn stat(&self, id: i32) -> Outcome<Stat> {
        self.ask(format_args!("stat {id}")).map(|a| Stat::parse(&a))
    }

    pub fn stat_index(&self, index: i32) -> Outcome<Stat> {
        self.ask(format_args!("stat_index {index}")).map(|a| Stat::parse(&a))
    }

    pub fn stat_any(&self, index: i32) -> Outcome<Stat> {
        self.ask(format_args!("stat_any {index}")).map(|a| Stat::parse(&a))
    }

    pub fn set(&self, id: i32, uid: u32, gid: u32, mode: u32) -> Outcome<()> {
        self.ask_done(format_args!("set {id} {uid} {gid} {mode}"))
    }

    pub fn remove(&self, id: i32) -> Outcome<()> {
        self.ask_done(format_args!("rm {id}"))
    }

    pub fn lock(&self, id: i32) -> Outcome<()> {
        self.ask_done(format_args!("lock {id}"))
    }

    pub fn unlock(&self, id: i32) -> Outcome<()> {
        self.ask_done(format_args!("unlock {id}"))
    }

    pub fn ipc_info(&self) -> Outcome<Info> {
        self.ask("ipc_info").map(|a| Info::parse(&a))
    }

    pub fn shm_info(&self) -> Outcome<Usage> {
        self.ask("shm_info").map(|a| Usage::parse(&a))
    }

    /// Calls `shmctl(2)` with any command and any pointer.
    pub fn shmctl(&self, id: i32, command: i32, buffer: Address) -> Outcome<i32> {
        self.ask_number(format_args!("shmctl {id} {command} {}", buffer))
    }

    /// Reads a limit of the namespace by its name in `/proc/sys/kernel`.
    pub fn sysctl(&self, name: &str) -> Outcome<i128> {
        self.ask(format_args!("sysctl {name}")).map(|n| n.parse().expect("a number"))
    }

    /// Sets a limit by its name in `/proc/sys/kernel`.
    pub fn set_sysctl(&self, name: &str, value: i128) -> Outcome<()> {
        self.ask_done(format_args!("set_sysctl {name} {value}"))
    }

    /// Returns the lines of `/proc/sysvipc/NAME`.
    pub fn sysvipc(&self, name: &str) -> Vec<String> {
        let text = self.ask(format_args!("sysvipc {name}")).expect("/proc/sysvipc");
        text.split('|').map(str::to_owned).collect()
    }

    pub fn ftok(&self, path: &str, project: i32) -> Outcome<i32> {
        self.ask_number(format_args!("ftok {path} {project}"))
    }
}

/// Memory of the agent.
impl Agent {
    /// Maps anonymous memory with the given `PROT_` bits.
    pub fn reserve(&self, len: usize, protection: i32) -> Address {
        let address = self.ask(format_args!("reserve {len} {protection}")).expect("mmap");
        Address(address.parse().expect("a number"))
    }

    /// Calls `mprotect(2)`.
    pub fn mprotect(&self, address: Address, len: usize, protection: i32) -> Outcome<()> {
        self.ask_done(format_args!("mprotect {} {len} {protection}", address))
    }

    /// Calls `munmap(2)`.
    pub fn munmap(&self, address: Address, len: usize) -> Outcome<()> {
        self.ask_done(format_args!("munmap {} {len}", address))
    }

    /// Reads a byte. Returns `EFAULT` where a program would receive SIGSEGV.
    pub fn peek(&self, address: Address) -> Outcome<u8> {
        self.ask_number(format_args!("peek {}", address)).map(|b| b as u8)
    }

    /// Writes a byte. Returns `EFAULT` where a program would receive SIGSEGV.
    pub fn poke(&self, address: Address, byte: u8) -> Outcome<()> {
        self.ask_done(format_args!("poke {} {byte}", address))
    }

    /// Writes a byte with a plain store, which must kill the agent.
    pub fn store_and_crash(self, address: Address) {
        self.send(&format!("store {} 1", address));
        self.await_exit();
    }

    /// Returns the access that the agent has: `none`, `read` or `write`.
    pub fn probe(&self, address: Address) -> String {
        self.ask(format_args!("probe {}", address)).expect("probe")
    }

    /// Returns the permissions that `/proc/self/maps` shows at an address, or `unmapped`.
    pub fn protection(&self, address: Address) -> String {
        self.ask(format_args!("protection {}", address)).expect("protection")
    }

    /// Returns the program break.
    pub fn program_break(&self) -> String {
        self.ask("break").expect("break")
    }
}

/// Fork, exec, exit and credentials.
impl Agent {
    /// Calls `fork(2)`. Returns the child, which has made no call yet.
    pub fn fork(&self) -> Agent {
        self.ask_child("fork", false)
    }

    /// Calls `vfork(2)`, and `execv(3)` in the child.
    pub fn vfork(&self) -> Agent {
        self.ask_child("vfork", true)
    }

    fn ask_child(&self, verb: &str, greets: bool) -> Agent {
        let pid = self.ask_number(format_args!("{verb} {}", self.acceptor.name())).expect(verb);
        let control = self.acceptor.accept();
        if greets {
            assert_eq!(Agent::greeting(&control), Ok(pid));
        }
        let child = Agent::new(pid, control, Rc::clone(&self.acceptor));
        self.acceptor.remember(&child.pidfd);
        child
    }

    /// Calls `execv(3)` with the agent's own program. The process keeps its id.
    pub fn exec(&self) {
        let pid = self.ask_number("exec /proc/self/exe");
        assert_eq!(pid, Ok(self.pid));
    }

    /// Calls `execv(3)` with a path that does not exist. Returns the errno.
    pub fn exec_missing(&self) -> Errno {
        self.ask("exec /nonexistent/program").expect_err("the path does not exist")
    }

    /// Ends the agent by `exit(3)`.
    pub fn exit(self, code: i32) {
        self.send(&format!("exit {code}"));
        self.await_exit();
    }

    /// Ends the agent by `_exit(2)`.
    pub fn exit_immediately(self, code: i32) {
        self.send(&format!("_exit {code}"));
        self.await_exit();
    }

    /// Ends the agent by a signal that it sends to itself.
    pub fn kill(self, signal: i32) {
        self.send(&format!("kill {signal}"));
        self.await_exit();
    }

    /// Ends the agent by returning from `main`, which it does when the connection closes.
    pub fn return_from_main(self) {
        self.disconnect();
        self.await_exit();
    }

    /// Sends a signal to the agent.
    pub fn signal(&self, signal: i32) {
        let signal = Signal::from_named_raw(signal).expect("a signal");
        pidfd_send_signal(&self.pidfd, signal).expect("a process of ours");
    }

    /// Kills the agent with a signal, even while it is in a call.
    pub fn kill_from_outside(self, signal: i32) {
        self.signal(signal);
        self.await_exit();
        self.busy.set(false);
    }

    /// Blocks until the process has exited. It may remain a zombie, which holds no resource.
    fn await_exit(&self) {
        await_exit(&self.pidfd).unwrap_or_else(|| panic!("agent {} does not exit", self.pid));
    }

    /// Closes the connection. An idle agent then exits.
    pub(crate) fn disconnect(&self) {
        let _ = self.control.borrow().get_ref().shutdown(std::net::Shutdown::Both);
    }

    /// Reaps a child of the agent. The child must be exiting.
    pub fn wait(&self, pid: i32) -> ExitStatus {
        let status = self.ask(format_args!("wait {pid}")).expect("waitpid");
        let (kind, number) = status.split_once(' ').expect("two words");
        let number = number.parse().expect("a number");
        if kind == "signal" { ExitStatus::Signal(number) } else { ExitStatus::Exit(number) }
    }

    /// Changes all user and group ids of the agent.
    pub fn become_user(&self, uid: u32, gid: u32, groups: &[u32]) {
        let list: Vec<String> = groups.iter().map(u32::to_string).collect();
        let list = if list.is_empty() { "-".to_owned() } else { list.join(",") };
        self.ask_done(format_args!("user {uid} {gid} {list}")).expect("setgroups, setgid, setuid");
    }

    /// Selects between libc's functions and `syscall(2)` for all further calls.
    pub fn set_bare(&self, bare: bool) {
        self.ask_done(format_args!("bare {bare}")).expect("bare");
    }

    /// Closes all descriptors from `first` on, as daemons do.
    pub fn close_from(&self, first: u32) {
        self.ask_done(format_args!("closefrom {first}")).expect("close_range");
    }
}

/// An agent that is blocked in a call does not notice that the connection closes, so it is killed.
impl Drop for Agent {
    fn drop(&mut self) {
        if self.busy.get() {
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        }
    }
}
