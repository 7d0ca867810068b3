//! Channels for messages: a queue of either side, and the alternatives that a program has.
//!
//! # Safety
//!
//! The system calls get descriptors, slices and locals.

use crate::side::{MOST, Message, Owned, Queue, Side};
use libc::c_int;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The number of messages of 64 B that fit into a queue of the kernel's default capacity.
const DEEP: libc::c_long = 256;

/// The compared means; the first two are the queues of the two sides.
pub const MEANS: [&str; 5] = ["kernel", "quintet", "pipe", "SEQPACKET", "mq"];

/// One direction, for messages of one type.
pub enum Channel<'a> {
    Queue(Queue<'a>),
    Pipe { read: c_int, write: c_int },
    Socket { receive: c_int, send: c_int },
    Mq(c_int),
}

/// The resources of a channel, released when dropped.
pub enum Held<'a> {
    Queue(Owned<'a>),
    Descriptors(Vec<OwnedFd>),
}

fn checked(n: impl TryInto<usize>, what: &str) -> usize {
    n.try_into().unwrap_or_else(|_| panic!("{what}: {}", std::io::Error::last_os_error()))
}

/// Takes over the descriptor of a call that has just opened it. Companions inherit it.
fn opened(fd: c_int) -> OwnedFd {
    // SAFETY: just opened, and owned by nothing else. The flag closes a descriptor at exec.
    unsafe {
        assert!(libc::fcntl(fd, libc::F_SETFD, 0) == 0);
        OwnedFd::from_raw_fd(fd)
    }
}

impl<'a> Held<'a> {
    /// Creates a channel for messages of at most `len` bytes; a queue lies on this side.
    pub fn new(means: &str, side: &'a Side, len: usize) -> Held<'a> {
        let mut pair = [0; 2];
        match means {
            "pipe" => {
                // SAFETY: room for two.
                checked(unsafe { libc::pipe(pair.as_mut_ptr()) }, "pipe");
                Held::Descriptors(pair.map(opened).into())
            }
            "SEQPACKET" => {
                // SAFETY: room for two.
                checked(unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0, pair.as_mut_ptr()) }, "socketpair");
                Held::Descriptors(pair.map(opened).into())
            }
            "mq" => Held::Descriptors(vec![opened(message_queue(len))]),
            _ => Held::Queue(side.private()),
        }
    }

    /// Returns the arguments that describe the channel to a companion.
    pub fn words(&self) -> [String; 2] {
        match self {
            Held::Queue(owned) => [owned.0.id, -1],
            Held::Descriptors(all) => [all[0].as_raw_fd(), all.last().map_or(-1, AsRawFd::as_raw_fd)],
        }
        .map(|number| number.to_string())
    }

    pub fn channel(&self, means: &str, side: &'a Side) -> Channel<'a> {
        let [first, second] = self.words().map(|word| word.parse().expect("a number"));
        Channel::of(means, side, first, second)
    }
}

/// Creates a POSIX queue without a name, with the greatest possible depth.
fn message_queue(len: usize) -> c_int {
    let name = format!("/quintet-bench-{}\0", std::process::id());
    let name = std::ffi::CStr::from_bytes_with_nul(name.as_bytes()).expect("one NUL");
    // SAFETY: zeroes are valid.
    let mut shape: libc::mq_attr = unsafe { std::mem::zeroed() };
    shape.mq_msgsize = len.max(1) as libc::c_long;
    // An unprivileged user may have 10.
    for deep in [DEEP, 10] {
        shape.mq_maxmsg = deep;
        // SAFETY: a name, numbers and a local.
        let fd = unsafe { libc::mq_open(name.as_ptr(), libc::O_CREAT | libc::O_EXCL | libc::O_RDWR, 0o600, &raw mut shape) };
        if fd != -1 {
            // SAFETY: the name.
            unsafe { libc::mq_unlink(name.as_ptr()) };
            return fd;
        }
    }
    panic!("mq_open: {}", std::io::Error::last_os_error())
}

impl<'a> Channel<'a> {
    /// Opens the channel that [`Held::words`] describes.
    pub fn of(means: &str, side: &'a Side, first: c_int, second: c_int) -> Channel<'a> {
        match means {
            "pipe" => Channel::Pipe { read: first, write: second },
            "SEQPACKET" => Channel::Socket { receive: first, send: second },
            "mq" => Channel::Mq(first),
            _ => Channel::Queue(Queue::of(side, first)),
        }
    }

    #[inline]
    pub fn send(&self, message: &Message, len: usize) {
        let text = message.text[..len].as_ptr();
        match self {
            Channel::Queue(queue) => queue.send(message, len),
            // SAFETY: the slice.
            Channel::Pipe { write, .. } => assert!(checked(unsafe { libc::write(*write, text.cast(), len) }, "write") == len),
            // SAFETY: the slice.
            Channel::Socket { send, .. } => assert!(checked(unsafe { libc::send(*send, text.cast(), len, 0) }, "send") == len),
            // SAFETY: the slice.
            Channel::Mq(queue) => _ = checked(unsafe { libc::mq_send(*queue, text.cast(), len, 0) }, "mq_send"),
        }
    }

    /// Receives a message of `len` bytes.
    #[inline]
    pub fn receive(&self, message: &mut Message, len: usize) {
        let text = message.text.as_mut_ptr();
        let got = match self {
            Channel::Queue(queue) => queue.receive(message, len, 0, 0),
            // A pipe does not preserve message boundaries: one write may arrive in two pieces.
            Channel::Pipe { read, .. } => {
                let mut got = 0;
                while got < len {
                    // SAFETY: the rest of the slice.
                    let more = checked(unsafe { libc::read(*read, text.add(got).cast(), len - got) }, "read");
                    assert!(more > 0, "read: no writer");
                    got += more;
                }
                got
            }
            // SAFETY: the slice.
            Channel::Socket { receive, .. } => checked(unsafe { libc::recv(*receive, text.cast(), MOST, 0) }, "recv"),
            Channel::Mq(queue) => {
                // SAFETY: the slice, and nowhere to write a priority.
                checked(unsafe { libc::mq_receive(*queue, text.cast(), MOST, std::ptr::null_mut()) }, "mq_receive")
            }
        };
        assert!(got == len);
    }
}
