//! The objects that last as long as the storm.

use crate::stripe;
use quintet::{Errno, Key, Limits, Namespace, Segment, SemFlags, SemOp};
use std::ops::Range;

/// Segments, and of each the semaphores that guard it: one a stripe.
pub const SEGMENTS: [u64; 3] = [4096, 40_000, 1 << 20];
pub const STRIPES: usize = 4;
/// Semaphores from which some are taken and given back.
pub const POOL: u16 = 6;
pub const POOL_VALUE: u16 = 20;
/// Semaphores whose sum never changes.
pub const SCALES: u16 = 4;
pub const SCALES_VALUE: u16 = 50;
pub const QUEUES: usize = 3;
/// `msg_qbytes` of each.
pub const CAPACITIES: [u64; QUEUES] = [2000, 60_000, 200_000];
pub const LONGEST: usize = 30_000;
/// Keys of what comes and goes.
pub const PASSING: Range<i32> = 100..106;

const FIRST: i32 = 1;

pub struct Objects {
    pub guards: i32,
    pub pool: i32,
    pub scales: i32,
    pub queues: [i32; QUEUES],
}

pub fn segment(nth: usize) -> Key {
    Key::new(FIRST + nth as i32)
}

/// The semaphore that guards a stripe.
pub fn guard(segment: usize, stripe: usize) -> u16 {
    (segment * STRIPES + stripe) as u16
}

/// Where a stripe is.
pub fn place(segment: usize, nth: usize) -> usize {
    // The last ends with the segment's last whole stripe.
    let room = SEGMENTS[segment] as usize / stripe::LEN;
    nth * (room - 1) / (STRIPES - 1) * stripe::LEN
}

impl Objects {
    /// Makes them, for those whom `mode` lets.
    pub fn create(ns: &Namespace, mode: i32) -> Result<Objects, Errno> {
        let limits = ns.limits()?;
        let bytes = CAPACITIES.into_iter().max().unwrap_or(0) as u32;
        ns.set_limits(&Limits { msgmax: 2 * LONGEST as u32, msgmnb: bytes, ..limits })?;
        for (nth, size) in SEGMENTS.into_iter().enumerate() {
            ns.shmget(segment(nth), size, libc::IPC_CREAT | libc::IPC_EXCL | mode)?;
        }
        let objects = Objects::find_or_make(ns, libc::IPC_CREAT | libc::IPC_EXCL | mode)?;
        ns.sem_set_values(objects.guards, &[1; SEGMENTS.len() * STRIPES])?;
        ns.sem_set_values(objects.pool, &[POOL_VALUE; POOL as usize])?;
        ns.sem_set_values(objects.scales, &[SCALES_VALUE; SCALES as usize])?;
        for (id, capacity) in objects.queues.into_iter().zip(CAPACITIES) {
            let perm = ns.msg_stat(id)?.perm;
            ns.msg_set(id, perm.uid, perm.gid, perm.mode, capacity)?;
        }
        Ok(objects)
    }

    /// Finds them.
    pub fn find(ns: &Namespace) -> Result<Objects, Errno> {
        Objects::find_or_make(ns, 0)
    }

    fn find_or_make(ns: &Namespace, flags: i32) -> Result<Objects, Errno> {
        let set = |nth, nsems: usize| Ok::<_, Errno>(ns.semget(Key::new(FIRST + nth), nsems as i32, flags)?.raw());
        let queue = |nth| Ok::<_, Errno>(ns.msgget(Key::new(FIRST + nth), flags)?.raw());
        Ok(Objects {
            guards: set(0, SEGMENTS.len() * STRIPES)?,
            pool: set(1, POOL.into())?,
            scales: set(2, SCALES.into())?,
            queues: [queue(0)?, queue(1)?, queue(2)?],
        })
    }

    /// What must hold of the sets when nobody is there.
    pub fn check_balance(&self, ns: &Namespace) -> Result<(), String> {
        let values = |id| ns.sem_values(id).map_err(|e| e.to_string());
        let (guards, pool) = (values(self.guards)?, values(self.pool)?);
        if guards.iter().any(|value| *value != 1) || pool.iter().any(|value| *value != POOL_VALUE) {
            return Err(format!("what the dead held is not given back: {guards:?}, all should be 1; {pool:?}, all {POOL_VALUE}"));
        }
        self.check_scales(ns)
    }

    /// What must hold at any time.
    pub fn check_scales(&self, ns: &Namespace) -> Result<(), String> {
        let values = ns.sem_values(self.scales).map_err(|e| e.to_string())?;
        let (sum, right) = (values.iter().map(|value| u32::from(*value)).sum::<u32>(), u32::from(SCALES * SCALES_VALUE));
        if sum == right { Ok(()) } else { Err(format!("{values:?}: the sum is {sum}, not {right}")) }
    }
}

/// The segments, each by its key.
pub fn open_segment(ns: &Namespace, nth: usize) -> quintet::Result<Segment> {
    Segment::open(ns, segment(nth))
}

pub fn undo(num: u16, op: i16) -> SemOp {
    SemOp::new(num, op).flags(SemFlags::UNDO)
}
