//! An agent as the controller sees it: a process, and its control connection.

use crate::stat::{Info, Stat, Usage};
use crate::world::Nursery;
use crate::{Errno, Outcome};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

/// How long an answer may take before the test fails: for finding a hang, not for timing.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that makes calls when told to.
pub struct Agent {
    /// Its process id.
    pub pid: i32,
    life: OwnedFd,
    pub(crate) control: RefCell<BufReader<UnixStream>>,
    nursery: Rc<Nursery>,
    /// Whether it has been told to make a call whose answer has not been taken.
    pub(crate) busy: Cell<bool>,
}

/// An address in an agent's memory. Tests compare what is true of addresses, never their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(pub usize);

/// Where agents keep 64 pages occupied by inaccessible memory, far from where the system puts mappings unasked.
pub const PAD: Address = Address(0x20_0000_0000);

impl Address {
    /// The system chooses.
    pub const NULL: Address = Address(0);

    /// Page `page`, 0..64, of the pad.
    pub const fn pad(page: usize) -> Address {
        PAD.plus(page * 4096)
    }

    /// So many bytes further.
    pub const fn plus(self, bytes: usize) -> Address {
        Address(self.0 + bytes)
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A successful `shmat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The address.
    pub at: Address,
    /// `chosen`, `exact`, `rounded`; and what should not be: `elsewhere`, `unaligned`.
    pub place: String,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// By exit, with this code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
}

impl Agent {
    /// The agent at the other end of `control`, whose process is `pid`.
    pub(crate) fn new(pid: i32, control: UnixStream, nursery: Rc<Nursery>) -> Agent {
        control.set_read_timeout(Some(PATIENCE)).expect("a timeout that is not zero");
        let process = Pid::from_raw(pid).expect("a process id");
        let life = pidfd_open(process, PidfdFlags::empty()).expect("the agent's pidfd");
        Agent { pid, life, control: RefCell::new(BufReader::new(control)), nursery, busy: Cell::new(false) }
    }

    /// Takes the first line of a new process image: `ok` and its pid.
    pub(crate) fn greeting(control: &UnixStream) -> Outcome<i32> {
        let mut line = String::new();
        // Nothing follows the greeting before the first command, so the buffer takes nothing away.
        BufReader::new(control).read_line(&mut line).expect("the agent's greeting");
        parse(&line).map(|pid| pid.parse().expect("a process id"))
    }

    pub(crate) fn send(&self, command: &str) {
        let sent = self.control.borrow().get_ref().write_all(format!("{command}\n").as_bytes());
        sent.unwrap_or_else(|e| panic!("agent {} is gone ({e}) at '{command}'", self.pid));
    }

    pub(crate) fn receive(&self, command: &str) -> Outcome<String> {
        let mut line = String::new();
        let read = self.control.borrow_mut().read_line(&mut line);
        match read {
            Ok(n) if n > 0 => parse(&line),
            Ok(_) => panic!("agent {} died of '{command}'", self.pid),
            Err(e) => panic!("agent {} does not answer '{command}': {e}", self.pid),
        }
    }

    /// Sends a command and takes the answer.
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

/// The verbs of System V IPC.
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

    /// Attaches where the system chooses, which must succeed.
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

    /// `shmctl(2)` with any command and any pointer.
    pub fn shmctl(&self, id: i32, command: i32, buffer: Address) -> Outcome<i32> {
        self.ask_number(format_args!("shmctl {id} {command} {}", buffer))
    }

    /// A limit of the namespace, by its name in `/proc/sys/kernel`.
    pub fn sysctl(&self, name: &str) -> Outcome<i128> {
        self.ask(format_args!("sysctl {name}")).map(|n| n.parse().expect("a number"))
    }

    /// Sets a limit.
    pub fn set_sysctl(&self, name: &str, value: i128) -> Outcome<()> {
        self.ask_done(format_args!("set_sysctl {name} {value}"))
    }

    /// The lines of `/proc/sysvipc/shm` or `/proc/sysvipc/sem`.
    pub fn sysvipc(&self, name: &str) -> Vec<String> {
        let text = self.ask(format_args!("sysvipc {name}")).expect("/proc/sysvipc");
        text.split('|').map(str::to_owned).collect()
    }

    pub fn ftok(&self, path: &str, project: i32) -> Outcome<i32> {
        self.ask_number(format_args!("ftok {path} {project}"))
    }
}

/// Memory.
impl Agent {
    /// Maps anonymous memory with these `PROT_` bits.
    pub fn reserve(&self, len: usize, protection: i32) -> Address {
        let address = self.ask(format_args!("reserve {len} {protection}")).expect("mmap");
        Address(address.parse().expect("a number"))
    }

    /// `mprotect(2)`.
    pub fn mprotect(&self, address: Address, len: usize, protection: i32) -> Outcome<()> {
        self.ask_done(format_args!("mprotect {} {len} {protection}", address))
    }

    /// `munmap(2)`.
    pub fn munmap(&self, address: Address, len: usize) -> Outcome<()> {
        self.ask_done(format_args!("munmap {} {len}", address))
    }

    /// Reads a byte; `EFAULT` where a program would die.
    pub fn peek(&self, address: Address) -> Outcome<u8> {
        self.ask_number(format_args!("peek {}", address)).map(|b| b as u8)
    }

    /// Writes a byte; `EFAULT` where a program would die.
    pub fn poke(&self, address: Address, byte: u8) -> Outcome<()> {
        self.ask_done(format_args!("poke {} {byte}", address))
    }

    /// Writes a byte as a program does: where it must not, it dies.
    pub fn store_and_die(self, address: Address) {
        self.send(&format!("store {} 1", address));
        self.await_death();
    }

    /// `none`, `read` or `write`.
    pub fn probe(&self, address: Address) -> String {
        self.ask(format_args!("probe {}", address)).expect("probe")
    }

    /// The permissions that `/proc/self/maps` shows at an address, or `unmapped`.
    pub fn protection(&self, address: Address) -> String {
        self.ask(format_args!("protection {}", address)).expect("protection")
    }

    /// The program break.
    pub fn program_break(&self) -> String {
        self.ask("break").expect("break")
    }
}

/// Processes.
impl Agent {
    /// `fork(2)`: the child, which has made no call yet.
    pub fn fork(&self) -> Agent {
        self.ask_child("fork", false)
    }

    /// `vfork(2)` and `execv(3)` in the child.
    pub fn vfork(&self) -> Agent {
        self.ask_child("vfork", true)
    }

    fn ask_child(&self, verb: &str, greets: bool) -> Agent {
        let pid = self.ask_number(format_args!("{verb} {}", self.nursery.name())).expect(verb);
        let control = self.nursery.accept();
        if greets {
            assert_eq!(Agent::greeting(&control), Ok(pid));
        }
        let child = Agent::new(pid, control, Rc::clone(&self.nursery));
        self.nursery.remember(&child.life);
        child
    }

    /// `execv(3)` of the agent's own program: a new image in the same process.
    pub fn exec(&self) {
        let pid = self.ask_number("exec /proc/self/exe");
        assert_eq!(pid, Ok(self.pid));
    }

    /// An `execv(3)` that fails.
    pub fn exec_missing(&self) -> Errno {
        self.ask("exec /nonexistent/program").expect_err("there is no such program")
    }

    /// Ends by `exit(3)`.
    pub fn exit(self, code: i32) {
        self.send(&format!("exit {code}"));
        self.await_death();
    }

    /// Ends by `_exit(2)`.
    pub fn exit_at_once(self, code: i32) {
        self.send(&format!("_exit {code}"));
        self.await_death();
    }

    /// Ends by a signal that it sends itself.
    pub fn kill(self, signal: i32) {
        self.send(&format!("kill {signal}"));
        self.await_death();
    }

    /// Ends by returning from `main`, as it does at the connection's end.
    pub fn return_from_main(self) {
        self.hang_up();
        self.await_death();
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        let signal = Signal::from_named_raw(signal).expect("a signal");
        pidfd_send_signal(&self.life, signal).expect("a process of ours");
    }

    /// Ends by a signal from outside, whatever it is doing.
    pub fn slay(self, signal: i32) {
        self.signal(signal);
        self.await_death();
        self.busy.set(false);
    }

    /// Waits until the process is dead, at least a zombie: it has then let go of everything.
    fn await_death(&self) {
        await_death(&self.life).unwrap_or_else(|| panic!("agent {} does not die", self.pid));
    }

    /// Ends the connection, at which the process exits.
    pub(crate) fn hang_up(&self) {
        let _ = self.control.borrow().get_ref().shutdown(std::net::Shutdown::Both);
    }

    /// Reaps a child, which must be dying.
    pub fn wait(&self, pid: i32) -> Death {
        let status = self.ask(format_args!("wait {pid}")).expect("waitpid");
        let (kind, number) = status.split_once(' ').expect("two words");
        let number = number.parse().expect("a number");
        if kind == "signal" { Death::Signal(number) } else { Death::Exit(number) }
    }

    /// Becomes another user, wholly.
    pub fn become_user(&self, uid: u32, gid: u32, groups: &[u32]) {
        let list: Vec<String> = groups.iter().map(u32::to_string).collect();
        let list = if list.is_empty() { "-".to_owned() } else { list.join(",") };
        self.ask_done(format_args!("user {uid} {gid} {list}")).expect("setgroups, setgid, setuid");
    }

    /// Makes its calls through `syscall(2)` from now on, or no longer.
    pub fn set_bare(&self, bare: bool) {
        self.ask_done(format_args!("bare {bare}")).expect("bare");
    }

    /// Closes every descriptor but the standard ones, as daemons do.
    pub fn close_from(&self, first: u32) {
        self.ask_done(format_args!("closefrom {first}")).expect("close_range");
    }
}

/// Who waits in a call does not see the connection's end.
impl Drop for Agent {
    fn drop(&mut self) {
        if self.busy.get() {
            let _ = pidfd_send_signal(&self.life, Signal::KILL);
        }
    }
}

/// Waits for the end of a pidfd's process; `None` if that takes too long.
pub(crate) fn await_death(life: &OwnedFd) -> Option<()> {
    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let mut fds = [PollFd::new(life, PollFlags::IN)];
    let ready = loop {
        match poll(&mut fds, Some(&patience)) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other.expect("poll"),
        }
    };
    (ready > 0).then_some(())
}
