//! Calls on the namespace: limits, lists, sweeps.
//!
//! `unsafe`: memory that is detached is not used again.
#![allow(unsafe_code)]

use super::{Run, compare};
use crate::model::Model;
use quintet::{Errno, Id, Limits};

impl Run<'_> {
    pub fn usage(&mut self, byte: u8) {
        let (sets, queues) = (self.ns(byte).sem_usage(), self.ns(byte).msg_usage());
        let (sets, queues) = (sets.expect("usage does not fail"), queues.expect("usage does not fail"));
        let (table, semaphores) = (&self.model.sets, self.model.semaphores() as u32);
        compare("sem_usage", (sets.sets, sets.semaphores, sets.max_index), (table.count(), semaphores, table.max_index()));
        let table = &self.model.queues;
        let (messages, bytes) =
            table.iter().fold((0, 0), |(n, sum), queue| (n + queue.messages.len() as u64, sum + queue.bytes()));
        let model = (table.count(), messages, bytes, table.max_index());
        compare("msg_usage", (queues.queues, queues.messages, queues.bytes, queues.max_index), model);
    }

    pub fn limits(&mut self, byte: u8) {
        let limits = &mut self.model.limits;
        let which = self.input.byte();
        match which % 12 {
            0 => limits.shmmax = self.input.of(&[0, 1, 4096, 8192, u64::MAX]),
            1 => limits.shmall = self.input.of(&[0, 1, 3, 20, u64::MAX]),
            2 => limits.shmmni = self.input.of(&[0, 1, 2, 4096, 32768]),
            3 => limits.shm_rmid_forced = self.input.of(&[true, false]),
            4 => limits.semmsl = self.input.of(&[0, 1, 4, 32000, 65535]),
            5 => limits.semmns = self.input.of(&[0, 1, 4, 20, i32::MAX as u32]),
            6 => limits.semopm = self.input.of(&[0, 1, 2, 10, 500]),
            7 => limits.semmni = self.input.of(&[0, 1, 2, 32768]),
            8 => limits.msgmax = self.input.of(&[0, 1, 80, 8192, 40000, i32::MAX as u32]),
            9 => limits.msgmnb = self.input.of(&[0, 1, 100, 16384, 100_000]),
            10 => limits.msgmni = self.input.of(&[0, 1, 2, 32768]),
            _ => *limits = Limits::DEFAULT,
        }
        let limits = *limits;
        self.ns(byte).set_limits(&limits).expect("the owner may set limits within bounds");
        compare("limits", self.ns(byte).limits(), Ok(limits));
        if limits.shm_rmid_forced {
            self.model.sweep();
        }
        let over = self.input.of(&[None, Some(Limits { shmmni: 32769, ..limits }), Some(Limits { semopm: 501, ..limits })]);
        if let Some(over) = over {
            compare("limits beyond bounds", self.ns(byte).set_limits(&over), Err(Errno::INVAL));
        }
    }

    pub fn next_id(&mut self, byte: u8) {
        let id = self.input.of(&[0, 1, 2, 32768, 65535 * 32768, 7 * 32768 + 3, 32760, -1]);
        let id = Id::from_raw(id).ok();
        let which = self.input.byte() % 3;
        let ns = &self.fixture.namespaces[usize::from(byte >> 6) % 3];
        let (set, model) = match which {
            0 => (ns.set_shm_next_id(id), &mut self.model.segments.table.next_id),
            1 => (ns.set_sem_next_id(id), &mut self.model.sets.next_id),
            _ => (ns.set_msg_next_id(id), &mut self.model.queues.next_id),
        };
        compare("next_id", set, Ok(()));
        *model = id;
    }

    pub fn sweep(&mut self, byte: u8) {
        compare("sweep", self.ns(byte).sweep(), Ok(()));
        compare("repair_queues", self.ns(byte).repair_queues(), Ok(Vec::new()));
        self.model.sweep();
    }

    /// Compares everything in the namespace with the model.
    pub fn check_everything(&mut self) {
        let ns = &self.fixture.namespaces[0];
        let next = (ns.shm_next_id(), ns.sem_next_id(), ns.msg_next_id());
        let Model { segments, sets, queues, caller, .. } = &mut self.model;
        compare("next ids", next, (Ok(segments.table.next_id), Ok(sets.next_id), Ok(queues.next_id)));

        let listed = ns.segments().expect("listing does not fail");
        let list: Vec<_> = listed.iter().map(|s| (s.stat.id, s.stat.nattch, s.stat.size, s.attached.clone(), s.orphan)).collect();
        let attached = |count: u64| {
            let count = count as u32;
            let one = quintet::Attacher { pid: caller.pid, uid: caller.uid, count, pid_visible: true };
            if count == 0 { Vec::new() } else { vec![one] }
        };
        let model: Vec<_> = segments.table.iter().map(|s| (s.perm.id, s.nattch, s.size, attached(s.nattch), false)).collect();
        compare("segments", list, model);

        let listed = ns.sets().expect("listing does not fail");
        let list: Vec<_> = listed.iter().map(|set| (set.stat.id, set.waiters.len(), set.orphan)).collect();
        compare("sets", list, sets.iter().map(|set| (set.perm.id, 0, false)).collect());
        for (listed, set) in listed.iter().zip(sets.iter()) {
            let semaphores: Vec<_> =
                listed.semaphores.iter().map(|s| (i32::from(s.value), s.pid, s.waiting, s.waiting_for_zero)).collect();
            compare(
                "semaphores",
                semaphores,
                set.values.iter().zip(&set.pids).map(|(value, pid)| (*value, *pid, 0, 0)).collect(),
            );
            let undo: Vec<_> = listed.undo.iter().map(|undo| (undo.pid, undo.adjustments.clone())).collect();
            let adjusted = set.adjustments.iter().enumerate().filter(|(_, adjustment)| **adjustment != 0);
            let adjusted: Vec<_> = adjusted.map(|(num, adjustment)| (num as u16, *adjustment as i16)).collect();
            compare("undo", undo, if adjusted.is_empty() { Vec::new() } else { vec![(caller.pid, adjusted)] });
        }

        let listed = ns.queues().expect("listing does not fail");
        let list: Vec<_> =
            listed.iter().map(|queue| (queue.stat.id, queue.stat.messages, queue.waiters.len(), queue.orphan)).collect();
        compare("queues", list, queues.iter().map(|queue| (queue.perm.id, queue.messages.len() as u64, 0, false)).collect());
        for (listed, queue) in listed.iter().zip(queues.iter()) {
            let mut types = std::collections::BTreeMap::<i64, (u64, u64)>::new();
            for message in &queue.messages {
                let (count, bytes) = types.entry(message.mtype).or_default();
                (*count, *bytes) = (*count + 1, *bytes + message.data.len() as u64);
            }
            let types_listed = listed.types.iter().map(|of| (of.mtype, (of.messages, of.bytes))).collect();
            compare("types", types_listed, types);
            let oldest = queue.messages.first().map(|message| (message.mtype, message.data.len()));
            compare("oldest", listed.oldest.map(|stat| (stat.mtype, stat.len)), oldest);
        }
        compare("damaged queues", ns.damaged_queues(), Ok(Vec::new()));
    }

    /// Removes all objects. Nothing may remain.
    pub fn end(&mut self) {
        let ns = &self.fixture.namespaces[0];
        for (at, id, _) in std::mem::take(&mut self.attachments).into_iter().flatten() {
            self.compare_bytes(at, id);
            // SAFETY: the address is not used again.
            compare("shmdt", unsafe { ns.shmdt(at) }, self.model.shmdt(id, self.model.caller.pid));
        }
        self.model.segments.table.iter().for_each(|segment| compare("shm_remove", ns.shm_remove(segment.perm.id.raw()), Ok(())));
        self.model.sets.iter().for_each(|set| compare("sem_remove", ns.sem_remove(set.perm.id.raw()), Ok(())));
        self.model.queues.iter().for_each(|queue| compare("msg_remove", ns.msg_remove(queue.perm.id.raw()), Ok(())));
        self.model = Model::new(self.model.caller);
        self.shm_usage(0);
        self.usage(0);
        compare("sweep", ns.sweep(), Ok(()));
        let fixture = self.fixture;
        let mut left: Vec<String> = ["sem", "msg", "key"].into_iter().flat_map(|folder| fixture.names(folder)).collect();
        left.extend(fixture.names("shm").into_iter().filter(|name| name.ends_with(".data")));
        compare("remaining files", left, Vec::new());
        compare("participants", ns.participants().map(|all| all.len() <= 1), Ok(true));
    }
}
