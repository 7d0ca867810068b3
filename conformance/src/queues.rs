//! Message queues: calls on an agent and their results.

use crate::stat::Words;
use crate::{Address, Agent, Outcome};
use quintet::MsgFlags;

/// No flags: the call may block.
pub const WAIT: MsgFlags = MsgFlags::empty();
/// `IPC_NOWAIT` for queues.
pub const TRY: MsgFlags = MsgFlags::NOWAIT;
/// `MSG_NOERROR`.
pub const NOERROR: MsgFlags = MsgFlags::NOERROR;
/// `MSG_EXCEPT`.
pub const EXCEPT: MsgFlags = MsgFlags::EXCEPT;
/// `MSG_COPY`.
pub const COPY: MsgFlags = MsgFlags::COPY;

/// A message: type and text.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Message {
    pub mtype: i64,
    pub text: Vec<u8>,
}

/// Returns a message of this type and text.
pub fn message(mtype: i64, text: &[u8]) -> Message {
    Message { mtype, text: text.to_vec() }
}

/// Returns the text of a message in a storm of calls. The length identifies the content.
pub fn storm_text(number: usize) -> Vec<u8> {
    // Most are short.
    let len = if number % 1400 < 1300 { number % 100 } else { number % 1400 };
    (0..len).map(|i| (len ^ (i * 7)) as u8).collect()
}

/// All fields of `msqid_ds`, and the identifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Queue {
    /// The requested identifier, or the one that a call by index returned.
    pub id: i32,
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    pub mode: u32,
    pub seq: u32,
    pub stime: i64,
    pub rtime: i64,
    pub ctime: i64,
    pub cbytes: u64,
    pub qnum: u64,
    pub qbytes: u64,
    pub lspid: i32,
    pub lrpid: i32,
}

/// `msg_qbytes`, which `IPC_SET` sets in addition to owner and mode.
pub type Capacity = u64;

/// The three limits, and the highest index in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct MsgLimits {
    pub max_index: i32,
    pub msgmax: i32,
    pub msgmnb: i32,
    pub msgmni: i32,
}

/// The counts of `MSG_INFO`: `msgpool`, `msgmap` and `msgtql`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct MsgUsed {
    pub max_index: i32,
    pub queues: i32,
    pub messages: i32,
    pub bytes: i32,
}

/// `struct msginfo`, and the return value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct MsgInfo {
    pub ret: i32,
    pub msgpool: i32,
    pub msgmap: i32,
    pub msgmax: i32,
    pub msgmnb: i32,
    pub msgmni: i32,
    pub msgssz: i32,
    pub msgtql: i32,
    pub msgseg: i32,
}

impl Queue {
    pub(crate) fn parse(answer: &str) -> Queue {
        let mut w = Words::of(answer);
        Queue {
            id: w.next(),
            key: w.next(),
            uid: w.next(),
            gid: w.next(),
            cuid: w.next(),
            cgid: w.next(),
            mode: w.next(),
            seq: w.next(),
            stime: w.next(),
            rtime: w.next(),
            ctime: w.next(),
            cbytes: w.next(),
            qnum: w.next(),
            qbytes: w.next(),
            lspid: w.next(),
            lrpid: w.next(),
        }
    }

    /// Returns the number of messages and of bytes.
    pub fn counts(&self) -> (u64, u64) {
        (self.qnum, self.cbytes)
    }
}

impl Message {
    pub(crate) fn parse(words: &str) -> Message {
        let (mtype, digits) = words.split_once(' ').unwrap_or_else(|| panic!("no message: {words}"));
        Message { mtype: mtype.parse().expect("a type"), text: bytes(digits) }
    }

    pub(crate) fn parse_all(answer: &str) -> Vec<Message> {
        answer.split(',').filter(|words| !words.is_empty()).map(Message::parse).collect()
    }
}

/// Formats bytes as hexadecimal digits, `-` for none.
pub fn digits(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).expect("four bits");
    let all: String = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
    if all.is_empty() { "-".to_owned() } else { all }
}

/// Parses the output of [`digits`].
pub fn bytes(digits: &str) -> Vec<u8> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).expect("a hexadecimal digit") as u8;
    match digits {
        "-" => Vec::new(),
        all => all.as_bytes().chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | nibble(*digit))).collect(),
    }
}

fn send_command(id: i32, mtype: i64, text: &[u8], flags: MsgFlags) -> String {
    format!("msgsnd {id} {mtype} {} {}", digits(text), flags.bits())
}

fn receive_command(id: i32, size: usize, mtype: i64, flags: MsgFlags) -> String {
    format!("msgrcv {id} {size} {mtype} {}", flags.bits())
}

/// Calls on message queues.
#[allow(missing_docs)]
impl Agent {
    pub fn msgget(&self, key: i32, flags: i32) -> Outcome<i32> {
        self.ask_number(format_args!("msgget {key} {flags}"))
    }

    pub fn msgsnd(&self, id: i32, mtype: i64, text: &[u8], flags: MsgFlags) -> Outcome<()> {
        self.ask_done(send_command(id, mtype, text, flags))
    }

    pub fn msgrcv(&self, id: i32, size: usize, mtype: i64, flags: MsgFlags) -> Outcome<Message> {
        self.ask(receive_command(id, size, mtype, flags)).map(|words| Message::parse(&words))
    }

    /// Reads all messages in a queue and removes none.
    pub fn messages(&self, id: i32) -> Outcome<Vec<Message>> {
        self.ask(format_args!("msg_messages {id}")).map(|answer| Message::parse_all(&answer))
    }

    pub fn msg_stat(&self, id: i32) -> Outcome<Queue> {
        self.ask(format_args!("msg_stat {id}")).map(|a| Queue::parse(&a))
    }

    pub fn msg_stat_index(&self, index: i32) -> Outcome<Queue> {
        self.ask(format_args!("msg_stat_index {index}")).map(|a| Queue::parse(&a))
    }

    pub fn msg_stat_any(&self, index: i32) -> Outcome<Queue> {
        self.ask(format_args!("msg_stat_any {index}")).map(|a| Queue::parse(&a))
    }

    pub fn msg_set(&self, id: i32, uid: u32, gid: u32, mode: u32, qbytes: Capacity) -> Outcome<()> {
        self.ask_done(format_args!("msg_set {id} {uid} {gid} {mode} {qbytes}"))
    }

    /// Calls `IPC_SET` with the current owner and mode.
    pub fn msg_set_capacity(&self, id: i32, qbytes: Capacity) -> Outcome<()> {
        let q = self.msg_stat(id)?;
        self.msg_set(id, q.uid, q.gid, q.mode, qbytes)
    }

    pub fn msg_remove(&self, id: i32) -> Outcome<()> {
        self.ask_done(format_args!("msg_rm {id}"))
    }

    pub fn msg_limits(&self) -> Outcome<MsgLimits> {
        self.ask("msg_limits").map(|answer| {
            let mut w = Words::of(&answer);
            MsgLimits { max_index: w.next(), msgmax: w.next(), msgmnb: w.next(), msgmni: w.next() }
        })
    }

    pub fn msg_usage(&self) -> Outcome<MsgUsed> {
        self.ask("msg_usage").map(|answer| {
            let mut w = Words::of(&answer);
            MsgUsed { max_index: w.next(), queues: w.next(), messages: w.next(), bytes: w.next() }
        })
    }

    /// Returns the number of calls that wait in a queue. The kernel does not report it.
    pub(crate) fn msg_waiters(&self, id: i32) -> Outcome<usize> {
        self.ask(format_args!("msg_waiters {id}")).map(|n| n.parse().expect("a number"))
    }

    /// Calls `IPC_INFO` or `MSG_INFO` through the C interface.
    pub fn msginfo(&self, command: i32) -> Outcome<MsgInfo> {
        self.ask(format_args!("msginfo {command}")).map(|answer| {
            let mut w = Words::of(&answer);
            MsgInfo {
                ret: w.next(),
                msgpool: w.next(),
                msgmap: w.next(),
                msgmax: w.next(),
                msgmnb: w.next(),
                msgmni: w.next(),
                msgssz: w.next(),
                msgtql: w.next(),
                msgseg: w.next(),
            }
        })
    }

    /// Calls `msgctl(2)` with any command and any pointer.
    pub fn msgctl(&self, id: i32, command: i32, buffer: Address) -> Outcome<i32> {
        self.ask_number(format_args!("msgctl {id} {command} {buffer}"))
    }

    /// Calls `msgsnd(2)` with any pointer and any size.
    pub fn msgsnd_at(&self, id: i32, at: Address, size: usize, flags: MsgFlags) -> Outcome<()> {
        self.ask_done(format_args!("msgsnd_raw {id} {at} {size} {}", flags.bits()))
    }

    /// Calls `msgrcv(2)` with any pointer and any size. Returns the length.
    pub fn msgrcv_at(&self, id: i32, at: Address, size: usize, mtype: i64, flags: MsgFlags) -> Outcome<i32> {
        self.ask_number(format_args!("msgrcv_raw {id} {at} {size} {mtype} {}", flags.bits()))
    }

    /// Writes a message in the layout that `msgsnd` reads.
    pub fn write_message(&self, address: Address, mtype: i64, text: &[u8]) {
        self.write(address, &mtype.to_ne_bytes());
        self.write(address.plus(8), text);
    }
}

/// Calls with an answer that is read later.
impl Agent {
    /// Starts a `msgsnd`.
    pub fn start_msgsnd(&self, id: i32, mtype: i64, text: &[u8], flags: MsgFlags) {
        self.start(&send_command(id, mtype, text, flags));
    }

    /// Starts a `msgrcv`.
    pub fn start_msgrcv(&self, id: i32, size: usize, mtype: i64, flags: MsgFlags) {
        self.start(&receive_command(id, size, mtype, flags));
    }

    /// Starts a `msgrcv` with any pointer and any size.
    pub(crate) fn start_msgrcv_at(&self, id: i32, at: Address, size: usize, mtype: i64) {
        self.start(&format!("msgrcv_raw {id} {at} {size} {mtype} 0"));
    }

    /// Starts sending and receiving without end, in an order derived from `seed`.
    pub fn start_msg_storm(&self, id: i32, seed: u64) {
        self.start(&format!("msg_storm {id} {seed}"));
    }

    /// Returns the message that the started `msgrcv` received.
    pub fn answer_message(&self) -> Outcome<Message> {
        self.answer_in_words().map(|words| Message::parse(&words))
    }

    /// Returns the length that the started `msgrcv` with a pointer reported.
    pub fn answer_length(&self) -> Outcome<i32> {
        self.answer_in_words().map(|n| n.parse().expect("a number"))
    }

    /// Starts a `msgsnd` in a new thread. Returns the thread id.
    pub fn start_thread_msgsnd(&self, id: i32, mtype: i64, text: &[u8]) -> i32 {
        self.ask_number(format_args!("spawn_{}", send_command(id, mtype, text, WAIT))).expect("a thread")
    }

    /// Starts a `msgrcv` in a new thread. Returns the thread id.
    pub fn start_thread_msgrcv(&self, id: i32, size: usize, mtype: i64) -> i32 {
        self.ask_number(format_args!("spawn_{}", receive_command(id, size, mtype, WAIT))).expect("a thread")
    }

    /// Blocks until the `msgrcv` of a thread has returned.
    pub fn join_message(&self, tid: i32) -> Outcome<Message> {
        self.ask(format_args!("join {tid}")).map(|words| Message::parse(&words))
    }

    /// Makes the signal handler call `msgsnd` without blocking, too.
    pub fn handle_with_msgsnd(&self, id: i32, mtype: i64, text: &[u8]) {
        self.ask_done(format_args!("handler_msgsnd {id} {mtype} {}", digits(text))).expect("one action per process");
    }
}
