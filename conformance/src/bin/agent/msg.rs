//! Calls on message queues, through libc or through the library.

use crate::calls::Interface;
use crate::{Answer, c_msg, c_sem, number, threads};
use conformance::{bytes, digits, storm_text};
use quintet::{Key, MsgFlags, Namespace, QueueStat};

type CallResult<T> = Result<T, i32>;

/// The calls, independent of the interface.
trait Queues: Send + Sync {
    fn get(&self, key: i32, flags: i32) -> CallResult<i32>;
    fn send(&self, id: i32, mtype: i64, text: &[u8], flags: i32) -> CallResult<()>;
    /// Returns a function that sends the same message each time without blocking or allocating. It
    /// ignores errors.
    fn sender(&self, id: i32, mtype: i64, text: Vec<u8>) -> impl Fn() + Send + Sync + 'static;
    /// Receives a message: type and text.
    fn receive(&self, id: i32, size: usize, mtype: i64, flags: i32) -> CallResult<(i64, Vec<u8>)>;
    /// Reads all messages in order and removes none.
    fn messages(&self, id: i32) -> CallResult<Vec<(i64, Vec<u8>)>>;
    /// `IPC_STAT`, `MSG_STAT` or `MSG_STAT_ANY`. Returns the fields in the order in which
    /// `conformance::Queue` parses them.
    fn stat(&self, id: i32, command: i32) -> CallResult<String>;
    fn set(&self, id: i32, uid: u32, gid: u32, mode: u32, capacity: u64) -> CallResult<()>;
    fn remove(&self, id: i32) -> CallResult<()>;
    /// Returns the highest index and the three limits.
    fn limits(&self) -> CallResult<String>;
    /// Returns the highest index and the numbers of queues, messages and bytes.
    fn usage(&self) -> CallResult<String>;
    /// Returns the number of calls that wait in a queue. The kernel does not report it.
    fn waiters(&self, id: i32) -> CallResult<usize>;
}

/// Calls through libc's functions.
#[derive(Clone)]
struct Libc;

impl Queues for Libc {
    fn get(&self, key: i32, flags: i32) -> CallResult<i32> {
        c_msg::msgget(key, flags)
    }

    fn send(&self, id: i32, mtype: i64, text: &[u8], flags: i32) -> CallResult<()> {
        c_msg::send(id, &c_msg::laid_out(mtype, text), flags)
    }

    fn sender(&self, id: i32, mtype: i64, text: Vec<u8>) -> impl Fn() + Send + Sync + 'static {
        let message = c_msg::laid_out(mtype, &text);
        move || {
            let _ = c_msg::send(id, &message, libc::IPC_NOWAIT);
        }
    }

    fn receive(&self, id: i32, size: usize, mtype: i64, flags: i32) -> CallResult<(i64, Vec<u8>)> {
        c_msg::receive(id, size, mtype, flags)
    }

    fn messages(&self, id: i32) -> CallResult<Vec<(i64, Vec<u8>)>> {
        let copy = (MsgFlags::COPY | MsgFlags::NOWAIT).bits();
        let (mut all, mut size) = (Vec::new(), 256);
        loop {
            match c_msg::receive(id, size, all.len() as i64, copy) {
                Ok(message) => all.push(message),
                Err(libc::E2BIG) => size = c_msg::ROOM,
                Err(libc::ENOMSG) => return Ok(all),
                Err(e) => return Err(e),
            }
        }
    }

    fn stat(&self, id: i32, command: i32) -> CallResult<String> {
        let (ret, ds) = c_msg::stat(id, command)?;
        let id = if command == libc::IPC_STAT { id } else { ret };
        let p = &ds.msg_perm;
        let identity = format!("{id} {} {} {} {} {} {} {}", quintet::abi::key(p), p.uid, p.gid, p.cuid, p.cgid, p.mode, p.__seq);
        let times = format!("{} {} {}", ds.msg_stime, ds.msg_rtime, ds.msg_ctime);
        let counts = format!("{} {} {}", ds.__msg_cbytes, ds.msg_qnum, ds.msg_qbytes);
        Ok(format!("{identity} {times} {counts} {} {}", ds.msg_lspid, ds.msg_lrpid))
    }

    fn set(&self, id: i32, uid: u32, gid: u32, mode: u32, capacity: u64) -> CallResult<()> {
        c_msg::set(id, uid, gid, mode, capacity)
    }

    fn remove(&self, id: i32) -> CallResult<()> {
        c_msg::msgctl(id, libc::IPC_RMID, 0).map(drop)
    }

    fn limits(&self) -> CallResult<String> {
        c_msg::info(c_msg::IPC_INFO).map(|(max, i)| format!("{max} {} {} {}", i.msgmax, i.msgmnb, i.msgmni))
    }

    fn usage(&self) -> CallResult<String> {
        c_msg::info(c_msg::MSG_INFO).map(|(max, i)| format!("{max} {} {} {}", i.msgpool, i.msgmap, i.msgtql))
    }

    fn waiters(&self, _id: i32) -> CallResult<usize> {
        Err(libc::ENOTSUP)
    }
}

impl Queues for Namespace {
    fn get(&self, key: i32, flags: i32) -> CallResult<i32> {
        self.msgget(Key::new(key), flags).map(|id| id.raw()).map_err(|e| e.raw())
    }

    fn send(&self, id: i32, mtype: i64, text: &[u8], flags: i32) -> CallResult<()> {
        self.msgsnd(id, mtype, text, MsgFlags::from_bits_retain(flags), None).map_err(|e| e.raw())
    }

    fn sender(&self, id: i32, mtype: i64, text: Vec<u8>) -> impl Fn() + Send + Sync + 'static {
        let ns = self.clone();
        move || {
            let _ = ns.msgsnd(id, mtype, &text, MsgFlags::NOWAIT, None);
        }
    }

    fn receive(&self, id: i32, size: usize, mtype: i64, flags: i32) -> CallResult<(i64, Vec<u8>)> {
        let mut buffer = vec![c_msg::UNTOUCHED; size.min(c_msg::ROOM)];
        let received = self.msgrcv(id, &mut buffer, mtype, MsgFlags::from_bits_retain(flags), None);
        let written = received.map_or(0, |(_, len)| len);
        if buffer.get(written..).is_none_or(|rest| rest.iter().any(|byte| *byte != c_msg::UNTOUCHED)) {
            return Err(c_msg::SPILLED);
        }
        buffer.truncate(written);
        received.map(|(mtype, _)| (mtype, buffer)).map_err(|e| e.raw())
    }

    fn messages(&self, id: i32) -> CallResult<Vec<(i64, Vec<u8>)>> {
        let mut all = Vec::new();
        let looked = self.peek(id, |message, text| {
            all.push((message.mtype, text.to_vec()));
            true
        });
        looked.map(|()| all).map_err(|e| e.raw())
    }

    fn stat(&self, id: i32, command: i32) -> CallResult<String> {
        let stat = match command {
            libc::IPC_STAT => self.msg_stat(id),
            _ => self.msg_stat_index(id, command == c_msg::MSG_STAT_ANY),
        };
        stat.map(|s| describe(&s)).map_err(|e| e.raw())
    }

    fn set(&self, id: i32, uid: u32, gid: u32, mode: u32, capacity: u64) -> CallResult<()> {
        self.msg_set(id, uid, gid, mode, capacity).map_err(|e| e.raw())
    }

    fn remove(&self, id: i32) -> CallResult<()> {
        self.msg_remove(id).map_err(|e| e.raw())
    }

    fn limits(&self) -> CallResult<String> {
        let text = self.limits().and_then(|l| {
            let max = self.msg_usage()?.max_index;
            Ok(format!("{max} {} {} {}", l.msgmax, l.msgmnb, l.msgmni))
        });
        text.map_err(|e| e.raw())
    }

    fn usage(&self) -> CallResult<String> {
        let usage = self.msg_usage().map_err(|e| e.raw())?;
        Ok(format!("{} {} {} {}", usage.max_index, usage.queues, usage.messages, usage.bytes))
    }

    fn waiters(&self, id: i32) -> CallResult<usize> {
        let all = self.queues().map_err(|e| e.raw())?;
        Ok(all.iter().find(|queue| queue.stat.id.raw() == id).map_or(0, |queue| queue.waiters.len()))
    }
}

fn describe(s: &QueueStat) -> String {
    let (id, p) = (s.id, &s.perm);
    let identity = format!("{} {} {} {} {} {}", id.raw(), s.key.raw(), p.uid, p.gid, p.cuid, p.cgid);
    let times = format!("{} {} {}", s.stime, s.rtime, s.ctime);
    let counts = format!("{} {} {}", s.bytes, s.messages, s.capacity);
    format!("{identity} {} {} {times} {counts} {} {}", p.mode, id.sequence(), s.lspid, s.lrpid)
}

const VERBS: &[&str] = &[
    "msgget",
    "msgsnd",
    "msgrcv",
    "msg_messages",
    "msg_snapshot",
    "msg_stat",
    "msg_stat_index",
    "msg_stat_any",
    "msg_set",
    "msg_rm",
    "msg_limits",
    "msg_usage",
    "msg_waiters",
    "spawn_msgsnd",
    "spawn_msgrcv",
    "handler_msgsnd",
    "msg_storm",
];

/// Executes `verb` if it is a call on message queues.
pub fn perform(interface: &Interface, verb: &str, args: &[&str]) -> Option<Answer> {
    if let Some(answer) = in_c(verb, args) {
        return Some(answer);
    }
    if !VERBS.contains(&verb) {
        return None;
    }
    Some(match interface.namespace() {
        None => by(Libc, verb, args),
        Some(Ok(ns)) => by(ns.clone(), verb, args),
        Some(Err(errno)) => Err(errno),
    })
}

/// Executes what only the C interface has.
fn in_c(verb: &str, args: &[&str]) -> Option<Answer> {
    let at = |i: usize| number::<usize>(args[i]);
    Some(match verb {
        "msgsnd_raw" => c_msg::msgsnd(number(args[0]), at(1), at(2), number(args[3])).map(|()| String::new()),
        "msgrcv_raw" => {
            let (mtype, flags) = (number(args[3]), number(args[4]));
            c_msg::msgrcv(number(args[0]), at(1), at(2), mtype, flags).map(|len| len.to_string())
        }
        "msgctl" => c_msg::msgctl(number(args[0]), number(args[1]), at(2)).map(|ret| ret.to_string()),
        "msginfo" => c_msg::info(number(args[0])).map(|(max, i)| {
            let constants = format!("{} {} {}", i.msgssz, i.msgtql, i.msgseg);
            format!("{max} {} {} {} {} {} {constants}", i.msgpool, i.msgmap, i.msgmax, i.msgmnb, i.msgmni)
        }),
        _ => return None,
    })
}

fn by(queues: impl Queues + Clone + 'static, verb: &str, args: &[&str]) -> Answer {
    let id = || number::<i32>(args[0]);
    let done = |()| String::new();
    match verb {
        "msgget" => queues.get(id(), number(args[1])).map(|id| id.to_string()),
        "msgsnd" => send(&queues, args),
        "msgrcv" => receive(&queues, args),
        "msg_messages" => messages(&queues, id()),
        "msg_snapshot" => Ok(snapshot(&queues, args[0])),
        "msg_stat" => queues.stat(id(), libc::IPC_STAT),
        "msg_stat_index" => queues.stat(id(), c_msg::MSG_STAT),
        "msg_stat_any" => queues.stat(id(), c_msg::MSG_STAT_ANY),
        "msg_set" => queues.set(id(), number(args[1]), number(args[2]), number(args[3]), number(args[4])).map(done),
        "msg_rm" => queues.remove(id()).map(done),
        "msg_limits" => queues.limits(),
        "msg_usage" => queues.usage(),
        "msg_waiters" => queues.waiters(id()).map(|n| n.to_string()),
        "spawn_msgsnd" => Ok(threads::spawn(args, move |args| send(&queues, args))),
        "spawn_msgrcv" => Ok(threads::spawn(args, move |args| receive(&queues, args))),
        "handler_msgsnd" => {
            c_sem::handle_with(queues.sender(id(), number(args[1]), bytes(args[2])));
            Ok(String::new())
        }
        "msg_storm" => Err(storm(&queues, id(), number(args[1]))),
        _ => Err(libc::ENOTSUP),
    }
}

/// Sends and receives in random order. Returns only after an unexpected errno.
fn storm(queues: &impl Queues, id: i32, mut rng: u64) -> i32 {
    loop {
        rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (next, wait) = ((rng >> 33) as usize, if rng >> 60 == 0 { 0 } else { libc::IPC_NOWAIT });
        let done = match next & 1 {
            0 => queues.send(id, 1 + (next >> 1 & 3) as i64, &storm_text(next >> 3), wait),
            _ => queues.receive(id, 8192, [0, 1, 2, -3][next >> 1 & 3], wait).and_then(|(_, text)| match text {
                text if text == storm_text(text.len()) => Ok(()),
                _ => Err(libc::EBADMSG),
            }),
        };
        match done {
            Ok(()) | Err(libc::EAGAIN | libc::ENOMSG | libc::EINTR) => {}
            // A signal handler has sent a message meanwhile; see docs/semantics.md.
            Err(c_msg::SPILLED) if c_sem::handled() > 0 => {}
            Err(e) => return e,
        }
    }
}

fn send(queues: &impl Queues, args: &[&str]) -> Answer {
    queues.send(number(args[0]), number(args[1]), &bytes(args[2]), number(args[3])).map(|()| String::new())
}

fn receive(queues: &impl Queues, args: &[&str]) -> Answer {
    let received = queues.receive(number(args[0]), number(args[1]), number(args[2]), number(args[3]));
    received.map(|message| words(&message))
}

fn messages(queues: &impl Queues, id: i32) -> Answer {
    let all = queues.messages(id)?;
    Ok(all.iter().map(words).collect::<Vec<_>>().join(","))
}

/// Returns, for each queue, `msqid_ds` and messages, or an errno.
fn snapshot(queues: &impl Queues, ids: &str) -> String {
    let see = |id: i32| Ok(format!("{};{}", queues.stat(id, libc::IPC_STAT)?, messages(queues, id)?));
    let each = ids.split(',').map(|id| see(number(id)).unwrap_or_else(|errno: i32| errno.to_string()));
    each.collect::<Vec<_>>().join("|")
}

/// Formats a message: the type, then the text in hexadecimal digits, `-` if it is empty.
fn words((mtype, text): &(i64, Vec<u8>)) -> String {
    format!("{mtype} {}", digits(text))
}
