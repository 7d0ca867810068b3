//! Calls on message queues: `msgget`, `msgsnd`, `msgrcv`, `msgctl`.

use super::{LENGTHS, MODES, Run, check_time, compare, names, owners, pattern};
use crate::model::{Caller, Message, Model, Queue};
use quintet::{Errno, Id, MsgFlags, QueueStat};
use std::fmt::Debug;
use std::time::Duration;

const TYPES: [i64; 16] =
    [1, 2, 3, 4, 5, 0, -1, -2, -5, i64::MIN, i64::MAX, i64::MIN + 1, 1 << 32, (1 << 32) + 1, 100, -(1 << 40)];

impl Run<'_> {
    pub fn msgget(&mut self, byte: u8) {
        let (register, _) = self.id(self.queues);
        let (key, flags) = self.key_and_flags();
        let got = self.ns(byte).msgget(key, flags);
        compare(("msgget", key, flags), got, self.model.msgget(key, flags));
        self.queues[register] = got.map_or(self.queues[register], Id::raw);
    }

    pub fn msgsnd(&mut self, byte: u8) {
        let ((_, id), mtype, len, seed) =
            (self.id(self.queues), self.input.of(&TYPES), self.input.of(&LENGTHS), self.input.byte());
        self.send(byte, id, mtype, &pattern(seed, len), byte & 1 != 0);
    }

    fn send(&mut self, byte: u8, id: i32, mtype: i64, data: &[u8], nowait: bool) {
        let (flags, timeout) = if nowait { (MsgFlags::NOWAIT, None) } else { (MsgFlags::empty(), Some(Duration::ZERO)) };
        let model = self.model.msgsnd(id, mtype, data, self.model.caller.pid);
        compare(("msgsnd", id, mtype, data.len()), self.ns(byte).msgsnd(id, mtype, data, flags, timeout), model);
    }

    /// Enough messages for an index by type.
    pub fn msgsnd_many(&mut self, byte: u8) {
        let ((_, id), types, count) = (self.id(self.queues), self.input.byte(), self.input.byte() % 64);
        for nth in 0..count {
            let mtype = i64::from(nth.wrapping_mul(types) % 23) + 1;
            self.send(byte, id, mtype, &pattern(nth, usize::from(nth % 5)), true);
        }
    }

    pub fn msgrcv(&mut self, byte: u8) {
        let ((_, id), mtype) = (self.id(self.queues), self.input.of(&TYPES));
        let (mut buffer, how) = (vec![0xaa; self.input.of(&LENGTHS)], self.input.byte());
        let mut flags = MsgFlags::empty();
        flags.set(MsgFlags::NOERROR, how & 1 != 0);
        flags.set(MsgFlags::EXCEPT, how & 2 != 0);
        flags.set(MsgFlags::COPY, how & 12 == 4);
        flags.set(MsgFlags::NOWAIT, how & 16 == 0);
        let timeout = if flags.contains(MsgFlags::NOWAIT) { None } else { Some(Duration::ZERO) };
        let size = buffer.len();
        let got = self.ns(byte).msgrcv(id, &mut buffer, mtype, flags, timeout);
        let got = got.map(|(mtype, len)| {
            assert!(buffer[len..].iter().all(|byte| *byte == 0xaa), "msgrcv wrote past the message");
            Message { mtype, data: buffer[..len].to_owned() }
        });
        compare(("msgrcv", id, size, mtype, flags), got, self.model.msgrcv(id, size, mtype, flags));
    }

    pub fn msg_stat(&mut self, byte: u8) {
        let (_, id) = self.id(self.queues);
        let (ns, start) = (self.ns(byte), self.start);
        let (by_id, index, any) = (ns.msg_stat(id), ns.msg_stat_index(id, false), ns.msg_stat_index(id, true));
        self.compare_queue(("msg_stat", id), by_id, |model| model.msg_stat(id), start);
        self.compare_queue(("msg_stat_index", id), index, |model| model.msg_stat_index(id, false), start);
        self.compare_queue(("msg_stat_index any", id), any, |model| model.msg_stat_index(id, true), start);
    }

    fn compare_queue(
        &mut self,
        call: impl Debug,
        got: Result<QueueStat, Errno>,
        of: impl FnOnce(&mut Model) -> Result<&Queue, Errno>,
        start: i64,
    ) {
        let Caller { uid, gid, .. } = self.model.caller;
        match (got, of(&mut self.model)) {
            (Ok(stat), Ok(queue)) => {
                compare((&call, "names"), (stat.key, stat.id, stat.perm.mode), names(&queue.perm));
                compare((&call, "owners"), owners(&stat.perm), (uid, gid, uid, gid));
                let counts = (queue.bytes(), queue.messages.len() as u64, queue.capacity);
                compare((&call, "counts"), (stat.bytes, stat.messages, stat.capacity), counts);
                compare((&call, "pids"), (stat.lspid, stat.lrpid), (queue.lspid, queue.lrpid));
                let times = [(stat.stime, queue.lspid != 0), (stat.rtime, queue.lrpid != 0), (stat.ctime, true)];
                times.into_iter().for_each(|(time, set)| check_time(&call, time, set, start));
            }
            (got, model) => compare(call, got.map(drop), model.map(drop)),
        }
    }

    pub fn msg_set(&mut self, byte: u8) {
        let ((_, id), mode) = (self.id(self.queues), self.input.of(&MODES) as u32);
        let capacity = self.input.of(&[16384, 0, 1, 100, 5000, 16385, 200_000, u64::MAX]);
        let (uid, gid, valid) = self.owners();
        let got = self.ns(byte).msg_set(id, uid, gid, mode, capacity);
        compare(("msg_set", id, uid, mode, capacity), got, self.model.msg_set(id, valid, mode, capacity));
    }

    pub fn msg_remove(&mut self, byte: u8) {
        let (_, id) = self.id(self.queues);
        compare(("msg_remove", id), self.ns(byte).msg_remove(id), self.model.msg_remove(id));
    }

    pub fn peek(&mut self, byte: u8) {
        let (_, id) = self.id(self.queues);
        let most = usize::from(self.input.byte());
        let mut seen = Vec::new();
        let got = self.ns(byte).peek(id, |stat, data| {
            assert_eq!(stat.len, data.len());
            seen.push(Message { mtype: stat.mtype, data: data.to_owned() });
            seen.len() < most
        });
        let model = self.model.msg_stat(id).map(|queue| queue.messages.iter().take(most.max(1)).cloned().collect());
        compare(("peek", id, most), got.map(|()| seen), model);
    }
}
