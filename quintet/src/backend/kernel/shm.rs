//! The kernel's shared memory segments.
//!
//! # Safety
//!
//! Each system call gets numbers, or pointers to local values with the layout that the kernel
//! expects.
#![allow(unsafe_code)]

use crate::backend::kernel::call::{IPC_64, Kernel, check};
use crate::backend::verbs::SegmentVerbs;
use crate::sys::file;
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::key::Key;
use crate::types::permissions::Permissions;
use crate::types::shm::{Attacher, ModeFlags, SegmentStat, SegmentStatus, ShmUsage};
use std::ffi::c_void;
use std::mem::MaybeUninit;
use syscalls::{Sysno, syscall};

type Result<T> = std::result::Result<T, Errno>;

const SHM_LOCK: i32 = 11;
const SHM_UNLOCK: i32 = 12;
const SHM_STAT: i32 = 13;
const SHM_INFO: i32 = 14;
const SHM_STAT_ANY: i32 = 15;

/// `struct shm_info` of `<sys/shm.h>`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct ShmInfo {
    used_ids: i32,
    tot: libc::c_ulong,
    rss: libc::c_ulong,
    swp: libc::c_ulong,
    swap_attempts: libc::c_ulong,
    swap_successes: libc::c_ulong,
}

impl SegmentVerbs for Kernel {
    fn shmget(&self, key: Key, size: u64, flags: i32) -> Result<Id> {
        let size = usize::try_from(size).map_err(|_| Errno::INVAL)?;
        // SAFETY: numbers only.
        let id = check(unsafe { syscall!(Sysno::shmget, key.raw(), size, flags) })?;
        Id::from_raw(id as i32)
    }

    /// # Safety
    ///
    /// As for [`Namespace::shmat`](crate::Namespace::shmat).
    unsafe fn shmat(&self, id: i32, address: usize, flags: i32) -> Result<*mut c_void> {
        // SAFETY: the caller vouches for the address.
        let at = check(unsafe { syscall!(Sysno::shmat, id, address, flags) })?;
        Ok(at as usize as *mut c_void)
    }

    /// # Safety
    ///
    /// As for [`Namespace::shmdt`](crate::Namespace::shmdt).
    unsafe fn shmdt(&self, address: usize) -> Result<()> {
        // SAFETY: the caller vouches that nothing uses the memory.
        check(unsafe { syscall!(Sysno::shmdt, address) }).map(drop)
    }

    fn shm_stat(&self, id: i32) -> Result<SegmentStat> {
        read_stat(id, libc::IPC_STAT)
    }

    fn shm_stat_index(&self, index: i32, any: bool) -> Result<SegmentStat> {
        read_stat(index, if any { SHM_STAT_ANY } else { SHM_STAT })
    }

    fn shm_set(&self, id: i32, uid: u32, gid: u32, mode: u32) -> Result<()> {
        // SAFETY: zeroes are a valid shmid_ds.
        let mut ds: libc::shmid_ds = unsafe { MaybeUninit::zeroed().assume_init() };
        ds.shm_perm.uid = uid;
        ds.shm_perm.gid = gid;
        ds.shm_perm.mode = (mode & 0o777) as _;
        shmctl(id, libc::IPC_SET, &raw mut ds).map(drop)
    }

    fn shm_remove(&self, id: i32) -> Result<()> {
        shmctl(id, libc::IPC_RMID, none()).map(drop)
    }

    fn shm_lock(&self, id: i32, locked: bool) -> Result<()> {
        shmctl(id, if locked { SHM_LOCK } else { SHM_UNLOCK }, none()).map(drop)
    }

    fn shm_usage(&self) -> Result<ShmUsage> {
        let mut info = ShmInfo::default();
        let max_index = shmctl(0, SHM_INFO, &raw mut info)?;
        Ok(ShmUsage {
            segments: info.used_ids as u32,
            pages: info.tot as u64,
            resident: info.rss as u64,
            swapped: info.swp as u64,
            max_index: max_index as u32,
        })
    }

    fn segments(&self) -> Result<Vec<SegmentStatus>> {
        let usage = self.shm_usage()?;
        let mappings = mapped_segments();
        let page = rustix::param::page_size() as u64;
        let resident = resident_sizes();
        let mut all = Vec::new();
        for index in 0..=usage.max_index as i32 {
            let Ok(stat) = self.shm_stat_index(index, true) else { continue };
            let id = stat.id.raw();
            let attached = mappings.iter().filter(|(i, _)| *i == id).map(|(_, a)| *a).collect();
            let orphan = stat.nattch == 0 && !std::path::Path::new(&format!("/proc/{}", stat.cpid)).exists();
            let resident = resident.iter().find(|(i, _)| *i == id).map_or(0, |(_, r)| r.next_multiple_of(page));
            all.push(SegmentStatus { stat, attached, orphan, resident });
        }
        Ok(all)
    }

    fn attach_anywhere(&self, id: i32, flags: i32) -> Result<(usize, usize)> {
        // SAFETY: address 0 without SHM_REMAP replaces nothing.
        let at = unsafe { self.shmat(id, 0, flags) }? as usize;
        match self.shm_stat_index(id, true) {
            Ok(stat) => Ok((at, stat.size as usize)),
            Err(e) => {
                // SAFETY: the caller does not know the address yet.
                let _ = unsafe { self.shmdt(at) };
                Err(e)
            }
        }
    }
}

fn shmctl<T>(id: i32, command: i32, buffer: *mut T) -> Result<i32> {
    // SAFETY: every caller passes null or a local of the type that `command` reads or fills.
    check(unsafe { syscall!(Sysno::shmctl, id, command | IPC_64, buffer) }).map(|r| r as i32)
}

fn none() -> *mut u8 {
    std::ptr::null_mut()
}

fn read_stat(id: i32, command: i32) -> Result<SegmentStat> {
    let mut ds = MaybeUninit::<libc::shmid_ds>::zeroed();
    let ret = shmctl(id, command, ds.as_mut_ptr())?;
    // SAFETY: zeroes are a valid shmid_ds, and the kernel has filled it.
    let ds = unsafe { ds.assume_init() };
    let id = if command == libc::IPC_STAT { id } else { ret };
    let mode = u32::from(ds.shm_perm.mode);
    Ok(SegmentStat {
        key: Key::new(crate::types::abi::key(&ds.shm_perm)),
        id: Id::from_raw(id)?,
        perm: Permissions {
            uid: ds.shm_perm.uid,
            gid: ds.shm_perm.gid,
            cuid: ds.shm_perm.cuid,
            cgid: ds.shm_perm.cgid,
            mode: mode & 0o777,
        },
        flags: ModeFlags::from_bits_truncate(mode),
        size: ds.shm_segsz as u64,
        atime: ds.shm_atime as i64,
        dtime: ds.shm_dtime as i64,
        ctime: ds.shm_ctime as i64,
        cpid: ds.shm_cpid,
        lpid: ds.shm_lpid,
        nattch: ds.shm_nattch as u64,
    })
}

/// Returns the `rss` column of `/proc/sysvipc/shm`, with the identifier of each segment.
fn resident_sizes() -> Vec<(i32, u64)> {
    let text = file::read("/proc/sysvipc/shm").unwrap_or_default();
    let parse = |line: &str| {
        let mut fields = line.split_whitespace();
        Some((fields.nth(1)?.parse().ok()?, fields.nth(12)?.parse().ok()?))
    };
    text.lines().skip(1).filter_map(parse).collect()
}

/// Returns the attachers of each segment, as far as the caller may read `/proc/PID/maps`.
///
/// The kernel names the mapping of a segment `/SYSV` and its key. The inode number of the mapping
/// is the segment's identifier.
fn mapped_segments() -> Vec<(i32, Attacher)> {
    let mut found: Vec<(i32, Attacher)> = Vec::new();
    let Ok(processes) = std::fs::read_dir("/proc") else { return found };
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        let Ok(maps) = std::fs::read_to_string(process.path().join("maps")) else { continue };
        let uid = process.metadata().map_or(u32::MAX, |m| std::os::unix::fs::MetadataExt::uid(&m));
        for line in maps.lines().filter(|l| l.contains(" /SYSV")) {
            let Some(id) = line.split_whitespace().nth(4).and_then(|i| i.parse::<i32>().ok()) else { continue };
            match found.iter_mut().find(|(i, a)| *i == id && a.pid == pid) {
                Some((_, a)) => a.count += 1,
                None => found.push((id, Attacher { pid, uid, count: 1, pid_visible: true })),
            }
        }
    }
    found
}
