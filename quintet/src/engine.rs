//! The backend that is a directory.
#![allow(missing_docs)]
use crate::error::{Error, Result as R};
use crate::*;
use std::ffi::c_void;
use std::path::*;
type Result<T> = std::result::Result<T, Errno>;
pub struct Engine;
pub fn default_path() -> PathBuf {
    "/dev/shm/quintet".into()
}
impl Engine {
    pub fn open_default() -> R<&'static Engine> {
        Err(Error::new(Errno::NOSYS, "stub"))
    }
    pub fn open(p: &Path) -> R<&'static Engine> {
        Err(Error::at(Errno::NOSYS, "stub", p))
    }
    pub fn create(p: &Path, _: Kind) -> R<&'static Engine> {
        Err(Error::at(Errno::NOSYS, "stub", p))
    }
    pub fn path(&self) -> &Path {
        Path::new("")
    }
    pub fn kind(&self) -> Kind {
        Kind::Private
    }
    pub fn limits(&self) -> Result<Limits> {
        Err(Errno::NOSYS)
    }
    pub fn set_limits(&self, _: &Limits) -> Result<()> {
        Err(Errno::NOSYS)
    }
    pub fn shm_next_id(&self) -> Result<Option<Id>> {
        Err(Errno::NOSYS)
    }
    pub fn set_shm_next_id(&self, _: Option<Id>) -> Result<()> {
        Err(Errno::NOSYS)
    }
    pub fn shmget(&self, _: Key, _: u64, _: i32) -> Result<Id> {
        Err(Errno::NOSYS)
    }
    #[allow(unsafe_code)]
    pub unsafe fn shmat(&self, _: i32, _: usize, _: i32) -> Result<*mut c_void> {
        Err(Errno::NOSYS)
    }
    #[allow(unsafe_code)]
    pub unsafe fn shmdt(&self, _: usize) -> Result<()> {
        Err(Errno::NOSYS)
    }
    pub fn shm_stat(&self, _: i32) -> Result<SegmentStat> {
        Err(Errno::NOSYS)
    }
    pub fn shm_stat_index(&self, _: i32, _: bool) -> Result<SegmentStat> {
        Err(Errno::NOSYS)
    }
    pub fn shm_set(&self, _: i32, _: u32, _: u32, _: u32) -> Result<()> {
        Err(Errno::NOSYS)
    }
    pub fn shm_remove(&self, _: i32) -> Result<()> {
        Err(Errno::NOSYS)
    }
    pub fn shm_lock(&self, _: i32, _: bool) -> Result<()> {
        Err(Errno::NOSYS)
    }
    pub fn shm_usage(&self) -> Result<Usage> {
        Err(Errno::NOSYS)
    }
    pub fn segments(&self) -> Result<Vec<SegmentStatus>> {
        Err(Errno::NOSYS)
    }
    pub fn sweep(&self) -> Result<()> {
        Err(Errno::NOSYS)
    }
    pub fn participants(&self) -> Result<Vec<Attacher>> {
        Err(Errno::NOSYS)
    }
    pub fn destroy(&self, _: bool) -> R<()> {
        Err(Error::new(Errno::NOSYS, "not there yet"))
    }
}
