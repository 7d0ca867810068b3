//! The socket that forked agents connect to, and the pidfds of all agents.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};
use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Limit for the exit of one agent. It detects a hang and measures nothing.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Accepts the control connections of forked agents.
pub(crate) struct Acceptor {
    listener: UnixListener,
    name: String,
    /// All forked agents. The [`World`](crate::World) waits for them before it ends.
    pub(crate) pidfds: RefCell<Vec<OwnedFd>>,
    /// Agents that [`World::await_exits`](crate::World) does not wait for.
    pub(crate) lasting: RefCell<Vec<OwnedFd>>,
}

impl Acceptor {
    pub(crate) fn new() -> Acceptor {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("quintet-conformance-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let listener = UnixListener::bind_addr(&address).expect("a name of our own");
        Acceptor { listener, name, pidfds: RefCell::default(), lasting: RefCell::default() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Accepts the connection of a child after its parent has answered.
    pub(crate) fn accept(&self) -> UnixStream {
        self.listener.accept().expect("the child's connection").0
    }

    pub(crate) fn remember(&self, pidfd: &OwnedFd) {
        self.pidfds.borrow_mut().push(pidfd.try_clone().expect("a descriptor"));
    }
}

/// Blocks until every process has exited. Kills a process that hangs.
pub(crate) fn await_all(pidfds: &RefCell<Vec<OwnedFd>>) {
    for pidfd in pidfds.borrow_mut().drain(..) {
        if await_exit(&pidfd).is_none() {
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }
}

/// Blocks until the process of a pidfd has exited. Returns `None` after [`TIMEOUT`].
pub(crate) fn await_exit(pidfd: &OwnedFd) -> Option<()> {
    let timeout = Timespec { tv_sec: TIMEOUT.as_secs() as i64, tv_nsec: 0 };
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    let ready = loop {
        match poll(&mut fds, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other.expect("poll"),
        }
    };
    (ready > 0).then_some(())
}
