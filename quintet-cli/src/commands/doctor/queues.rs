//! Message queues that are damaged, or that fill up because no process receives.

use super::finding::Finding;
use crate::hint;
use crate::words::count;
use quintet::{Attacher, MsgWait, Namespace, QueueRepair, QueueStatus};

/// Returns a finding for each damaged queue: its lists contradict its content. Rebuilds them if
/// `repair` is set.
pub fn damage(ns: &Namespace, repair: bool) -> Vec<Finding> {
    let damaged = match if repair { ns.repair_queues() } else { ns.damaged_queues() } {
        Ok(damaged) => damaged,
        Err(e) => {
            let message = format!("cannot examine the message queues: {e}");
            return vec![Finding::fail("damage", message, "check that you have permission to read them")];
        }
    };
    if damaged.is_empty() {
        return vec![Finding::ok("damage", "no message queue that you have access to is damaged")];
    }
    damaged.iter().map(|queue| damaged_queue(ns, queue, repair)).collect()
}

fn damaged_queue(ns: &Namespace, queue: &QueueRepair, repair: bool) -> Finding {
    let QueueRepair { id, messages, claimed: recorded } = queue;
    let intact = format!("{messages} of {}", count(*recorded, "message"));
    if repair {
        return Finding::ok("damage", format!("msg:{id} was damaged and has been rebuilt: {intact} were kept"));
    }
    let message = format!("msg:{id} is damaged: another program wrote to its file");
    Finding::warn("damage", message, format!("{} rebuilds it and keeps {intact}", hint::on(ns, "doctor --repair")))
}

/// Returns a finding for each queue with blocked senders or without a receiver, or one for all if
/// there is none.
pub fn examine(ns: &Namespace, queues: &[QueueStatus]) -> Vec<Finding> {
    let participants = ns.participants().unwrap_or_default();
    let found: Vec<Finding> = queues.iter().filter_map(|queue| examine_queue(ns, queue, &participants)).collect();
    if found.is_empty() {
        return vec![Finding::ok("queues", "no sender is blocked, and no queue fills up without a receiver")];
    }
    found
}

fn examine_queue(ns: &Namespace, queue: &QueueStatus, participants: &[Attacher]) -> Option<Finding> {
    let id = queue.stat.id;
    let receive = hint::on(ns, format_args!("msg recv {id}"));
    let senders = queue.waiters.iter().filter(|waiter| matches!(waiter.wants, MsgWait::Send { .. })).count() as u64;
    if senders > 0 {
        let verb = if senders == 1 { "waits" } else { "wait" };
        let message = format!("{} {verb} for room in msg:{id}: it has {}", count(senders, "sender"), load(queue));
        let remedy = format!("{} shows them; {receive} takes a message", hint::on(ns, format_args!("why msg:{id}")));
        return Some(Finding::warn("queues", message, remedy));
    }
    if is_nearly_full(queue) && !has_receiver(queue, participants) {
        let last = match queue.stat.lrpid {
            0 => "no process has received from it".to_owned(),
            pid => format!("pid {pid}, the last receiver, has exited"),
        };
        let message = format!("msg:{id} is nearly full with {}, and {last}", load(queue));
        let remove = hint::on(ns, format_args!("rm msg:{id}"));
        let remedy = format!("start its receiver; {receive} takes a message, {remove} removes the queue");
        return Some(Finding::warn("queues", message, remedy));
    }
    None
}

/// Returns "3 messages, 16000 of 16384 bytes".
fn load(queue: &QueueStatus) -> String {
    let stat = &queue.stat;
    format!("{}, {} of {}", count(stat.messages, "message"), stat.bytes, count(stat.capacity, "byte"))
}

/// Returns `true` if more than 80 % of the capacity is used, by bytes or by the number of messages.
fn is_nearly_full(queue: &QueueStatus) -> bool {
    let stat = &queue.stat;
    stat.messages > 0 && u128::from(stat.bytes.max(stat.messages)) * 5 > u128::from(stat.capacity) * 4
}

/// Returns `true` if a receiver is blocked at the queue, or if the last receiver still uses the
/// namespace.
fn has_receiver(queue: &QueueStatus, participants: &[Attacher]) -> bool {
    let is_live = |pid| participants.iter().any(|participant| participant.pid == pid);
    is_live(queue.stat.lrpid) || queue.waiters.iter().any(|waiter| matches!(waiter.wants, MsgWait::Receive { .. }))
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

    fn message(queue: QueueStatus) -> Option<String> {
        let participant = Attacher { pid: 9, pid_visible: true, uid: 0, count: 1 };
        examine_queue(&Namespace::kernel(), &queue, &[participant])
            .inspect(|finding| assert_eq!(finding.level, Level::Warn))
            .map(|finding| finding.message)
    }

    #[test]
    fn a_queue_without_a_receiver_is_a_warning() {
        let send = MsgWait::Send { mtype: 1, len: 5 };
        let receive = MsgWait::Receive { mtype: 2, flags: MsgFlags::empty(), size: 10 };
        let never = "msg:3 is nearly full with 2 messages, 90 of 100 bytes, and no process has received from it";
        assert_eq!(message(queue(2, 90, 0, &[])).as_deref(), Some(never));
        assert!(message(queue(2, 90, 8, &[])).unwrap().ends_with("and pid 8, the last receiver, has exited"));
        assert!(message(queue(90, 0, 0, &[])).unwrap().contains("90 messages, 0 of 100 bytes"));
        assert!(
            message(queue(2, 90, 0, &[receive, send, send]))
                .unwrap()
                .starts_with("2 senders wait for room in msg:3: it has 2 messages")
        );
        for fine in [queue(2, 80, 0, &[]), queue(2, 90, 9, &[]), queue(2, 90, 0, &[receive]), queue(0, 0, 0, &[])] {
            assert_eq!(message(fine), None);
        }
    }
}
