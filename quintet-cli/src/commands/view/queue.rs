//! A message queue as the subcommands show it.

use super::{KeyView, UserView, Who, count, mode_text};
use crate::duration::spoken;
use crate::users::Users;
use quintet::{MessageStat, MsgFlags, MsgWait, MsgWaiter, Namespace, QueueStatus, TypeCount};
use serde::Serialize;

/// A message, without its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct MessageView {
    #[serde(rename = "type")]
    pub mtype: i64,
    pub length: usize,
    /// `None` where that is not told: of the kernel's messages.
    pub sender: Option<i32>,
    /// As above.
    pub sent: Option<i64>,
}

impl From<&MessageStat> for MessageView {
    fn from(message: &MessageStat) -> MessageView {
        let MessageStat { mtype, len: length, sender, sent } = *message;
        MessageView { mtype, length, sender: (sender != 0).then_some(sender), sent: (sent != 0).then_some(sent) }
    }
}

impl MessageView {
    /// "type 3, 5 bytes".
    pub fn sentence(&self) -> String {
        format!("type {}, {}", self.mtype, count(self.length as u64, "byte"))
    }

    /// How long ago it was sent: `12 s`; `-` where that is not told.
    pub fn age(&self) -> String {
        self.sent.map_or("-".to_owned(), |sent| spoken(jiff::Timestamp::now().as_second() - sent))
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

/// A call that waits, and what it wants.
#[derive(Clone, Debug, Serialize)]
pub struct QueueWaiterView {
    #[serde(flatten)]
    pub who: Who,
    pub tid: i32,
    #[serde(flatten)]
    pub wants: WantsView,
    pub since: i64,
}

/// What a waiting call wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "call", rename_all = "lowercase")]
pub enum WantsView {
    Send {
        #[serde(rename = "type")]
        mtype: i64,
        length: usize,
    },
    Receive {
        /// As `msgrcv` has it: 0 any, below 0 up to that.
        #[serde(rename = "type")]
        mtype: i64,
        /// Any but this type.
        except: bool,
        /// What is too long is cut off.
        noerror: bool,
        /// The size of its buffer.
        size: usize,
    },
}

impl QueueWaiterView {
    pub fn new(waiter: &MsgWaiter, users: &Users) -> QueueWaiterView {
        QueueWaiterView {
            who: Who::new(waiter.pid, waiter.pid_visible, waiter.uid, users),
            tid: waiter.tid,
            wants: waiter.wants.into(),
            since: (waiter.since / 1_000_000_000) as i64,
        }
    }
}

impl From<MsgWait> for WantsView {
    fn from(wait: MsgWait) -> WantsView {
        match wait {
            MsgWait::Send { mtype, len } => WantsView::Send { mtype, length: len },
            MsgWait::Receive { mtype, flags, size } => WantsView::Receive {
                mtype,
                except: mtype > 0 && flags.contains(MsgFlags::EXCEPT),
                noerror: flags.contains(MsgFlags::NOERROR),
                size,
            },
        }
    }
}

impl WantsView {
    pub fn sends(&self) -> bool {
        matches!(self, WantsView::Send { .. })
    }

    /// What it waits for: "room for 5 bytes of type 3", "a message of type 3 or lower".
    pub fn sentence(&self) -> String {
        match *self {
            WantsView::Send { mtype, length } => format!("room for {} of type {mtype}", count(length as u64, "byte")),
            WantsView::Receive { mtype: 0, .. } => "a message of any type".to_owned(),
            WantsView::Receive { mtype, except: true, .. } => format!("a message that is not of type {mtype}"),
            WantsView::Receive { mtype: mtype @ 1.., .. } => format!("a message of type {mtype}"),
            WantsView::Receive { mtype: -1, .. } => "a message of type 1".to_owned(),
            WantsView::Receive { mtype, .. } => format!("a message of type {} or lower", mtype.unsigned_abs()),
        }
    }

    /// Whether this is a receiver who takes what that sender has.
    pub fn is_served_by(&self, sender: &WantsView) -> bool {
        matches!(*sender, WantsView::Send { mtype, .. } if self.takes(mtype))
    }

    /// Whether a receiver takes messages of a type; a sender takes none.
    pub fn takes(&self, other: i64) -> bool {
        match *self {
            WantsView::Send { .. } | WantsView::Receive { mtype: 0, .. } => !self.sends(),
            WantsView::Receive { mtype, except: true, .. } => other != mtype,
            WantsView::Receive { mtype, .. } if mtype > 0 => other == mtype,
            WantsView::Receive { mtype, .. } => other.unsigned_abs() <= mtype.unsigned_abs(),
        }
    }
}

/// A queue with all that is known of it.
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
    /// `None` where that is not told: of the kernel's queues, and of those that may not be read.
    pub types: Option<Vec<TypeView>>,
    /// `None` where that is not told: of the kernel's queues.
    pub waiters: Option<Vec<QueueWaiterView>>,
}

impl QueueView {
    pub fn new(ns: &Namespace, status: &QueueStatus, users: &Users) -> QueueView {
        let (stat, perm) = (&status.stat, &status.stat.perm);
        let told = ns.path().is_some();
        let types: Vec<TypeView> = status.types.iter().map(TypeView::from).collect();
        QueueView {
            id: stat.id.raw(),
            key: stat.key.into(),
            owner: UserView { uid: perm.uid, gid: perm.gid, user: users.name(perm.uid) },
            creator: UserView { uid: perm.cuid, gid: perm.cgid, user: users.name(perm.cuid) },
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
            types: (told && (stat.messages == 0 || !types.is_empty())).then_some(types),
            waiters: told.then(|| status.waiters.iter().map(|w| QueueWaiterView::new(w, users)).collect()),
        }
    }

    /// The first types and how many messages there are of each: `1:20 7:1`, or `1:20 2:1 3:1 4:1 ...`; `-` where there are none or that
    /// is not told.
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

    /// How many calls wait; `-` where that is not told.
    pub fn waiting(&self) -> String {
        self.waiters.as_ref().map_or("-".to_owned(), |waiters| waiters.len().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(mtype: i64, flags: MsgFlags) -> WantsView {
        MsgWait::Receive { mtype, flags, size: 10 }.into()
    }

    #[test]
    fn what_a_call_wants_is_said_and_known() {
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
        for (wants, sentence, takes) in cases {
            assert_eq!((wants.sentence().as_str(), [1, 2, 3].map(|mtype| wants.takes(mtype))), (sentence, takes));
        }
    }
}
