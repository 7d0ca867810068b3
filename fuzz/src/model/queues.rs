//! msgget(2), msgop(2), msgctl(2).

use super::{Model, Object, Outcome, Perm, READ, Table, WRITE, may_create, open, set_mode};
use quintet::{Errno, Id, Key, MsgFlags};

/// A message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Its type.
    pub mtype: i64,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// A queue.
pub struct Queue {
    /// Key, identifier, mode.
    pub perm: Perm,
    /// In order of sending.
    pub messages: Vec<Message>,
    /// `msg_qbytes`
    pub capacity: u64,
    /// `msg_lspid`; 0 if nothing was sent.
    pub lspid: i32,
    /// `msg_lrpid`; 0 if nothing was received.
    pub lrpid: i32,
}

/// All queues.
pub type Queues = Table<Queue>;

impl Object for Queue {
    fn perm(&self) -> &Perm {
        &self.perm
    }

    fn perm_mut(&mut self) -> &mut Perm {
        &mut self.perm
    }
}

impl Queue {
    /// `msg_cbytes`
    pub fn bytes(&self) -> u64 {
        self.messages.iter().map(|message| message.data.len() as u64).sum()
    }

    /// Returns the position of the message that `msgtyp` selects.
    fn select(&self, mtype: i64, flags: MsgFlags) -> Option<usize> {
        let first = |fits: &dyn Fn(i64) -> bool| self.messages.iter().position(|message| fits(message.mtype));
        match mtype {
            0 => first(&|_| true),
            1.. if flags.contains(MsgFlags::EXCEPT) => first(&|of| of != mtype),
            1.. => first(&|of| of == mtype),
            _ => {
                let most = mtype.checked_neg().unwrap_or(i64::MAX);
                let lowest = self.messages.iter().map(|message| message.mtype).filter(|of| *of <= most).min()?;
                first(&|of| of == lowest)
            }
        }
    }
}

impl Model {
    /// `msgget`
    pub fn msgget(&mut self, key: Key, flags: i32) -> Outcome<Id> {
        if let Some(queue) = self.queues.by_key(key) {
            return open(queue, self.caller, flags, true);
        }
        may_create(key, flags)?;
        if self.queues.count() >= self.limits.msgmni {
            return Err(Errno::NOSPC);
        }
        let perm = Perm { key, id: self.queues.next(None), mode: flags as u32 & 0o777 };
        let capacity = self.limits.msgmnb.into();
        Ok(self.queues.insert(Queue { perm, messages: Vec::new(), capacity, lspid: 0, lrpid: 0 }))
    }

    /// `msgsnd` without blocking, by process `pid`.
    pub fn msgsnd(&mut self, id: i32, mtype: i64, data: &[u8], pid: i32) -> Outcome<()> {
        if data.len() > self.limits.msgmax as usize || mtype < 1 {
            return Err(Errno::INVAL);
        }
        let queue = self.queues.get(id)?;
        queue.perm.check(self.caller, WRITE)?;
        let (bytes, messages) = (queue.bytes() + data.len() as u64, queue.messages.len() as u64 + 1);
        if bytes > queue.capacity || messages > queue.capacity {
            return Err(Errno::AGAIN);
        }
        queue.messages.push(Message { mtype, data: data.to_owned() });
        queue.lspid = pid;
        Ok(())
    }

    /// `msgrcv` without blocking, into a buffer of `size` bytes.
    pub fn msgrcv(&mut self, id: i32, size: usize, mtype: i64, flags: MsgFlags) -> Outcome<Message> {
        Id::from_raw(id)?;
        let (caller, msgmax) = (self.caller, self.limits.msgmax as usize);
        let copy = flags.contains(MsgFlags::COPY);
        if copy && (flags.contains(MsgFlags::EXCEPT) || !flags.contains(MsgFlags::NOWAIT)) {
            return Err(Errno::INVAL);
        }
        let queue = self.queues.get(id)?;
        queue.perm.check(caller, READ)?;
        let place = match copy {
            true => usize::try_from(mtype).ok().filter(|place| *place < queue.messages.len()),
            false => queue.select(mtype, flags),
        };
        let place = place.ok_or(Errno::NOMSG)?;
        let len = queue.messages[place].data.len();
        if len > size && !flags.contains(MsgFlags::NOERROR) {
            return Err(Errno::TOOBIG);
        }
        if copy {
            return if len <= size.min(msgmax) { Ok(queue.messages[place].clone()) } else { Err(Errno::INVAL) };
        }
        let mut message = queue.messages.remove(place);
        message.data.truncate(size);
        queue.lrpid = caller.pid;
        Ok(message)
    }

    /// `IPC_STAT`
    pub fn msg_stat(&mut self, id: i32) -> Outcome<&Queue> {
        let queue = self.queues.get(id)?;
        queue.perm.check(self.caller, READ)?;
        Ok(queue)
    }

    /// `MSG_STAT`, or `MSG_STAT_ANY` if `any`.
    pub fn msg_stat_index(&mut self, index: i32, any: bool) -> Outcome<&Queue> {
        let queue = self.queues.at(index)?;
        queue.perm.check(self.caller, if any { 0 } else { READ })?;
        Ok(queue)
    }

    /// `IPC_SET`
    pub fn msg_set(&mut self, id: i32, ids_valid: bool, mode: u32, capacity: u64) -> Outcome<()> {
        let (caller, msgmnb) = (self.caller, u64::from(self.limits.msgmnb));
        let queue = self.queues.get(id)?;
        if capacity > msgmnb && !caller.ignores_msgmnb {
            return Err(Errno::PERM);
        }
        set_mode(queue.perm_mut(), ids_valid, mode)?;
        queue.capacity = capacity;
        Ok(())
    }

    /// `IPC_RMID`
    pub fn msg_remove(&mut self, id: i32) -> Outcome<()> {
        let id = self.queues.get(id)?.perm.id;
        self.queues.remove(id);
        Ok(())
    }
}
