//! Semaphore sets.

pub mod operation;
pub mod semaphore;
pub mod set;
pub mod status;

use crate::engine::Engine;
use crate::{Errno, Id, Key, SemOp, SemUsage, SetStat, SetStatus};
use std::time::Duration;

type Result<T> = std::result::Result<T, Errno>;

impl Engine {
    pub fn semget(&self, _key: Key, _nsems: i32, _flags: i32) -> Result<Id> {
        Err(Errno::NOSYS)
    }
    pub fn semtimedop(&self, _id: i32, _ops: &[SemOp], _timeout: Option<Duration>) -> Result<()> {
        Err(Errno::NOSYS)
    }
    pub fn sem_value(&self, _id: i32, _num: i32) -> Result<u16> {
        Err(Errno::NOSYS)
    }
    pub fn sem_pid(&self, _id: i32, _num: i32) -> Result<i32> {
        Err(Errno::NOSYS)
    }
    pub fn sem_ncnt(&self, _id: i32, _num: i32) -> Result<u32> {
        Err(Errno::NOSYS)
    }
    pub fn sem_zcnt(&self, _id: i32, _num: i32) -> Result<u32> {
        Err(Errno::NOSYS)
    }
    pub fn sem_values(&self, _id: i32) -> Result<Vec<u16>> {
        Err(Errno::NOSYS)
    }
    pub fn sem_set_value(&self, _id: i32, _num: i32, _value: i32) -> Result<()> {
        Err(Errno::NOSYS)
    }
    pub fn sem_set_values(&self, id: i32, values: &[u16]) -> Result<()> {
        self.sem_set_values_from(id, |nsems| if values.len() == nsems { Ok(values.to_vec()) } else { Err(Errno::INVAL) })
    }
    /// `SETALL`, where `values` fetches as many values as it is asked for, after the rights have been checked.
    pub fn sem_set_values_from(&self, _id: i32, _values: impl FnOnce(usize) -> Result<Vec<u16>>) -> Result<()> {
        Err(Errno::NOSYS)
    }
    pub fn sem_stat(&self, _id: i32) -> Result<SetStat> {
        Err(Errno::NOSYS)
    }
    pub fn sem_stat_index(&self, _index: i32, _any: bool) -> Result<SetStat> {
        Err(Errno::INVAL)
    }
    pub fn sem_set(&self, _id: i32, _uid: u32, _gid: u32, _mode: u32) -> Result<()> {
        Err(Errno::NOSYS)
    }
    pub fn sem_remove(&self, _id: i32) -> Result<()> {
        Err(Errno::NOSYS)
    }
    pub fn sem_usage(&self) -> Result<SemUsage> {
        Ok(SemUsage::default())
    }
    pub fn sets(&self) -> Result<Vec<SetStatus>> {
        Ok(Vec::new())
    }
}
