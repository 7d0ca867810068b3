//! Message queues that are damaged, or fill up: senders wait, or nobody receives.

use super::finding::Finding;
use crate::commands::view::count;
use quintet::{Attacher, MsgWait, Namespace, QueueRepair, QueueStatus};

/// A finding for each queue whose lists disagree with what is in it, because somebody has written to its file; it is made anew if `repair`.
pub fn damage(ns: &Namespace, repair: bool) -> Vec<Finding> {
    let damaged = match if repair { ns.repair_queues() } else { ns.damaged_queues() } {
        Ok(damaged) => damaged,
        Err(e) => {
            return vec![Finding::fail("damage", format!("cannot examine the message queues: {e}"), "see that they can be read")];
        }
    };
    if damaged.is_empty() {
        return vec![Finding::ok("damage", "no message queue that you may use is damaged")];
    }
    let told = |QueueRepair { id, messages, said }: &QueueRepair| {
        let kept = format!("{messages} of {}", count(*said, "message"));
        match repair {
            true => Finding::ok("damage", format!("msg:{id} was damaged, and has been made anew: {kept} could be kept")),
            false => Finding::warn(
                "damage",
                format!("msg:{id} is damaged: somebody has written to its file"),
                format!("'quintet doctor --repair' makes it anew; {kept} can be kept"),
            ),
        }
    };
    damaged.iter().map(told).collect()
}

/// A finding for each queue that deserves a look, or one that tells that none does. `users`: who uses the namespace.
pub fn examine(queues: &[QueueStatus], users: &[Attacher]) -> Vec<Finding> {
    let found: Vec<Finding> = queues.iter().filter_map(|queue| one(queue, users)).collect();
    if found.is_empty() { vec![Finding::ok("queues", "no sender waits for room, and no queue fills up unread")] } else { found }
}

fn one(queue: &QueueStatus, users: &[Attacher]) -> Option<Finding> {
    let id = queue.stat.id;
    let senders = queue.waiters.iter().filter(|waiter| matches!(waiter.wants, MsgWait::Send { .. })).count() as u64;
    if senders > 0 {
        let verb = if senders == 1 { "waits" } else { "wait" };
        let message = format!("{} {verb} for room in msg:{id}: it has {}", count(senders, "sender"), load(queue));
        let remedy = format!("'quintet why msg:{id}' shows them; 'quintet msg recv {id}' takes a message");
        return Some(Finding::warn("queues", message, remedy));
    }
    if is_full(queue) && !is_received_from(queue, users) {
        let last = match queue.stat.lrpid {
            0 => "nobody has ever received from it".to_owned(),
            pid => format!("pid {pid}, which received last, is gone"),
        };
        let message = format!("msg:{id} is full, or nearly, with {}, and {last}", load(queue));
        let remedy = format!("see that somebody receives: 'quintet msg recv {id}'; or 'quintet rm msg:{id}'");
        return Some(Finding::warn("queues", message, remedy));
    }
    None
}

/// "3 messages, 16000 bytes of 16384".
fn load(queue: &QueueStatus) -> String {
    let stat = &queue.stat;
    format!("{}, {} bytes of {}", count(stat.messages, "message"), stat.bytes, stat.capacity)
}

/// More than four fifths of what it takes; messages count, too, because empty ones take up room as well.
fn is_full(queue: &QueueStatus) -> bool {
    let stat = &queue.stat;
    stat.messages > 0 && u128::from(stat.bytes.max(stat.messages)) * 5 > u128::from(stat.capacity) * 4
}

/// Whether somebody waits to receive, or who received last still uses the namespace.
fn is_received_from(queue: &QueueStatus, users: &[Attacher]) -> bool {
    let lives = |pid| users.iter().any(|user| user.pid == pid);
    lives(queue.stat.lrpid) || queue.waiters.iter().any(|waiter| matches!(waiter.wants, MsgWait::Receive { .. }))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use quintet::{Id, Key, MsgFlags, MsgWaiter, Permissions, QueueStat};

    fn queue(messages: u64, bytes: u64, lrpid: i32, waits: &[MsgWait]) -> QueueStatus {
        let (key, id, perm) = (Key::PRIVATE, Id::new(0, 3), Permissions::default());
        let stat = QueueStat { key, id, perm, stime: 0, rtime: 0, ctime: 0, bytes, messages, capacity: 100, lspid: 1, lrpid };
        let waiter = |&wants| MsgWaiter { pid: 7, tid: 7, uid: 0, pid_visible: true, wants, since: 0 };
        let waiters = waits.iter().map(waiter).collect();
        QueueStatus { stat, oldest: None, types: Vec::new(), waiters, orphan: false }
    }

    fn said(queue: QueueStatus) -> Option<String> {
        let user = Attacher { pid: 9, pid_visible: true, uid: 0, count: 1 };
        one(&queue, &[user]).inspect(|finding| assert_eq!(finding.level, Level::Warn)).map(|finding| finding.message)
    }

    #[test]
    fn what_nobody_takes_out_is_noticed() {
        let send = MsgWait::Send { mtype: 1, len: 5 };
        let receive = MsgWait::Receive { mtype: 2, flags: MsgFlags::empty(), size: 10 };
        let never = "msg:3 is full, or nearly, with 2 messages, 90 bytes of 100, and nobody has ever received from it";
        assert_eq!(said(queue(2, 90, 0, &[])).as_deref(), Some(never));
        assert!(said(queue(2, 90, 8, &[])).unwrap().ends_with("and pid 8, which received last, is gone"));
        assert!(said(queue(90, 0, 0, &[])).unwrap().contains("90 messages, 0 bytes of 100"));
        assert!(
            said(queue(2, 90, 0, &[receive, send, send]))
                .unwrap()
                .starts_with("2 senders wait for room in msg:3: it has 2 messages")
        );
        for fine in [queue(2, 80, 0, &[]), queue(2, 90, 9, &[]), queue(2, 90, 0, &[receive]), queue(0, 0, 0, &[])] {
            assert_eq!(said(fine), None);
        }
    }
}
