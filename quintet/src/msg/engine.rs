//! Message queues of a directory.

use super::bytes::{Sink, Source};
use crate::engine::Engine;
use crate::{Errno, Id, Key, MessageStat, MsgFlags, MsgUsage, QueueStat, QueueStatus};
use std::time::Duration;

type Result<T> = std::result::Result<T, Errno>;

impl Engine {
    pub fn msgget(&self, _key: Key, _flags: i32) -> Result<Id> {
        Err(Errno::NOSYS)
    }

    pub fn msgsnd(&self, id: i32, mtype: i64, data: &[u8], flags: MsgFlags, timeout: Option<Duration>) -> Result<()> {
        self.msg_send(id, mtype, Source::new(data), flags, timeout)
    }

    pub fn msgrcv(
        &self,
        _id: i32,
        _buffer: &mut [u8],
        _mtype: i64,
        _flags: MsgFlags,
        _timeout: Option<Duration>,
    ) -> Result<(i64, usize)> {
        Err(Errno::NOSYS)
    }

    pub fn msg_send(&self, _id: i32, _mtype: i64, _from: Source, _flags: MsgFlags, _timeout: Option<Duration>) -> Result<()> {
        Err(Errno::NOSYS)
    }

    pub fn msg_receive(
        &self,
        _id: i32,
        _to: &mut impl Sink,
        _size: usize,
        _mtype: i64,
        _flags: MsgFlags,
        _timeout: Option<Duration>,
    ) -> Result<usize> {
        Err(Errno::NOSYS)
    }

    pub fn peek(&self, _id: i32, _see: &mut dyn FnMut(MessageStat, &[u8]) -> bool) -> Result<()> {
        Err(Errno::NOSYS)
    }

    pub fn msg_stat(&self, _id: i32) -> Result<QueueStat> {
        Err(Errno::NOSYS)
    }

    pub fn msg_stat_index(&self, _index: i32, _any: bool) -> Result<QueueStat> {
        Err(Errno::NOSYS)
    }

    pub fn msg_set(&self, _id: i32, _uid: u32, _gid: u32, _mode: u32, _capacity: u64) -> Result<()> {
        Err(Errno::NOSYS)
    }

    pub fn msg_remove(&self, _id: i32) -> Result<()> {
        Err(Errno::NOSYS)
    }

    pub fn msg_usage(&self) -> Result<MsgUsage> {
        Ok(MsgUsage::default())
    }

    pub fn queues(&self) -> Result<Vec<QueueStatus>> {
        Ok(Vec::new())
    }
}
