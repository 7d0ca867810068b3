//! Message queues.

use super::perm::{KeyView, UserView, mode_text};
use super::process::ProcessView;
use crate::system::users::Users;
use crate::words::{age, count, local_time};
use quintet::{MessageStat, MsgFlags, MsgWait, MsgWaiter, Namespace, QueueStatus, TypeCount};
use serde::Serialize;

/// A message, without its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct MessageView {
    #[serde(rename = "type")]
    pub mtype: i64,
    pub length: usize,
    /// `None` for messages of the kernel, which does not record it.
    pub sender: Option<i32>,
    /// `None` for messages of the kernel, which does not record it.
    pub sent: Option<i64>,
}

impl From<&MessageStat> for MessageView {
    fn from(message: &MessageStat) -> MessageView {
        let MessageStat { mtype, len: length, sender, sent } = *message;
        MessageView { mtype, length, sender: (sender != 0).then_some(sender), sent: (sent != 0).then_some(sent) }
    }
}

impl MessageView {
    /// Returns "type 3, 5 bytes".
    pub fn phrase(&self) -> String {
        format!("type {}, {}", self.mtype, count(self.length as u64, "byte"))
    }

    /// Returns ", sent 2026-11-20 10:00:00 (12 s ago) by pid 7", as far as that is known.
    pub fn origin(&self) -> String {
        let sent = self.sent.map_or(String::new(), |sent| format!(", sent {} ({} ago)", local_time(sent), self.age()));
        let sender = self.sender.map_or(String::new(), |pid| format!(" by pid {pid}"));
        format!("{sent}{sender}")
    }

    /// Returns how long ago it was sent: `12 s`; `-` if that is unknown.
    pub fn age(&self) -> String {
        self.sent.map_or("-".to_owned(), |sent| age(jiff::Timestamp::now().as_second() - sent))
    }
}

/// The messages of one type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct TypeView {
    #[serde(rename = "type")]
    pub mtype: i64,
    pub messages: u64,
    pub bytes: u64,
}

impl From<&TypeCount> for TypeView {
    fn from(count: &TypeCount) -> TypeView {
        let TypeCount { mtype, messages, bytes } = *count;
        TypeView { mtype, messages, bytes }
    }
}

/// A blocked `msgsnd` or `msgrcv` call.
#[derive(Clone, Debug, Serialize)]
pub struct QueueWaiterView {
    #[serde(flatten)]
    pub process: ProcessView,
    pub tid: i32,
    #[serde(flatten)]
    pub call: CallView,
    pub since: i64,
}

/// The arguments of a blocked call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "call", rename_all = "lowercase")]
pub enum CallView {
    Send {
        #[serde(rename = "type")]
        mtype: i64,
        length: usize,
    },
    Receive {
        /// The argument of `msgrcv`: 0 for any type, -N for the lowest type up to N.
        #[serde(rename = "type")]
        mtype: i64,
        /// `MSG_EXCEPT`: any type but this one.
        except: bool,
        /// `MSG_NOERROR`: a longer message is truncated.
        noerror: bool,
        /// The size of the buffer in bytes.
        size: usize,
    },
}

impl QueueWaiterView {
    pub fn new(waiter: &MsgWaiter, users: &Users) -> QueueWaiterView {
        QueueWaiterView {
            process: ProcessView::new(waiter.pid, waiter.pid_visible, waiter.uid, users),
            tid: waiter.tid,
            call: waiter.wants.into(),
            since: (waiter.since / 1_000_000_000) as i64,
        }
    }
}

impl From<MsgWait> for CallView {
    fn from(wait: MsgWait) -> CallView {
        match wait {
            MsgWait::Send { mtype, len } => CallView::Send { mtype, length: len },
            MsgWait::Receive { mtype, flags, size } => CallView::Receive {
                mtype,
                except: mtype > 0 && flags.contains(MsgFlags::EXCEPT),
                noerror: flags.contains(MsgFlags::NOERROR),
                size,
            },
        }
    }
}

impl CallView {
    pub fn sends(&self) -> bool {
        matches!(self, CallView::Send { .. })
    }

    /// Returns what the call waits for: "room for 5 bytes of type 3", "a message of type 3 or
    /// lower".
    pub fn awaited(&self) -> String {
        match *self {
            CallView::Send { mtype, length } => format!("room for {} of type {mtype}", count(length as u64, "byte")),
            CallView::Receive { mtype: 0, .. } => "a message of any type".to_owned(),
            CallView::Receive { mtype, except: true, .. } => format!("a message that is not of type {mtype}"),
            CallView::Receive { mtype: mtype @ 1.., .. } => format!("a message of type {mtype}"),
            CallView::Receive { mtype: -1, .. } => "a message of type 1".to_owned(),
            CallView::Receive { mtype, .. } => format!("a message of type {} or lower", mtype.unsigned_abs()),
        }
    }

    /// Returns `true` if this call receives the message that the call `sender` sends.
    pub fn is_served_by(&self, sender: &CallView) -> bool {
        matches!(*sender, CallView::Send { mtype, .. } if self.receives(mtype))
    }

    /// Returns `true` if the call receives messages of this type. A sender receives none.
    pub fn receives(&self, other: i64) -> bool {
        match *self {
            CallView::Send { .. } | CallView::Receive { mtype: 0, .. } => !self.sends(),
            CallView::Receive { mtype, except: true, .. } => other != mtype,
            CallView::Receive { mtype, .. } if mtype > 0 => other == mtype,
            CallView::Receive { mtype, .. } => other.unsigned_abs() <= mtype.unsigned_abs(),
        }
    }
}

/// The status of a queue.
#[derive(Serialize)]
pub struct QueueView {
    pub id: i32,
    pub key: KeyView,
    pub owner: UserView,
    pub creator: UserView,
    pub mode: u32,
    pub mode_text: String,
    pub messages: u64,
    pub bytes: u64,
    pub capacity: u64,
    pub lspid: i32,
    pub lrpid: i32,
    pub stime: i64,
    pub rtime: i64,
    pub ctime: i64,
    pub orphan: bool,
    pub oldest: Option<MessageView>,
    /// `None` for queues of the kernel, and without read permission.
    pub types: Option<Vec<TypeView>>,
    /// `None` for queues of the kernel, which does not list waiters.
    pub waiters: Option<Vec<QueueWaiterView>>,
}

impl QueueView {
    pub fn new(ns: &Namespace, status: &QueueStatus, users: &Users) -> QueueView {
        let (stat, perm) = (&status.stat, &status.stat.perm);
        let is_listed = ns.path().is_some();
        let types: Vec<TypeView> = status.types.iter().map(TypeView::from).collect();
        QueueView {
            id: stat.id.raw(),
            key: stat.key.into(),
            owner: UserView::owner(perm, users),
            creator: UserView::creator(perm, users),
            mode: perm.mode,
            mode_text: mode_text(perm.mode),
            messages: stat.messages,
            bytes: stat.bytes,
            capacity: stat.capacity,
            lspid: stat.lspid,
            lrpid: stat.lrpid,
            stime: stat.stime,
            rtime: stat.rtime,
            ctime: stat.ctime,
            orphan: status.orphan,
            oldest: status.oldest.as_ref().map(MessageView::from),
            types: (is_listed && (stat.messages == 0 || !types.is_empty())).then_some(types),
            waiters: is_listed.then(|| status.waiters.iter().map(|w| QueueWaiterView::new(w, users)).collect()),
        }
    }

    /// Returns the first types with their numbers of messages: `1:20 7:1`, or `1:20 2:1 3:1 4:1
    /// ...`.
    ///
    /// Returns `-` if there are none, or if they are unknown.
    pub fn types(&self) -> String {
        const SHOWN: usize = 4;
        let all = self.types.as_deref().unwrap_or_default();
        let mut types: Vec<String> = all.iter().take(SHOWN).map(|t| format!("{}:{}", t.mtype, t.messages)).collect();
        match all.len() {
            0 => return "-".to_owned(),
            n if n > SHOWN => types.push("...".to_owned()),
            _ => {}
        }
        types.join(" ")
    }

    /// Returns the number of blocked calls; `-` if it is unknown.
    pub fn waiting(&self) -> String {
        self.waiters.as_ref().map_or("-".to_owned(), |waiters| waiters.len().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(mtype: i64, flags: MsgFlags) -> CallView {
        MsgWait::Receive { mtype, flags, size: 10 }.into()
    }

    #[test]
    fn a_call_tells_what_it_waits_for_and_receives() {
        let none = MsgFlags::empty();
        let cases = [
            (receive(0, MsgFlags::EXCEPT), "a message of any type", [true, true, true]),
            (receive(2, none), "a message of type 2", [false, true, false]),
            (receive(2, MsgFlags::EXCEPT), "a message that is not of type 2", [true, false, true]),
            (receive(-2, MsgFlags::EXCEPT), "a message of type 2 or lower", [true, true, false]),
            (receive(-1, none), "a message of type 1", [true, false, false]),
            (receive(i64::MIN, none), "a message of type 9223372036854775808 or lower", [true, true, true]),
            (MsgWait::Send { mtype: 2, len: 1 }.into(), "room for 1 byte of type 2", [false, false, false]),
        ];
        assert!(receive(2, none).is_served_by(&cases[6].0) && !cases[6].0.is_served_by(&cases[6].0));
        for (call, awaited, receives) in cases {
            assert_eq!((call.awaited().as_str(), [1, 2, 3].map(|mtype| call.receives(mtype))), (awaited, receives));
        }
    }
}
