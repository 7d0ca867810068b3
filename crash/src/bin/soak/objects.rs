//! The objects that exist during the whole run.

use crate::params::{BALANCE, BALANCE_VALUE, BLOCK_LEN, BLOCKS, CAPACITIES, MAX_TEXT, POOL, POOL_VALUE, QUEUES, SEGMENTS};
use quintet::{Errno, Key, Limits, Namespace, Segment, SemFlags, SemOp};

const FIRST: i32 = 1;

pub struct Objects {
    pub guards: i32,
    pub pool: i32,
    pub balance: i32,
    pub queues: [i32; QUEUES],
}

pub fn segment(nth: usize) -> Key {
    Key::new(FIRST + nth as i32)
}

/// Returns the semaphore that guards a block.
pub fn guard(segment: usize, block: usize) -> u16 {
    (segment * BLOCKS + block) as u16
}

/// Returns the offset of a block in its segment.
pub fn location(segment: usize, nth: usize) -> usize {
    // The last block is the last one that fits.
    let room = SEGMENTS[segment] as usize / BLOCK_LEN;
    nth * (room - 1) / (BLOCKS - 1) * BLOCK_LEN
}

impl Objects {
    /// Creates the objects with this mode.
    pub fn create(ns: &Namespace, mode: i32) -> Result<Objects, Errno> {
        let limits = ns.limits()?;
        let bytes = CAPACITIES.into_iter().max().unwrap_or(0) as u32;
        ns.set_limits(&Limits { msgmax: 2 * MAX_TEXT as u32, msgmnb: bytes, ..limits })?;
        for (nth, size) in SEGMENTS.into_iter().enumerate() {
            ns.shmget(segment(nth), size, libc::IPC_CREAT | libc::IPC_EXCL | mode)?;
        }
        let objects = Objects::open_or_create(ns, libc::IPC_CREAT | libc::IPC_EXCL | mode)?;
        ns.sem_set_values(objects.guards, &[1; SEGMENTS.len() * BLOCKS])?;
        ns.sem_set_values(objects.pool, &[POOL_VALUE; POOL as usize])?;
        ns.sem_set_values(objects.balance, &[BALANCE_VALUE; BALANCE as usize])?;
        for (id, capacity) in objects.queues.into_iter().zip(CAPACITIES) {
            let perm = ns.msg_stat(id)?.perm;
            ns.msg_set(id, perm.uid, perm.gid, perm.mode, capacity)?;
        }
        Ok(objects)
    }

    /// Opens the objects.
    pub fn open(ns: &Namespace) -> Result<Objects, Errno> {
        Objects::open_or_create(ns, 0)
    }

    fn open_or_create(ns: &Namespace, flags: i32) -> Result<Objects, Errno> {
        let set = |nth, nsems: usize| Ok::<_, Errno>(ns.semget(Key::new(FIRST + nth), nsems as i32, flags)?.raw());
        let queue = |nth| Ok::<_, Errno>(ns.msgget(Key::new(FIRST + nth), flags)?.raw());
        Ok(Objects {
            guards: set(0, SEGMENTS.len() * BLOCKS)?,
            pool: set(1, POOL.into())?,
            balance: set(2, BALANCE.into())?,
            queues: [queue(0)?, queue(1)?, queue(2)?],
        })
    }

    /// Checks the sets when no worker runs: all semaphores must be released.
    pub fn check_balance(&self, ns: &Namespace) -> Result<(), String> {
        let values = |id| ns.sem_values(id).map_err(|e| e.to_string());
        let (guards, pool) = (values(self.guards)?, values(self.pool)?);
        if guards.iter().any(|value| *value != 1) || pool.iter().any(|value| *value != POOL_VALUE) {
            return Err(format!(
                "undo is incomplete: guards {guards:?}, expected 1 each; pool {pool:?}, expected {POOL_VALUE} each"
            ));
        }
        self.check_sum_of_balance(ns)
    }

    /// Checks what holds at any time: the sum of the balance set.
    pub fn check_sum_of_balance(&self, ns: &Namespace) -> Result<(), String> {
        let values = ns.sem_values(self.balance).map_err(|e| e.to_string())?;
        let (sum, right) = (values.iter().map(|value| u32::from(*value)).sum::<u32>(), u32::from(BALANCE * BALANCE_VALUE));
        if sum == right { Ok(()) } else { Err(format!("the sum of {values:?} is {sum}, expected {right}")) }
    }
}

/// Opens a segment by its key.
pub fn open_segment(ns: &Namespace, nth: usize) -> quintet::Result<Segment> {
    Segment::open(ns, segment(nth))
}

pub fn undo(num: u16, op: i16) -> SemOp {
    SemOp::new(num, op).flags(SemFlags::UNDO)
}
