//! Message queues, as the controller sees them: the verbs, and what they tell.

use crate::stat::Words;
use crate::{Address, Agent, Outcome};
use quintet::MsgFlags;

/// No flag: waits.
pub const WAIT: MsgFlags = MsgFlags::empty();
/// `IPC_NOWAIT`, of queues.
pub const TRY: MsgFlags = MsgFlags::NOWAIT;
/// `MSG_NOERROR`.
pub const NOERROR: MsgFlags = MsgFlags::NOERROR;
/// `MSG_EXCEPT`.
pub const EXCEPT: MsgFlags = MsgFlags::EXCEPT;
/// `MSG_COPY`.
pub const COPY: MsgFlags = MsgFlags::COPY;

/// A message: its type, and its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Message {
    pub mtype: i64,
    pub text: Vec<u8>,
}

/// A message of this type.
pub fn message(mtype: i64, text: &[u8]) -> Message {
    Message { mtype, text: text.to_vec() }
}

/// What is sent in a storm: bytes that tell their number, which is made from any.
pub fn of_a_storm(number: usize) -> Vec<u8> {
    // Mostly short ones.
    let len = if number % 1400 < 1300 { number % 100 } else { number % 1400 };
    (0..len).map(|i| (len ^ (i * 7)) as u8).collect()
}

/// Every field of `msqid_ds`, and the identifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Queue {
    /// The identifier asked for, or, by index, the one that the call returned.
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

/// What `IPC_SET` gives besides owner and mode: `msg_qbytes`.
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

/// What `MSG_INFO` tells of use: `msgpool`, `msgmap` and `msgtql`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct MsgUsed {
    pub max_index: i32,
    pub queues: i32,
    pub messages: i32,
    pub bytes: i32,
}

/// `struct msginfo`, and the value returned.
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

    /// How many messages are in it, and how many bytes they have.
    pub fn holds(&self) -> (u64, u64) {
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

/// Bytes in hexadecimal digits; `-` if there are none.
pub fn digits(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).expect("four bits");
    let all: String = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
    if all.is_empty() { "-".to_owned() } else { all }
}

/// The bytes that [`digits`] has written.
pub fn bytes(digits: &str) -> Vec<u8> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).expect("a hexadecimal digit") as u8;
    match digits {
        "-" => Vec::new(),
        all => all.as_bytes().chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | nibble(*digit))).collect(),
    }
}

fn told_send(id: i32, mtype: i64, text: &[u8], flags: MsgFlags) -> String {
    format!("msgsnd {id} {mtype} {} {}", digits(text), flags.bits())
}

fn told_receive(id: i32, size: usize, mtype: i64, flags: MsgFlags) -> String {
    format!("msgrcv {id} {size} {mtype} {}", flags.bits())
}

/// The verbs of message queues.
#[allow(missing_docs)]
impl Agent {
    pub fn msgget(&self, key: i32, flags: i32) -> Outcome<i32> {
        self.ask_number(format_args!("msgget {key} {flags}"))
    }

    pub fn msgsnd(&self, id: i32, mtype: i64, text: &[u8], flags: MsgFlags) -> Outcome<()> {
        self.ask_done(told_send(id, mtype, text, flags))
    }

    pub fn msgrcv(&self, id: i32, size: usize, mtype: i64, flags: MsgFlags) -> Outcome<Message> {
        self.ask(told_receive(id, size, mtype, flags)).map(|words| Message::parse(&words))
    }

    /// All messages in a queue, without taking any.
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

    /// `IPC_SET` that leaves owner and mode as they are.
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

    /// How many calls wait in a queue; the kernel does not tell.
    pub(crate) fn msg_waiters(&self, id: i32) -> Outcome<usize> {
        self.ask(format_args!("msg_waiters {id}")).map(|n| n.parse().expect("a number"))
    }

    /// `IPC_INFO` or `MSG_INFO` in C.
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

    /// `msgctl(2)` with any command and any pointer.
    pub fn msgctl(&self, id: i32, command: i32, buffer: Address) -> Outcome<i32> {
        self.ask_number(format_args!("msgctl {id} {command} {buffer}"))
    }

    /// `msgsnd(2)` with any pointer and any size.
    pub fn msgsnd_at(&self, id: i32, at: Address, size: usize, flags: MsgFlags) -> Outcome<()> {
        self.ask_done(format_args!("msgsnd_raw {id} {at} {size} {}", flags.bits()))
    }

    /// `msgrcv(2)` with any pointer and any size; the length.
    pub fn msgrcv_at(&self, id: i32, at: Address, size: usize, mtype: i64, flags: MsgFlags) -> Outcome<i32> {
        self.ask_number(format_args!("msgrcv_raw {id} {at} {size} {mtype} {}", flags.bits()))
    }

    /// Writes a message as `msgsnd` reads it.
    pub fn write_message(&self, address: Address, mtype: i64, text: &[u8]) {
        self.write(address, &mtype.to_ne_bytes());
        self.write(address.plus(8), text);
    }
}

/// Calls whose answers are taken later.
impl Agent {
    /// Has it make a `msgsnd` whose answer is taken later.
    pub fn start_msgsnd(&self, id: i32, mtype: i64, text: &[u8], flags: MsgFlags) {
        self.start(&told_send(id, mtype, text, flags));
    }

    /// Has it make a `msgrcv` whose answer is taken later.
    pub fn start_msgrcv(&self, id: i32, size: usize, mtype: i64, flags: MsgFlags) {
        self.start(&told_receive(id, size, mtype, flags));
    }

    /// Has it make a `msgrcv` with any pointer and any size whose answer is taken later.
    pub(crate) fn start_msgrcv_at(&self, id: i32, at: Address, size: usize, mtype: i64) {
        self.start(&format!("msgrcv_raw {id} {at} {size} {mtype} 0"));
    }

    /// Has it send and receive without end, in an order made from `seed`.
    pub fn start_msg_storm(&self, id: i32, seed: u64) {
        self.start(&format!("msg_storm {id} {seed}"));
    }

    /// The message that the `msgrcv` which was started has received.
    pub fn answer_message(&self) -> Outcome<Message> {
        self.answer_in_words().map(|words| Message::parse(&words))
    }

    /// The length that the `msgrcv` which was started with a pointer has told.
    pub fn answer_length(&self) -> Outcome<i32> {
        self.answer_in_words().map(|n| n.parse().expect("a number"))
    }

    /// Has a thread of its own make a `msgsnd`; the thread's id.
    pub fn start_thread_msgsnd(&self, id: i32, mtype: i64, text: &[u8]) -> i32 {
        self.ask_number(format_args!("spawn_{}", told_send(id, mtype, text, WAIT))).expect("a thread")
    }

    /// Has a thread of its own make a `msgrcv`; the thread's id.
    pub fn start_thread_msgrcv(&self, id: i32, size: usize, mtype: i64) -> i32 {
        self.ask_number(format_args!("spawn_{}", told_receive(id, size, mtype, WAIT))).expect("a thread")
    }

    /// Waits for the end of the `msgrcv` of a thread that was started.
    pub fn join_message(&self, tid: i32) -> Outcome<Message> {
        self.ask(format_args!("join {tid}")).map(|words| Message::parse(&words))
    }

    /// Has the handler make a `msgsnd` that does not wait, too.
    pub fn handle_with_msgsnd(&self, id: i32, mtype: i64, text: &[u8]) {
        self.ask_done(format_args!("handler_msgsnd {id} {mtype} {}", digits(text))).expect("a deed");
    }
}
